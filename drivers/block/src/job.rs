//! One request under way.

use crate::extents::in_place;
use crate::request::{Content, Failure, Memory, Request, Transfer};
use crate::{Chunk, PAGE_BYTES, Part, Sectors, Unserved};
use alloc::vec::Vec;
use mediator::disk::SectorTransform;
use mediator::{BusAddr, Ctx, Direction, TransformRun, Work};

/// Where the current part of a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It waits for a buffer, or for others to leave its sectors.
    Waiting,
    /// The device reads the sector of the transform that the request is to change a part of.
    Reading,
    /// Work is under way from the guest to the arena.
    Gathering,
    AtDevice,
    /// Work is under way from the arena to the guest.
    Delivering,
}

pub struct Job {
    pub request: Request,
    pub phase: Phase,
    pub chunk: Option<Chunk>,
    pub part: Part,
    /// Sectors that are not begun, the current part's included.
    left: u32,
    /// Sectors that were moved wholly.
    pub done: u32,
    /// A command of it was given to the device.
    sent: bool,
    /// What the request ends with, once the part is delivered.
    pub failed: Option<Failure>,
    /// Nobody asks for it any more, but its buffer is lent to work.
    pub cancelled: bool,
}

impl Job {
    pub fn new(request: Request) -> Self {
        let (lba, left) = match request.content {
            Content::Sectors { lba, sectors, .. } => (lba, sectors),
            Content::Payload { .. } => (0, 0),
        };
        let part = Part { lba, sectors: 0, plain: true, disk_lba: 0, disk_sectors: 0, skip: 0 };
        Self {
            request,
            phase: Phase::Waiting,
            chunk: None,
            part,
            left,
            done: 0,
            sent: false,
            failed: None,
            cancelled: false,
        }
    }

