//! The VMM's own disk I/O beside the guest.
//!
//! ```
//! async fn first_sectors(io: &disk::Io) -> Result<Vec<u8>, disk::Error> {
//!     // Disk 0 as the guest sees it: what is encrypted comes decrypted, and hidden headers are not there.
//!     io.read(0, 0, 4096).await
//! }
//! ```
//!
//! Sectors are the guest's: every request goes through the disk's range map, and there is no way past it, so nothing of the VMM's
//! can put plaintext where ciphertext belongs. A disk has one request of the VMM's at a time, of at most
//! [`mediator::disk::MAX_OWN_BYTES`]; longer ones go in pieces, and between two of them the guest has its turn. A request that does not
//! end within [`TIMEOUT_NS`] is an error, as is a disk that is gone; nobody waits for ever.
//!
//! A file system that the guest has mounted changes under whoever reads it, and is destroyed by whoever writes to it.
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

extern crate alloc;
#[cfg(test)]
extern crate std;

mod service;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use lock::{Ranked, rank::TURNS};
use mediator::Instant;
use mediator::disk::{MAX_OWN_BYTES, OwnError, OwnOp, OwnRequest};
pub use service::DiskService;
use task::Class;

/// Longer than any disk takes that is alive.
pub const TIMEOUT_NS: u64 = 5_000_000_000;
/// Disks that can be asked.
pub const MAX_DISKS: usize = 64;
/// From one look at a request to the next.
const LOOK: Duration = Duration::from_micros(100);
/// From one look for a turn to the next.
const WAIT: Duration = Duration::from_millis(1);

/// The disks of the machine, by numbers from 0 on.
pub trait Disks: Send + Sync {
    fn count(&self) -> usize;
    /// Number of sectors, and bytes of each.
    fn size(&self, disk: usize) -> Option<(u64, u32)>;
    /// See [`mediator::disk::DiskController::submit_own`].
    ///
    /// # Errors
    /// [`OwnError`].
    fn submit(&self, disk: usize, request: OwnRequest) -> Result<(), OwnError>;
    /// See [`mediator::disk::DiskController::poll_own`].
    fn poll(&self, disk: usize) -> Option<Result<Vec<u8>, OwnError>>;
    /// See [`mediator::disk::DiskController::drop_own`].
    fn forget(&self, disk: usize);
    fn now(&self) -> Instant;
}

/// Why a request has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    Disk(OwnError),
    /// It did not end in time.
    TimedOut,
    /// No such request, or its answer was fetched.
    Unknown,
}

impl From<OwnError> for Error {
    fn from(error: OwnError) -> Self {
        Self::Disk(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk(OwnError::Request) => "there are no such sectors",
            Self::Disk(OwnError::Busy) => "the disk is at work for another request of Shoji's",
            Self::Disk(OwnError::NotReady) => "the guest has the disk switched off",
            Self::Disk(OwnError::Denied) => "the range may not be used",
            Self::Disk(OwnError::Lost) => "the disk was reset or has gone",
            Self::Disk(OwnError::Device) => "the disk reports an error",
            Self::Disk(OwnError::Unserved) => "not with this controller, or no memory left",
            Self::TimedOut => "the disk does not answer",
            Self::Unknown => "no such request",
        })
    }
}

impl core::error::Error for Error {}

/// A request under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    pub disk: u8,
    /// No other request has it.
    pub number: u64,
}

/// Whose turn it is at a disk.
#[derive(Clone, Copy)]
struct Turn {
    number: u64,
    until: Instant,
    stage: Stage,
}

/// Between two calls of the driver, which knows a disk's request by the disk only: nobody else has the turn while one lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Somebody calls the driver for it.
    Called,
    /// The same, and nobody asks for the request any more.
    Forgotten,
}

/// May the driver be called for a request?
enum Entered {
    /// Until this moment it may take.
    Yes(Instant),
    /// Somebody else does so.
    NotNow,
    /// It has no turn any more.
    Unknown,
}

struct Turns {
    next: u64,
    of: [Option<Turn>; MAX_DISKS],
}

