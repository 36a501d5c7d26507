//! The real-time clock, read once at the start: afterwards its ports are the guest's.
//!
//! Source: Intel I/O Controller Hub 9 Family Datasheet (316972-004) s. 13.6, registers of the MC146818 and its successors. The century is
//! not among them.

use crate::port;
use mediator::Width;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

/// Seconds, minutes, hours, day of the month, month, year of the century.
const TIME: [u8; 6] = [0, 2, 4, 7, 8, 9];
const REGISTER_A: u8 = 0xa;
/// The time is about to change.
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
const REGISTER_B: u8 = 0xb;
/// Numbers are binary, not decimal digits of four bits.
const BINARY: u8 = 1 << 2;
/// Hours are those of a day, not of half a day.
const HOURS_24: u8 = 1 << 1;
/// Of hours, where they are of half a day.
const AFTERNOON: u8 = 1 << 7;

/// An update takes 2 ms, and a port read at least some 100 ns.
const PATIENCE: u32 = 1_000_000;
/// Two readings in a row differ once a second.
const TRIES: u32 = 4;

/// Seconds from 1970 to what the clock shows: UTC, or the local time, as whoever has set it wanted. `None`: it shows no time.
pub fn unix_seconds() -> Option<u64> {
    let mut last = read()?;
    for _ in 0..TRIES {
        let now = read()?;
        if now == last {
            return seconds_of(&now, register(REGISTER_B));
        }
        last = now;
    }
    None
}

/// The registers of [`TIME`], outside of an update.
fn read() -> Option<[u8; 6]> {
    (0..PATIENCE).find(|_| register(REGISTER_A) & UPDATE_IN_PROGRESS == 0)?;
    Some(TIME.map(register))
}

fn register(index: u8) -> u8 {
    // SAFETY: the clock's ports, which nobody else uses before the guest runs; reading these registers changes nothing.
    unsafe {
        port::write(INDEX, Width::Byte, index.into());
        port::read(DATA, Width::Byte) as u8
    }
}

fn seconds_of(time: &[u8; 6], format: u8) -> Option<u64> {
    let number = |value: u8| match value {
        _ if format & BINARY != 0 => Some(u64::from(value)),
        _ if value & 0xf < 10 && value >> 4 < 10 => Some(u64::from(value >> 4) * 10 + u64::from(value & 0xf)),
        _ => None,
    };
    let [second, minute, hour, day, month, year] = *time;
    let hour = match number(hour & !AFTERNOON)? {
        hour if format & HOURS_24 != 0 => hour,
        12 if hour & AFTERNOON == 0 => 0,
        12 => 12,
        half if hour & AFTERNOON == 0 => half,
        half => half + 12,
    };
    let [second, minute, day, month, year] = [second, minute, day, month, year].map(number);
    let (second, minute, day, month, year) = (second?, minute?, day?, month?, year?);
    let is_time = second < 60 && minute < 60 && hour < 24 && (1..=12).contains(&month) && year < 100;
    let days = days_before(year, month.clamp(1, 12)) + day;
    let is_day = (1..=days_of(year, month)).contains(&day);
    (is_time && is_day).then(|| (((days - 1) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Of this century: its years that 4 divides have a leap day.
fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// From 1970 to the first of a month of this century.
fn days_before(year: u64, month: u64) -> u64 {
    const TO_2000: u64 = 10_957;
    TO_2000 + year * 365 + year.div_ceil(4) + (1..month).map(|month| days_of(year, month)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        // date -u -d '...' +%s
        for (time, format, seconds) in [
            ([0, 0, 0, 1, 1, 0], BINARY | HOURS_24, 946_684_800),
            ([0x59, 0x59, 0x23, 0x29, 0x02, 0x24], HOURS_24, 1_709_251_199),
            ([0, 0, 0, 0x01, 0x03, 0x24], HOURS_24, 1_709_251_200),
            ([0x10, 0x20, 0x12, 0x31, 0x12, 0x99], 0, 4_102_359_610),
            ([0x10, 0x20, 0x92, 0x31, 0x12, 0x99], 0, 4_102_402_810),
            ([10, 20, 0x81, 31, 12, 99], BINARY, 4_102_406_410),
        ] {
            assert_eq!(seconds_of(&time, format), Some(seconds), "{time:x?}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for time in [
            [60, 0, 0, 1, 1, 0],
            [0, 0, 24, 1, 1, 0],
            [0, 0, 0, 0, 1, 0],
            [0, 0, 0, 29, 2, 25],
            [0, 0, 0, 1, 13, 0],
            [0, 0, 0, 1, 0, 0],
            [0xff; 6],
        ] {
            assert_eq!(seconds_of(&time, BINARY | HOURS_24), None, "{time:x?}");
        }
        assert_eq!(seconds_of(&[0x1a, 0, 0, 1, 1, 0], HOURS_24), None);
    }
}