    fn sectors(&self) -> Option<Sectors<'_>> {
        match &self.request.content {
            Content::Sectors { ranges, sector_bytes, .. } => {
                Some(Sectors { ranges: &**ranges, sector_bytes: *sector_bytes })
            }
            Content::Payload { .. } => None,
        }
    }

    /// What the device moves for the current part, in bytes.
    fn device_bytes(&self) -> usize {
        match (&self.request.content, self.sectors()) {
            (Content::Payload { len_bytes }, _) => usize::try_from(*len_bytes).unwrap_or(usize::MAX),
            (_, Some(sectors)) => sectors.bytes(self.part.disk_sectors),
            (_, None) => 0,
        }
    }

    /// Bytes that a buffer is wanted for, and the least that is of use, with all that is left in view.
    pub fn wanted(&self) -> Result<(usize, usize), Unserved> {
        let Some(sectors) = self.sectors() else { return Ok((self.device_bytes(), self.device_bytes())) };
        let part = sectors.part(self.part.lba, self.left)?;
        let least = if part.is_edge() { part.disk_sectors } else { 1 };
        // An edge is at most as large as the page that the pool gives anyway, or says so here.
        Ok((sectors.bytes(part.disk_sectors.max(self.left)), sectors.bytes(least)))
    }

    /// The next part, as large as `capacity` bytes allow.
    pub fn next_part(&self, capacity: usize) -> Result<Part, Unserved> {
        let Some(sectors) = self.sectors() else { return Ok(self.part) };
        let fit = capacity.checked_div(sectors.bytes(1)).ok_or(Unserved)?;
        let part = sectors.part(self.part.lba, self.left.min(u32::try_from(fit).unwrap_or(u32::MAX)))?;
        if sectors.bytes(part.disk_sectors) > capacity { Err(Unserved) } else { Ok(part) }
    }

    /// Does the device move its data, or was told to?
    pub fn is_at_device(&self) -> bool {
        matches!(self.phase, Phase::Reading | Phase::AtDevice)
    }

    /// Is a sector of the transform read, changed and written? Nobody else may touch it meanwhile.
    fn is_exclusive(&self, part: &Part) -> bool {
        self.request.write && part.is_edge()
    }

    /// May this request begin `part` while `other` is at its own?
    pub fn stands(&self, part: &Part, other: &Self) -> bool {
        let idle = other.phase == Phase::Waiting || other.cancelled || other.request.disk != self.request.disk;
        let end = |part: &Part| part.disk_lba.saturating_add(u64::from(part.disk_sectors));
        let apart = end(part) <= other.part.disk_lba || end(&other.part) <= part.disk_lba;
        idle || apart || !(self.is_exclusive(part) || other.is_exclusive(&other.part))
    }

    fn buffer(&self) -> Result<BusAddr, Unserved> {
        self.chunk.as_ref().map(Chunk::bus_addr).ok_or(Unserved)
    }

    /// The command for the current part.
    pub fn transfer(&mut self, write: bool) -> Result<Transfer, Unserved> {
        let first = !core::mem::replace(&mut self.sent, true);
        let len_bytes = u32::try_from(self.device_bytes()).map_err(|_| Unserved)?;
        let (tag, buffer, part) = (self.request.tag, self.buffer()?, self.part);
        let Part { disk_lba, disk_sectors: sectors, .. } = part;
        Ok(Transfer { tag, write, disk_lba, sectors, part, buffer, len_bytes, first })
    }

    /// The copy between guest and arena for the current part. An edge's transform is not part of it
    /// ([`Job::transform_edge`]).
    pub fn work(&mut self, tag: u32, direction: Direction) -> Result<Work, Unserved> {
        let (bounce, len_bytes, runs) = self.place()?;
        let Memory::Guest(memory) = &mut self.request.memory else { return Err(Unserved) };
        let guest = memory.take(len_bytes)?;
        Ok(Work { tag, direction, guest, bounce, len_bytes, runs })
    }

    /// Does it fit into the spare page of a pool?
    pub fn is_small_payload(&self) -> bool {
        matches!(self.request.content, Content::Payload { .. }) && self.device_bytes() <= PAGE_BYTES
    }

    pub fn is_own(&self) -> bool {
        matches!(self.request.memory, Memory::Own { .. })
    }

    /// The same copy for memory of the VMM's own, at once: it is short.
    pub fn move_own(&mut self, cx: &mut Ctx<'_>, direction: Direction) -> Result<(), Unserved> {
        let (bounce, len_bytes, runs) = self.place()?;
        let Memory::Own { data, done_bytes } = &mut self.request.memory else { return Err(Unserved) };
        let end = done_bytes.checked_add(len_bytes).ok_or(Unserved)?;
        let ours = data.get_mut(*done_bytes..end).ok_or(Unserved)?;
        let bytes = cx.arena.bytes(bounce, len_bytes).map_err(|_| Unserved)?;
        match direction {
            Direction::GuestToDevice => {
                bytes.copy_from_slice(ours);
                runs.iter()
                    .for_each(|run| in_place(bytes, run, |transform, first, bytes| transform.encrypt(first, bytes)));
            }
            Direction::DeviceToGuest => {
                runs.iter()
                    .for_each(|run| in_place(bytes, run, |transform, first, bytes| transform.decrypt(first, bytes)));
                ours.copy_from_slice(bytes);
            }
        }
        *done_bytes = end;
        Ok(())
    }

    /// Where the current part's data lies in the arena, its length, and what is transformed by the copy.
    fn place(&self) -> Result<(BusAddr, usize, Vec<TransformRun>), Unserved> {
        let buffer = self.buffer()?;
        let (runs, skip, len_bytes) = match self.sectors() {
            None => (Vec::new(), 0, self.device_bytes()),
            Some(sectors) if self.part.is_edge() => {
                (Vec::new(), sectors.bytes(self.part.skip), sectors.bytes(self.part.sectors))
            }
            Some(sectors) => (sectors.runs(&self.part)?, 0, sectors.bytes(self.part.sectors)),
        };
        let bounce = buffer.checked_add(u64::try_from(skip).map_err(|_| Unserved)?).ok_or(Unserved)?;
        Ok((bounce, len_bytes, runs))
    }

    /// Transforms the one sector of an edge where it lies in the arena.
    pub fn transform_edge(
        &self,
        cx: &mut Ctx<'_>,
        apply: impl Fn(&dyn SectorTransform, u64, &mut [u8]),
    ) -> Result<(), Unserved> {
        let sectors = self.sectors().ok_or(Unserved)?;
        let runs = sectors.runs(&self.part)?;
        let bytes = cx.arena.bytes(self.buffer()?, self.device_bytes()).map_err(|_| Unserved)?;
        runs.iter().for_each(|run| in_place(bytes, run, &apply));
        Ok(())
    }

    /// The current part is done. Is anything left?
    pub fn advance(&mut self) -> bool {
        self.done = self.done.saturating_add(self.part.sectors);
        self.left = self.left.saturating_sub(self.part.sectors);
        self.part.lba = self.part.lba.saturating_add(u64::from(self.part.sectors));
        self.phase = Phase::Waiting;
        self.left > 0
    }

    /// The guest's number of a sector that the device named.
    pub fn guest_lba(&self, disk_lba: Option<u64>) -> Option<u64> {
        self.sectors()?;
        disk_lba.filter(|lba| *lba >= self.part.disk_lba).map(|lba| self.part.guest_lba(lba))
    }

    /// The device read the sectors before `bad` (the disk's number) only: the part becomes those, if they can be delivered.
    pub fn shorten(&mut self, bad: Option<u64>) -> bool {
        let good = bad.and_then(|bad| bad.checked_sub(self.part.disk_lba)).and_then(|good| u32::try_from(good).ok());
        let good = good.filter(|good| (1..self.part.sectors).contains(good) && !self.part.is_edge());
        let part = good.and_then(|good| self.sectors()?.part(self.part.lba, good).ok());
        match part.filter(|part| !part.is_edge()) {
            Some(part) => {
                self.part = part;
                true
            }
            None => false,
        }
    }
}
