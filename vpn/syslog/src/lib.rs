//! Log records as syslog messages, one in a UDP datagram (RFC 5426).
//!
//! ```text
//! <PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [meta sequenceId="7" sysUpTime="4711"] text
//! ```
//!
//! Everything in a message is printable ASCII: what is not is escaped in the text and replaced in names, so that no record can begin another one,
//! or end its own structured data. A message is as long as its buffer at most; the text is cut.
//!
//! Source: RFC 5424 (format), RFC 5426 (UDP); sections are those of RFC 5424.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

mod out;
#[cfg(test)]
mod tests;
mod time;

use out::Out;

/// What every receiver takes over IPv4 and IPv6 (RFC 5426 s. 3.2).
pub const SAFE_BYTES: usize = 480;
/// What every receiver should take.
pub const MAX_BYTES: usize = 2048;

/// Longest names (s. 6).
const MAX_HOSTNAME: usize = 255;
const MAX_APP_NAME: usize = 48;
const MAX_MESSAGE_ID: usize = 32;
/// Kernel messages are what a hypervisor's are closest to (s. 6.2.1, table 1).
const FACILITY: u8 = 0;
/// s. 7.3.1: greatest number, after which 1 follows.
const MAX_SEQUENCE: u64 = 2_147_483_647;
const NS_PER_CENTISECOND: u64 = 10_000_000;

/// s. 6.2.1, table 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    Emergency = 0,
    Alert = 1,
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Informational = 6,
    Debug = 7,
}

/// A record of the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub severity: Severity,
    /// Nanoseconds since 1970 (UTC); `None`: not known.
    pub unix_ns: Option<u64>,
    /// Nanoseconds since the start.
    pub uptime_ns: u64,
    /// Of the record in the log, from 0 on.
    pub number: u64,
    /// The machine; empty: not known.
    pub hostname: &'a str,
    /// Who speaks.
    pub app_name: &'a str,
    /// Which part of it, or empty.
    pub message_id: &'a str,
    pub text: &'a str,
}

/// Writes a record as a message to the start of `out`; its length in bytes. `None`: not even the header fits.
#[must_use]
pub fn encode(record: &Record<'_>, out: &mut [u8]) -> Option<usize> {
    let mut out = Out::new(out);
    out.text("<")?;
    out.number(u64::from(FACILITY.wrapping_mul(8) | record.severity as u8), 1)?;
    out.text(">1 ")?;
    match record.unix_ns {
        Some(unix_ns) => time::write(unix_ns, &mut out)?,
        None => out.text("-")?,
    }
    for (name, most) in [(record.hostname, MAX_HOSTNAME), (record.app_name, MAX_APP_NAME), ("", 1)] {
        out.text(" ")?;
        out.name(name, most)?;
    }
    out.text(" ")?;
    out.name(record.message_id, MAX_MESSAGE_ID)?;
    out.text(" [meta sequenceId=\"")?;
    let number = record.number.checked_rem(MAX_SEQUENCE).unwrap_or_default().wrapping_add(1);
    out.number(number, 1)?;
    out.text("\" sysUpTime=\"")?;
    out.number(record.uptime_ns / NS_PER_CENTISECOND, 1)?;
    out.text("\"] ")?;
    out.escaped(record.text);
    Some(out.len())
}
