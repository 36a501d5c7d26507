//! `shoji log`.

use super::{Vmm, encode};
use abi::hypercall::{Error, name};
use abi::log::{Header, Level, Record, Request};
use std::io;
use std::time::Duration;

/// How often `-f` looks for new records. A look without any costs some thousand instructions.
pub const PERIOD: Duration = Duration::from_millis(100);

/// Where records go.
pub trait Output {
    /// # Errors
    /// It takes no more.
    fn record(&mut self, record: &Record<'_>, now_ns: u64) -> io::Result<()>;

    /// So many records are missing here.
    ///
    /// # Errors
    /// As [`Output::record`].
    fn lost(&mut self, count: u64) -> io::Result<()>;

    /// A number of records, from which on all are still to come: those before it need not be asked for again.
    ///
    /// # Errors
    /// As [`Output::record`].
    fn come_to(&mut self, _next: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Lines for people.
pub struct Lines<W>(pub W);

impl<W: io::Write> Output for Lines<W> {
    fn record(&mut self, record: &Record<'_>, _: u64) -> io::Result<()> {
        writeln!(self.0, "{record}")
    }

    fn lost(&mut self, count: u64) -> io::Result<()> {
        writeln!(self.0, "-- {count} records are lost: newer ones have taken their place --")
    }

    fn come_to(&mut self, _: u64) -> io::Result<()> {
        self.0.flush()
    }
}

/// What can end a log.
#[derive(Debug)]
pub enum LogError {
    Shoji(Error),
    Output(io::Error),
}

impl From<Error> for LogError {
    fn from(error: Error) -> Self {
        Self::Shoji(error)
    }
}

impl From<io::Error> for LogError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Hands all records from the one numbered `from` on to `output`; gives the number of the first that is still to come.
///
/// # Errors
/// Of Shoji, or of the output.
pub fn copy(vmm: &impl Vmm, mut from: u64, level: Level, output: &mut impl Output) -> Result<u64, LogError> {
    loop {
        let answer = vmm.call(name::LOG, &encode(&Request::Records { from, level }))?;
        let (header, mut rest): (Header, _) = postcard::take_from_bytes(&answer).map_err(|_| Error::Unavailable)?;
        let is_last = rest.is_empty();
        // What is lost is older than what is there.
        if header.lost > 0 {
            output.lost(header.lost)?;
        }
        while !rest.is_empty() {
            let (record, behind) = postcard::take_from_bytes(rest).map_err(|_| Error::Unavailable)?;
            output.record(&record, header.now_ns)?;
            rest = behind;
        }
        from = header.next;
        output.come_to(from)?;
        if is_last {
            return Ok(from);
        }
    }
}

/// The record of the last run's defect; empty: there is none.
///
/// # Errors
/// As Shoji says.
pub fn previous(vmm: &impl Vmm) -> Result<String, Error> {
    let mut text = Vec::new();
    loop {
        let skip_bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let piece = vmm.call(name::LOG, &encode(&Request::Previous { skip_bytes }))?;
        if piece.is_empty() {
            let text: String = text.iter().map(|byte| if *byte == b'\n' { '\n' } else { char::from(*byte) }).collect();
            return Ok(text.lines().map(|line| super::escaped(line) + "\n").collect());
        }
        text.extend(piece);
    }
}
