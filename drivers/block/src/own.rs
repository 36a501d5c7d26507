//! Requests of the VMM's own, beside the guest's: one for each disk at a time.
//!
//! A driver submits what [`Own::begin`] lets through to its [`crate::Queue`], with a tag of [`Own::tag`], and tells
//! [`Own::end`] how it ended. A flush is a payload without bytes, so that it takes its turn as all others do.

use crate::{Content, Failure, Memory, Request, Sectors};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::disk::{Extent, MAX_OWN_BYTES, OwnError, OwnOp, OwnRequest, RangeMap, Rights, Treatment};

/// The map of a disk that has none: all of it is plain.
pub struct Plain;

impl RangeMap for Plain {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        Extent { disk_lba: lba, sectors, treatment: Treatment::Plain, rights: Rights::ReadWrite }
    }

    fn is_protected(&self) -> bool {
        false
    }
}

/// Set in the tags of the VMM's own requests, and in no other.
const OWN: u32 = 1 << 31;

enum State {
    Idle,
    /// `dropped`: nobody asks for it any more.
    UnderWay {
        dropped: bool,
    },
    Ended(Result<Vec<u8>, OwnError>),
}

/// The requests of a controller's disks, by the driver's numbers of these.
#[derive(Default)]
pub struct Own(Vec<State>);

/// A disk, as a request of the VMM's own finds it.
pub struct OwnDisk {
    /// Number of the disk among the driver's.
    pub number: usize,
    /// What [`Request::disk`] tells the guest's requests to it by.
    pub queue_disk: u32,
    pub sectors: u64,
    pub sector_bytes: u32,
    pub ranges: Arc<dyn RangeMap>,
}

impl Own {
    /// The tag of the request of a disk.
    pub fn tag(disk: usize) -> u32 {
        OWN | u32::try_from(disk).unwrap_or(OWN)
    }

    /// The disk whose request has this tag; `None`: it is one of the guest's.
    pub fn disk_of(tag: u32) -> Option<usize> {
        (tag & OWN != 0).then_some((tag & !OWN) as usize)
    }

    /// A request begins. Gives what is to be submitted.
    ///
    /// # Errors
    /// [`OwnError`]: it does not begin.
    pub fn begin(&mut self, disk: OwnDisk, request: OwnRequest) -> Result<Request, OwnError> {
        let OwnDisk { number, queue_disk, sectors, sector_bytes, ranges } = disk;
        while self.0.len() <= number {
            self.0.try_reserve(1).map_err(|_| OwnError::Unserved)?;
            self.0.push(State::Idle);
        }
        let state = self.0.get_mut(number).ok_or(OwnError::Request)?;
        if !matches!(state, State::Idle) {
            return Err(OwnError::Busy);
        }
        let OwnRequest { op, lba, data } = request;
        let write = op != OwnOp::Read;
        let content = if op == OwnOp::Flush {
            if data.is_empty() { Content::Payload { len_bytes: 0 } } else { return Err(OwnError::Request) }
        } else {
            let count = count(&data, sector_bytes)?;
            if lba.checked_add(count.into()).is_none_or(|end| end > sectors) {
                return Err(OwnError::Request);
            }
            let map = Sectors { ranges: &*ranges, sector_bytes };
            map.check_rights(lba, count, write).map_err(|_| OwnError::Denied)?;
            Content::Sectors { lba, sectors: count, sector_bytes, ranges }
        };
        *state = State::UnderWay { dropped: false };
        Ok(Request { tag: Self::tag(number), disk: queue_disk, write, content, memory: Memory::own(data) })
    }

    /// The request of a disk has ended, with its data if it was done.
    pub fn end(&mut self, disk: usize, result: Result<(), Failure>, data: Option<Vec<u8>>) {
        self.settle(
            disk,
            match (result, data) {
                (Ok(()), Some(data)) => Ok(data),
                (Err(Failure::Device { .. }), _) => Err(OwnError::Device),
                _ => Err(OwnError::Unserved),
            },
        );
    }

    /// The queue has forgotten the requests of these disks.
    pub fn lose(&mut self, which: impl Fn(usize) -> bool) {
        for disk in (0..self.0.len()).filter(|disk| which(*disk)) {
            self.settle(disk, Err(OwnError::Lost));
        }
    }

    fn settle(&mut self, disk: usize, result: Result<Vec<u8>, OwnError>) {
        if let Some(state) = self.0.get_mut(disk)
            && let State::UnderWay { dropped } = state
        {
            *state = if *dropped { State::Idle } else { State::Ended(result) };
        }
    }

    /// See [`mediator::disk::DiskController::poll_own`].
    pub fn poll(&mut self, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        let state = self.0.get_mut(disk);
        match state {
            Some(State::UnderWay { .. }) => None,
            Some(state @ State::Ended(_)) => match core::mem::replace(state, State::Idle) {
                State::Ended(result) => Some(result),
                _ => Some(Err(OwnError::Request)),
            },
            Some(State::Idle) | None => Some(Err(OwnError::Request)),
        }
    }

    /// See [`mediator::disk::DiskController::drop_own`].
    pub fn forget(&mut self, disk: usize) {
        match self.0.get_mut(disk) {
            Some(State::UnderWay { dropped }) => *dropped = true,
            Some(state) => *state = State::Idle,
            None => {}
        }
    }

    /// Is a request of the disk under way?
    pub fn is_under_way(&self, disk: usize) -> bool {
        matches!(self.0.get(disk), Some(State::UnderWay { .. }))
    }
}

/// Number of sectors that make up the data.
fn count(data: &[u8], sector_bytes: u32) -> Result<u32, OwnError> {
    let size = usize::try_from(sector_bytes).map_err(|_| OwnError::Request)?;
    let whole = data.len() <= MAX_OWN_BYTES && !data.is_empty() && data.len().checked_rem(size) == Some(0);
    let count = data.len().checked_div(size).filter(|_| whole).ok_or(OwnError::Request)?;
    u32::try_from(count).map_err(|_| OwnError::Request)
}