/// The way to the disks.
pub struct Io {
    disks: &'static dyn Disks,
    turns: Ranked<Turns, TURNS>,
}

impl Io {
    pub const fn new(disks: &'static dyn Disks) -> Self {
        Self { disks, turns: Ranked::new(Turns { next: 1, of: [None; MAX_DISKS] }) }
    }

    /// Number of disks.
    pub fn count(&self) -> usize {
        self.disks.count().min(MAX_DISKS)
    }

    /// Number of sectors of a disk, and bytes of each.
    pub fn size(&self, disk: usize) -> Option<(u64, u32)> {
        self.disks.size(disk).filter(|_| disk < MAX_DISKS)
    }

    /// Begins a request; never waits.
    ///
    /// # Errors
    /// [`Error`]; [`OwnError::Busy`] where the disk has another one of the VMM's.
    pub fn submit(&self, disk: usize, request: OwnRequest) -> Result<Ticket, Error> {
        let ticket = self.take_turn(disk)?;
        self.begin(ticket, Ok(request))
    }

    fn begin(&self, ticket: Ticket, request: Result<OwnRequest, OwnError>) -> Result<Ticket, Error> {
        let begun = request.and_then(|request| self.disks.submit(ticket.disk.into(), request));
        self.leave(ticket, begun.is_err());
        begun.map(|()| ticket).map_err(Error::from)
    }

    /// What has become of a request; `None` while it is under way. Nothing else brings it on but looking.
    pub fn poll(&self, ticket: Ticket) -> Option<Result<Vec<u8>, Error>> {
        let until = match self.enter(ticket, Stage::Called) {
            Entered::Yes(until) => until,
            // Another CPU looks.
            Entered::NotNow => return None,
            Entered::Unknown => return Some(Err(Error::Unknown)),
        };
        let end = self.disks.poll(ticket.disk.into());
        self.leave(ticket, end.is_some());
        if end.is_some() || self.disks.now() < until {
            return end.map(|end| end.map_err(Error::from));
        }
        self.forget(ticket);
        Some(Err(Error::TimedOut))
    }

    /// Nobody asks for it any more.
    pub fn forget(&self, ticket: Ticket) {
        if matches!(self.enter(ticket, Stage::Forgotten), Entered::Yes(_)) {
            self.leave(ticket, false);
        }
    }

    /// The driver is called for a request. If somebody else does so already, it leaves it as `stage` says.
    fn enter(&self, ticket: Ticket, stage: Stage) -> Entered {
        let mut turns = self.turns.lock();
        let turn = turns.of.get_mut(usize::from(ticket.disk)).and_then(Option::as_mut);
        let Some(turn) = turn.filter(|turn| turn.number == ticket.number) else { return Entered::Unknown };
        let before = turn.stage;
        if before == Stage::Idle || stage == Stage::Forgotten {
            turn.stage = stage;
        }
        if before == Stage::Idle { Entered::Yes(turn.until) } else { Entered::NotNow }
    }

    /// The driver was called. The turn ends with the request, or when nobody asks for that any more.
    fn leave(&self, ticket: Ticket, ended: bool) {
        let is_forgotten = self.with(ticket, |turn| match turn {
            _ if ended => {
                *turn = None;
                false
            }
            Some(turn) if turn.stage == Stage::Called => {
                turn.stage = Stage::Idle;
                false
            }
            _ => true,
        });
        if is_forgotten {
            self.disks.forget(ticket.disk.into());
            self.with(ticket, |turn| *turn = None);
        }
    }

    /// Calls with the turn of a disk, if it is still this one's.
    fn with<R: Default>(&self, ticket: Ticket, call: impl FnOnce(&mut Option<Turn>) -> R) -> R {
        let mut turns = self.turns.lock();
        let turn = turns.of.get_mut(usize::from(ticket.disk));
        turn.filter(|turn| turn.is_some_and(|turn| turn.number == ticket.number)).map(call).unwrap_or_default()
    }

