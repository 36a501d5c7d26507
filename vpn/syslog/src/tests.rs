use crate::{Record, Severity, encode};
use proptest::prelude::*;
use std::string::String;
use std::vec;

fn record(text: &str) -> Record<'_> {
    Record {
        severity: Severity::Warning,
        unix_ns: Some(1_795_398_307_000_123_456),
        uptime_ns: 47_119_999_999,
        number: 6,
        hostname: "desk",
        app_name: "shoji",
        message_id: "vpn",
        text,
    }
}

fn message(record: &Record<'_>, room: usize) -> Option<String> {
    let mut out = vec![0; room];
    let len = encode(record, &mut out)?;
    out.truncate(len);
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn a_record_is_a_line_of_rfc_5424() {
    assert_eq!(
        message(&record("the tunnel is up"), 480).unwrap(),
        "<4>1 2026-11-23T01:45:07.000123Z desk shoji - vpn [meta sequenceId=\"7\" sysUpTime=\"4711\"] the tunnel is up"
    );
}

#[test]
fn what_is_not_known_is_a_dash() {
    let record = Record { unix_ns: None, hostname: "", message_id: "", ..record("x") };
    assert_eq!(message(&record, 480).unwrap(), "<4>1 - - shoji - - [meta sequenceId=\"7\" sysUpTime=\"4711\"] x");
}

#[test]
fn dates_are_those_of_the_calendar() {
    let cases = [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_399, "2000-02-28T23:59:59.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (951_868_800, "2000-03-01T00:00:00.000000Z"),
        (1_709_164_800, "2024-02-29T00:00:00.000000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        (4_107_456_000, "2100-02-28T00:00:00.000000Z"),
    ];
    for (unix_s, expected) in cases {
        let record = Record { unix_ns: Some(unix_s * 1_000_000_000), ..record("") };
        assert!(message(&record, 480).unwrap().contains(expected), "{expected}");
    }
}

#[test]
fn text_and_names_cannot_leave_their_places() {
    let record = Record { hostname: "my desk\n", app_name: "a]\"\u{e9}", ..record("two\nlines \\ \u{e9}\u{7f}") };
    assert_eq!(
        message(&record, 480).unwrap(),
        "<4>1 2026-11-23T01:45:07.000123Z my_desk_ a]\"__ - vpn [meta sequenceId=\"7\" sysUpTime=\"4711\"] \
         two\\x0alines \\\\ \\xc3\\xa9\\x7f"
    );
}

#[test]
fn names_have_the_greatest_lengths_of_the_standard() {
    let long = "x".repeat(300);
    let record = Record { hostname: &long, app_name: &long, message_id: &long, ..record("") };
    let message = message(&record, 2048).unwrap();
    let lengths: vec::Vec<_> = message.split(' ').map(str::len).collect();
    assert_eq!(lengths[2..6], [255, 48, 1, 32]);
}

#[test]
fn numbers_begin_anew_behind_their_greatest() {
    let of = |number| message(&Record { number, ..record("") }, 480).unwrap();
    assert!(of(2_147_483_646).contains("sequenceId=\"2147483647\""));
    assert!(of(2_147_483_647).contains("sequenceId=\"1\""));
    let last = Record { number: u64::MAX, uptime_ns: u64::MAX, unix_ns: Some(u64::MAX), ..record("") };
    assert!(message(&last, 480).is_some());
}

#[test]
fn a_long_text_is_cut_between_characters_and_a_header_is_not() {
    let whole = message(&record(""), 480).unwrap().len();
    assert_eq!(message(&record("\n\n"), whole + 7).unwrap().len(), whole + 4);
    assert_eq!(message(&record("text"), whole - 1), None);
}

proptest! {
    #[test]
    fn any_record_is_printable_and_fits(host in ".{0,20}", app in ".{0,60}", id in ".{0,40}", text in "(?s).{0,600}", room in 0..700usize) {
        let record = Record { hostname: &host, app_name: &app, message_id: &id, ..record(&text) };
        if let Some(message) = message(&record, room) {
            prop_assert!(message.len() <= room && message.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert!(message.splitn(7, ' ').nth(6).unwrap().starts_with("[meta sequenceId=\"7\" sysUpTime=\"4711\"] "));
        }
    }
}
