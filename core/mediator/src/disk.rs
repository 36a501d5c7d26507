//! What a disk mediator is given, and what it offers before the guest starts.

use crate::{Ctx, Mediator};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Encrypts and decrypts runs of sectors in place. Length-preserving; one sector is [`SectorTransform::sector_bytes`].
pub trait SectorTransform: Send + Sync {
    fn sector_bytes(&self) -> usize;
    /// `sectors` is a whole number of sectors; the first has the number `first_sector`, counted in sectors of this size. The
    /// tweak follows from it.
    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]);
    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]);
}

/// What happens to a run of sectors.
#[derive(Clone)]
pub enum Treatment {
    /// Passed as it is.
    Plain,
    /// Transformed; `first_sector` is the tweak of the run's first sector.
    Transform { transform: Arc<dyn SectorTransform>, first_sector: u64 },
}

/// What the guest may do with a run of sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rights {
    #[default]
    ReadWrite,
    /// Writes, also such as discard sectors, are answered with the device's own write-protect error.
    ReadOnly,
    /// Reads and writes are answered with an I/O error: no sector of the disk answers to these numbers.
    None,
}

/// A run of sectors that share one treatment.
#[derive(Clone)]
pub struct Extent {
    /// Where the run lies on the disk; differs from the guest's LBA once headers are hidden.
    pub disk_lba: u64,
    /// At least 1, at most what was asked for.
    pub sectors: u64,
    pub treatment: Treatment,
    pub rights: Rights,
}

/// Guest LBA -> disk LBA, tweak base, transform, rights. Replaced between requests, never changed during one.
pub trait RangeMap: Send + Sync {
    /// The treatment of the sectors from `lba` on, as far as it stays the same, at most `sectors` (> 0) of them.
    fn extent(&self, lba: u64, sectors: u64) -> Extent;
    /// Does the disk have any sector that is not plain, or not free to be read and written? Such a disk refuses every command it
    /// does not know (`deny-unknown`).
    fn is_protected(&self) -> bool;
    /// The largest sector of a transform of the disk. Where it is larger than the disk's own, guests are told to align their writes
    /// to it (as physical sector size); those that are not aligned are read, changed and written.
    fn largest_sector_bytes(&self) -> usize {
        512
    }
    /// Where the sectors of a transform are larger than the disk's: how many sectors of the disk lie between the start of the
    /// transform's sector that holds `lba` and `lba` itself. An extent that begins there gives the tweak as its own. `None`: `lba`
    /// is in no such transform, or the map does not know; requests there are refused then.
    fn within_transform_sector(&self, lba: u64) -> Option<u32> {
        let _ = lba;
        None
    }
    /// May the guest tell the disk which sectors are unused (TRIM)? It tells a thief, too, so the default is no.
    fn allows_trim(&self) -> bool {
        false
    }
}

/// A disk as its controller tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskInfo {
    /// As in IDENTIFY DEVICE, trimmed.
    pub model: String,
    pub serial: String,
    /// Position on the controller: IDE channel 0 or 1 and unit 0 or 1; AHCI port and 0; NVMe namespace and 0.
    pub channel: u32,
    pub unit: u32,
    /// Total number of addressable sectors.
    pub sectors: u64,
    pub sector_bytes: u32,
}

/// A disk did not do what it was asked before the guest started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// No such disk, or the range lies outside it, or the buffer is no whole number of sectors.
    Request,
    /// The device did not answer in time.
    Timeout,
    /// The device reported an error: ATA status and error registers; NVMe status code type and status code.
    Device { status: u8, error: u8 },
}

/// What the VMM itself asks of a disk beside the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnOp {
    Read,
    Write,
    /// What was written is on the medium afterwards.
    Flush,
}

/// A request of the VMM's own. It goes through the disk's range map as the guest's do: sectors have the guest's numbers, are
/// transformed as the guest's are, and rights hold.
pub struct OwnRequest {
    pub op: OwnOp,
    pub lba: u64,
    /// Whole sectors: what is written, or as long as what is to be read. Empty for a flush.
    pub data: Vec<u8>,
}

/// Most bytes of a request of the VMM's own: the guest waits for no more than these.
pub const MAX_OWN_BYTES: usize = 64 << 10;

/// Why a request of the VMM's own was not taken, or has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnError {
    /// No such disk, no whole number of sectors, too many, or they lie outside of it.
    Request,
    /// Another one is under way on the disk.
    Busy,
    /// The guest has the controller switched off, or its queues are not there yet: later perhaps.
    NotReady,
    /// The range may not be read or written.
    Denied,
    /// A reset, or the end of the device, came in between: it may have been done, or not.
    Lost,
    /// The device reported an error.
    Device,
    /// Not with this controller, or with no memory left.
    Unserved,
}

/// A mediator of disks.
pub trait DiskController: Mediator {
    /// The disks found, in the order of channel and unit. Disks only: ATAPI and empty units are guarded but not listed.
    fn disks(&self) -> Vec<DiskInfo>;

    /// Reads whole sectors, polling. Only before the guest starts: it waits for the device (bounded).
    ///
    /// # Errors
    /// See [`DiskError`].
    fn read_before_guest(&mut self, cx: &mut Ctx<'_>, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError>;

    /// From the next request on the disk has these ranges. Disks start wholly plain.
    ///
    /// # Errors
    /// [`DiskError::Request`]: no such disk.
    fn set_ranges(&mut self, disk: usize, ranges: Arc<dyn RangeMap>) -> Result<(), DiskError>;

    /// Takes a request of the VMM's own while the guest runs, one at a time for each disk. It never waits. The guest's requests and
    /// these take turns; the guest never hears of a completion that is not its own.
    ///
    /// # Errors
    /// [`OwnError`]: nothing was begun.
    fn submit_own(&mut self, cx: &mut Ctx<'_>, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        let _ = (cx, disk, request);
        Err(OwnError::Unserved)
    }

    /// What has become of the request: `None` while it is under way, its data once it is done. To be asked until then, since
    /// nobody else may find its end.
    fn poll_own(&mut self, cx: &mut Ctx<'_>, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        let _ = (cx, disk);
        Some(Err(OwnError::Unserved))
    }

    /// Nobody asks for the request any more. The disk takes another one once it has come to its end.
    fn drop_own(&mut self, disk: usize) {
        let _ = disk;
    }
}
