//! What goes into a queue, and what comes out of it.

use crate::{Part, Scatter};
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::BusAddr;
use mediator::disk::RangeMap;

/// A request that goes through the arena.
pub struct Request {
    /// The driver's own number, unique among the requests under way.
    pub tag: u32,
    /// Which of the queue's disks: requests to different ones never touch the same sectors.
    pub disk: u32,
    /// The guest writes the disk.
    pub write: bool,
    pub content: Content,
    pub memory: Memory,
}

/// Where the data of a request is.
pub enum Memory {
    /// The guest's; what is longer than the content stays as it is.
    Guest(Scatter),
    /// The VMM's own, as long as the content, at most [`mediator::disk::MAX_OWN_BYTES`]. It comes back with [`Step::Done`].
    Own { data: Vec<u8>, done_bytes: usize },
}

impl Memory {
    pub fn own(data: Vec<u8>) -> Self {
        Self::Own { data, done_bytes: 0 }
    }

    /// Pieces of guest memory.
    pub fn segments(&self) -> usize {
        match self {
            Self::Guest(scatter) => scatter.segments(),
            Self::Own { .. } => 0,
        }
    }
}

impl From<Scatter> for Memory {
    fn from(segments: Scatter) -> Self {
        Self::Guest(segments)
    }
}

/// What is moved.
pub enum Content {
    /// Sectors that the guest names, `sectors` > 0. Checked by [`crate::Sectors::plan`] before.
    Sectors { lba: u64, sectors: u32, sector_bytes: u32, ranges: Arc<dyn RangeMap> },
    /// Bytes of a command that are no sectors: an answer of the device, or a list for it. They move whole, untransformed;
    /// the driver may look at them and change them between ([`mediator::DmaArena::bytes`]).
    Payload { len_bytes: u32 },
}

/// A command for the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    pub tag: u32,
    /// To the device. Differs from the request's for sectors that are read to be changed and written.
    pub write: bool,
    /// 0 for a payload.
    pub disk_lba: u64,
    /// 0 for a payload.
    pub sectors: u32,
    /// Of which sectors of the guest it is.
    pub part: Part,
    /// Physically contiguous, in the arena.
    pub buffer: BusAddr,
    pub len_bytes: u32,
    /// No command of the request was sent before.
    pub first: bool,
}

/// What the driver is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Give the device a command, and tell [`crate::Queue::on_device_done`] when it has ended.
    Send(Transfer),
    /// The request has ended: so many of its sectors were moved wholly, or its payload was. `own`: its [`Memory::Own`].
    Done { tag: u32, sectors: u32, result: Result<(), Failure>, own: Option<Vec<u8>> },
}

/// Why a request has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The device said so; the guest's number of the first sector that failed, where it is known.
    Device { lba: Option<u64> },
    /// Its memory is no RAM of the guest.
    Memory,
    /// The VMM has no memory left, or the range map cannot be served.
    Unserved,
}

/// The device ended a command with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceError {
    /// The disk's number of the first sector that failed, if the device named one.
    pub disk_lba: Option<u64>,
}
