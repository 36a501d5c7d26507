//! The log, as the call [`LOG`](crate::hypercall::name::LOG) gives it to the guest.
//!
//! Parameters are a postcard of [`Request`]. The answer to [`Request::Records`] is a postcard of [`Header`], whose fields have fixed
//! sizes, and behind it a postcard of [`Record`] for each record, oldest first, up to the end of the answer. The answer to
//! [`Request::Previous`] is text: printable ASCII and line feeds, none if Shoji's last run on this machine has left no record.

use core::fmt;
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Records from the one numbered `from` on, as many as fit.
    Records {
        /// 0: from the oldest that is kept; then [`Header::next`] of the answer before.
        from: u64,
        /// None that matter less.
        level: Level,
    },
    /// What a defect in Shoji's last run on this machine has left.
    Previous {
        /// Bytes of the text to be left out at its beginning.
        skip_bytes: u32,
    },
}

/// Before the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Nanoseconds since Shoji started, as of this answer; the clock of [`Record::time_ns`].
    #[serde(with = "postcard::fixint::le")]
    pub now_ns: u64,
    /// Where the next request goes on.
    #[serde(with = "postcard::fixint::le")]
    pub next: u64,
    /// Records between `from` and `next` that are gone: newer ones have taken their place.
    #[serde(with = "postcard::fixint::le")]
    pub lost: u64,
}

/// Length of [`Header`] on the wire.
pub const HEADER_BYTES: usize = 24;

/// One line of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Counts all records since Shoji started, from 0 on. A higher one has no earlier time.
    pub number: u64,
    /// Nanoseconds since Shoji started, without those in which the machine slept.
    pub time_ns: u64,
    pub level: Level,
    /// Of the machine, from 0 on.
    pub cpu: u16,
    /// The text was longer than [`MAX_TEXT_BYTES`], and its end is missing.
    pub cut: bool,
    /// Printable ASCII: any other byte was made `\xNN`, and a backslash two.
    pub text: &'a str,
}

/// `[    0.012345] WARN  text`: seconds since Shoji started, level, text; `[...]` behind a text that was cut.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.time_ns / 1_000_000_000, self.time_ns % 1_000_000_000);
        write!(f, "[{seconds:5}.{:06}] {:5} {}", nanos / 1000, self.level.name(), self.text)?;
        if self.cut { f.write_str("[...]") } else { Ok(()) }
    }
}

/// Longest text of a record.
pub const MAX_TEXT_BYTES: usize = 512;

/// What matters most comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// As it stands in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded<'a>(value: &impl Serialize, buffer: &'a mut [u8; 64]) -> &'a [u8] {
        postcard::to_slice(value, buffer).unwrap()
    }

    #[test]
    fn the_header_has_its_length_whatever_it_holds() {
        for value in [0, 1, u64::MAX] {
            let header = Header { now_ns: value, next: value, lost: value };
            assert_eq!(encoded(&header, &mut [0; 64]).len(), HEADER_BYTES);
        }
    }

    #[test]
    fn a_record_is_shown_with_time_and_level() {
        let mut record =
            Record { number: 0, time_ns: 12_345_678, level: Level::Warn, cpu: 0, cut: false, text: "text" };
        assert_eq!(alloc::format!("{record}"), "[    0.012345] WARN  text");
        (record.time_ns, record.level, record.cut) = (123_456_000_000_000, Level::Error, true);
        assert_eq!(alloc::format!("{record}"), "[123456.000000] ERROR text[...]");
    }

    #[test]
    fn records_lie_on_the_wire_as_version_1_says() {
        let record = Record { number: 300, time_ns: 5, level: Level::Warn, cpu: 1, cut: false, text: "ab" };
        assert_eq!(encoded(&record, &mut [0; 64]), [0xac, 2, 5, 1, 1, 0, 2, b'a', b'b']);
        let request = Request::Records { from: 300, level: Level::Info };
        assert_eq!(encoded(&request, &mut [0; 64]), [0, 0xac, 2, 2]);
        assert_eq!(encoded(&Request::Previous { skip_bytes: 1 }, &mut [0; 64]), [1, 1]);
    }
}
