//! Time stamps (s. 6.2.3, RFC 3339): UTC, with microseconds.

use crate::out::Out;

const NS_PER_US: u64 = 1000;
const US_PER_S: u64 = 1_000_000;
const S_PER_DAY: u64 = 86_400;
/// Days of 400 years in the Gregorian calendar, of 100, of 4, of one.
const DAYS_400: u64 = 146_097;
const DAYS_100: u64 = 36_524;
const DAYS_4: u64 = 1461;
const DAYS_1: u64 = 365;
/// From 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;
/// Days from 1 March to the first of each month, from March to February.
const MONTHS: [u64; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];

pub fn write(unix_ns: u64, out: &mut Out<'_>) -> Option<()> {
    let us = unix_ns / NS_PER_US;
    let seconds = us / US_PER_S;
    let (year, month, day) = date(seconds / S_PER_DAY)?;
    let second = seconds % S_PER_DAY;
    out.number(year, 4)?;
    for (before, number) in
        [("-", month), ("-", day), ("T", second / 3600), (":", second / 60 % 60), (":", second % 60)]
    {
        out.text(before)?;
        out.number(number, 2)?;
    }
    out.text(".")?;
    out.number(us % US_PER_S, 6)?;
    out.text("Z")
}

/// Year, month and day of a day since 1970. Years begin in March here, so that a leap day is the last one.
fn date(days: u64) -> Option<(u64, u64, u64)> {
    let days = days.checked_add(DAYS_BEFORE_1970)?;
    let (of_400, rest) = (days / DAYS_400, days % DAYS_400);
    // The last day of 400 years, and of 4, is a leap day, which would begin a fifth part.
    let of_100 = (rest / DAYS_100).min(3);
    let rest = rest.checked_sub(of_100.checked_mul(DAYS_100)?)?;
    let (of_4, rest) = (rest / DAYS_4, rest % DAYS_4);
    let of_1 = (rest / DAYS_1).min(3);
    let rest = rest.checked_sub(of_1.checked_mul(DAYS_1)?)?;
    let year = of_400.checked_mul(400)?.checked_add(of_100.checked_mul(100)?)?;
    let year = year.checked_add(of_4.checked_mul(4)?)?.checked_add(of_1)?;
    let (month, first) = (0u64..).zip(MONTHS).take_while(|(_, first)| *first <= rest).last()?;
    let day = rest.checked_sub(first)?.checked_add(1)?;
    Some(if month < 10 {
        (year, month.checked_add(3)?, day)
    } else {
        (year.checked_add(1)?, month.checked_sub(9)?, day)
    })
}