    /// One that nobody has asked for in time makes room. The driver is about to be called for the new one.
    fn take_turn(&self, disk: usize) -> Result<Ticket, Error> {
        let number = u8::try_from(disk).ok().filter(|_| disk < self.count()).ok_or(OwnError::Request)?;
        let now = self.disks.now();
        let mut turns = self.turns.lock();
        let next = turns.next;
        let turn = turns.of.get_mut(disk).ok_or(OwnError::Request)?;
        if turn.is_some_and(|turn| now < turn.until || turn.stage != Stage::Idle) {
            return Err(OwnError::Busy.into());
        }
        let is_forgotten = turn.is_some();
        let until = Instant(now.0.saturating_add(TIMEOUT_NS));
        *turn = Some(Turn { number: next, until, stage: Stage::Called });
        turns.next = next.wrapping_add(1);
        drop(turns);
        if is_forgotten {
            self.disks.forget(disk);
        }
        Ok(Ticket { disk: number, number: next })
    }

    /// Reads so many bytes, whole sectors, from `lba` on. Only in a task.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(&self, disk: usize, lba: u64, len_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        all.try_reserve_exact(len_bytes).map_err(|_| OwnError::Unserved)?;
        while all.len() < len_bytes {
            let len = len_bytes.saturating_sub(all.len()).min(MAX_OWN_BYTES);
            let at = self.lba_at(disk, lba, all.len())?;
            let request = || Ok(OwnRequest { op: OwnOp::Read, lba: at, data: zeros(len)? });
            all.extend_from_slice(&self.run(disk, request).await?);
        }
        Ok(all)
    }

    /// Writes whole sectors from `lba` on. On the medium they are after [`Io::flush`]. Only in a task.
    ///
    /// # Errors
    /// [`Error`]; a part may have been written.
    pub async fn write(&self, disk: usize, lba: u64, data: &[u8]) -> Result<(), Error> {
        let mut done = 0_usize;
        for piece in data.chunks(MAX_OWN_BYTES) {
            let at = self.lba_at(disk, lba, done)?;
            let request = || {
                let mut data = zeros(piece.len())?;
                data.copy_from_slice(piece);
                Ok(OwnRequest { op: OwnOp::Write, lba: at, data })
            };
            self.run(disk, request).await?;
            done = done.saturating_add(piece.len());
        }
        Ok(())
    }

    /// What was written is on the medium afterwards. Only in a task.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn flush(&self, disk: usize) -> Result<(), Error> {
        self.run(disk, || Ok(OwnRequest { op: OwnOp::Flush, lba: 0, data: Vec::new() })).await.map(drop)
    }

    /// The sector `done` bytes behind `lba`.
    fn lba_at(&self, disk: usize, lba: u64, done: usize) -> Result<u64, OwnError> {
        let (_, sector_bytes) = self.size(disk).ok_or(OwnError::Request)?;
        let sectors = (done as u64).checked_div(sector_bytes.into()).ok_or(OwnError::Request)?;
        lba.checked_add(sectors).ok_or(OwnError::Request)
    }

    /// While another request has the disk, be it one that nobody asks for any more, this one waits.
    async fn run(&self, disk: usize, request: impl Fn() -> Result<OwnRequest, OwnError>) -> Result<Vec<u8>, Error> {
        let until = self.disks.now().0.saturating_add(TIMEOUT_NS);
        let ticket = loop {
            match self.take_turn(disk).and_then(|ticket| self.begin(ticket, request())) {
                Err(Error::Disk(OwnError::Busy)) if self.disks.now().0 < until => {
                    task::sleep(WAIT, Class::AtInterrupt).await;
                }
                begun => break begun?,
            }
        };
        let _forgotten_if_dropped = Waiting { io: self, ticket };
        loop {
            if let Some(end) = self.poll(ticket) {
                return end;
            }
            task::sleep(LOOK, Class::Hard).await;
        }
    }
}

/// Somebody waits for a request.
struct Waiting<'a> {
    io: &'a Io,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.io.forget(self.ticket);
    }
}

fn zeros(len_bytes: usize) -> Result<Vec<u8>, OwnError> {
    let mut data = Vec::new();
    data.try_reserve_exact(len_bytes).map_err(|_| OwnError::Unserved)?;
    data.resize(len_bytes, 0);
    Ok(data)
}
