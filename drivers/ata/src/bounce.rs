//! DMA requests through the channel's bounce buffer, part by part.
//!
//! The meaning of ACTIVE and INTERRUPT at the end is BMIDE s. 3.2.

use crate::channel::{Channel, State};
use crate::command::Refused;
use crate::extents::{self, Part, Unserved};
use crate::prd::{self, PrdError, TABLE_BYTES};
use crate::spec::{SECTOR_BYTES, bm, code, reg, status};
use crate::taskfile::{Form, Request};
use crate::trim;
use crate::unit::Unit;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use mediator::disk::RangeMap;
use mediator::{Ctx, Device, Direction, GuestSegment, Work, WorkError};

/// Size of a channel's bounce buffer. Larger requests go in parts.
pub const BOUNCE_BYTES: usize = 1 << 20;
/// Sectors that fit the bounce buffer.
pub const BOUNCE_SECTORS: u32 = (BOUNCE_BYTES / SECTOR_BYTES) as u32;

/// Error register: uncorrectable data, and address not found; LBA then names the sector.
const UNC_OR_IDNF: u8 = 1 << 6 | 1 << 4;

/// A request that goes through the bounce buffer, part by part.
pub struct Bounce {
    command: u8,
    write: bool,
    request: Request,
    ranges: Arc<dyn RangeMap>,
    /// The guest's table, copied.
    segments: Vec<GuestSegment>,
    /// Where the next part's bytes begin in it.
    segment: usize,
    within: u32,
    /// The guest's table describes more than the request needs.
    longer: bool,
    part: Part,
    /// Sectors not done, the part's included.
    left: u32,
    /// Work on the buffer is under way; otherwise the device is at work.
    copying: bool,
    /// The device reported an error; what came before it is still copied.
    failed: bool,
}

/// How far the device is with a part.
enum Progress {
    Running,
    Done,
    Failed,
    /// The bus master failed, and the device waits for data that never comes.
    Lost,
}

impl Bounce {
    pub fn is_write(&self) -> bool {
        self.write
    }

    /// The data is a list of sectors, not sectors.
    fn is_list(&self) -> bool {
        self.command == code::DATA_SET_MANAGEMENT
    }

    /// The guest memory of the next `len` bytes.
    fn take(&mut self, len: usize) -> Result<Vec<GuestSegment>, Unserved> {
        let mut taken = Vec::new();
        let mut left = u32::try_from(len).map_err(|_| Unserved)?;
        while left > 0 {
            let segment = self.segments.get(self.segment).ok_or(Unserved)?;
            let at = segment.at.checked_add(u64::from(self.within)).ok_or(Unserved)?;
            let rest = segment.len_bytes.saturating_sub(self.within);
            let len_bytes = rest.min(left);
            taken.try_reserve(1).map_err(|_| Unserved)?;
            taken.push(GuestSegment { at, len_bytes });
            left = left.saturating_sub(len_bytes);
            if len_bytes == rest {
                self.segment = self.segment.saturating_add(1);
                self.within = 0;
            } else {
                self.within = self.within.saturating_add(len_bytes);
            }
        }
        Ok(taken)
    }
}

impl Channel {
    /// Copies the guest's table and starts the first part.
    pub fn start_bounce(
        &mut self,
        cx: &mut Ctx<'_>,
        command: u8,
        write: bool,
        request: Request,
        ranges: Arc<dyn RangeMap>,
    ) {
        if self.buffers.bounce.is_none() || self.buffers.lent {
            return self.fail_dma(cx, "bounce buffer is in use");
        }
        let wanted = extents::bytes(request.sectors) as u64;
        let Ok(regions) = prd::copy(cx.guest, self.bm.prdt, wanted) else {
            return self.fail_dma(cx, "PRD table is no guest memory");
        };
        let foreign = |s: &GuestSegment| cx.guest.bus_addr(s.at, u64::from(s.len_bytes)).is_err();
        if regions.segments.iter().any(foreign) {
            return self.fail_dma(cx, "PRD points outside guest memory");
        }
        if regions.len_bytes < wanted {
            // BMIDE s. 3.2: ACTIVE and INTERRUPT both 0, "the PRDs specified a smaller size than the IDE transfer".
            // Nothing is sent, so no sector is half written; the guest times out and resets.
            self.bm.active = false;
            self.state = State::Stuck;
            return;
        }
        self.buffers.transfer = self.buffers.transfer.wrapping_add(1);
        let part = Part { lba: request.lba, disk_lba: 0, sectors: 0, plain: false };
        let bounce = Bounce {
            command,
            write,
            request,
            ranges,
            segments: regions.segments,
            segment: 0,
            within: 0,
            longer: regions.longer,
            part,
            left: request.sectors,
            copying: false,
            failed: false,
        };
        self.next_part(cx, bounce);
    }

    /// Starts the part from `bounce.part.lba` on.
    fn next_part(&mut self, cx: &mut Ctx<'_>, mut bounce: Bounce) {
        let sectors = bounce.left.min(BOUNCE_SECTORS);
        bounce.part = match bounce.is_list() {
            true => Part { sectors, ..bounce.part },
            false => extents::part(&*bounce.ranges, bounce.part.lba, sectors),
        };
        if bounce.write {
            self.copy(cx, bounce, Direction::GuestToDevice);
        } else {
            self.send_bounce(cx, bounce);
        }
    }

    /// Has the VMM copy and transform the part, or what the device delivered of it. Returns whether it was pushed.
    fn copy(&mut self, cx: &mut Ctx<'_>, mut bounce: Bounce, direction: Direction) -> bool {
        let pushed = self.push_work(cx, &mut bounce, direction);
        if pushed.is_err() {
            self.fail_dma(cx, "no memory, or sectors of another size");
            return false;
        }
        bounce.copying = true;
        self.state = State::Bounce(bounce);
        true
    }

    fn push_work(&mut self, cx: &mut Ctx<'_>, bounce: &mut Bounce, direction: Direction) -> Result<(), Unserved> {
        let buffer = self.buffers.bounce.as_ref().ok_or(Unserved)?.bus_addr();
        let len_bytes = extents::bytes(bounce.part.sectors);
        let runs = match bounce.is_list() {
            true => Vec::new(),
            false => extents::runs(&*bounce.ranges, bounce.part.lba, bounce.part.sectors)?,
        };
        let guest = bounce.take(len_bytes)?;
        cx.work.try_reserve(1).map_err(|_| Unserved)?;
        cx.push(Work { tag: self.tag(), direction, guest, bounce: buffer, len_bytes, runs });
        self.buffers.lent = true;
        Ok(())
    }

    /// Bit 0: the channel. The rest: the transfer.
    fn tag(&self) -> u32 {
        self.buffers.transfer.wrapping_shl(1) | u32::from(self.number & 1)
    }

    /// Gives the device the part, with the bounce buffer for its data.
    fn send_bounce(&mut self, cx: &mut Ctx<'_>, mut bounce: Bounce) {
        if self.load_bounce(cx, &bounce).is_err() {
            return self.fail_dma(cx, "no bounce buffer");
        }
        // A stale interrupt bit must not pass for this part's.
        let capable = self.ports.bm_read(cx.device, bm::STATUS) & bm::CAPABLE;
        self.ports.bm_write(cx.device, bm::STATUS, capable | bm::INTERRUPT | bm::ERROR);
        let sent = match bounce.is_list() {
            true => self.send_as_written(cx, bounce.command),
            false => self.send_part(cx.device, bounce.command, bounce.request, bounce.part),
        };
        if sent.is_err() {
            return self.fail_dma(cx, "address needs a 48-bit command");
        }
        self.run_bus_master(cx.device, !bounce.write);
        bounce.copying = false;
        self.state = State::Bounce(bounce);
    }

    /// The list of a TRIM is in the bounce buffer: the guest's addresses become the disk's.
    fn translate_list(&self, cx: &mut Ctx<'_>, bounce: &Bounce) -> Result<(), Refused> {
        let Unit::Disk(disk) = self.unit() else { return Err(Refused) };
        let buffer = self.buffers.bounce.as_ref().ok_or(Refused)?.bus_addr();
        let list = cx.arena.bytes(buffer, extents::bytes(bounce.part.sectors)).map_err(|_| Refused)?;
        trim::translate(&*bounce.ranges, disk.identity.sectors, list)
    }

    fn load_bounce(&mut self, cx: &mut Ctx<'_>, bounce: &Bounce) -> Result<(), PrdError> {
        self.ports.bm_stop(cx.device);
        let table = self.buffers.table.as_ref().ok_or(PrdError::OutOfMemory)?.bus_addr();
        let buffer = self.buffers.bounce.as_ref().ok_or(PrdError::OutOfMemory)?.bus_addr();
        let bytes = cx.arena.bytes(table, TABLE_BYTES).map_err(|_| PrdError::OutOfMemory)?;
        let len = u32::try_from(extents::bytes(bounce.part.sectors)).map_err(|_| PrdError::TooLong)?;
        prd::contiguous(buffer, len, bytes)?;
        self.ports.bm_table(cx.device, u32::try_from(table.0).map_err(|_| PrdError::TooLong)?);
        Ok(())
    }

    /// The guest looks at a status while the bounce buffer is in use. When the device is done with the part, the next
    /// step is taken. Returns true when the guest must wait for work and ask again.
    pub fn poll_bounce(&mut self, cx: &mut Ctx<'_>) -> bool {
        let State::Bounce(bounce) = &self.state else { return false };
        if bounce.copying {
            return false;
        }
        let progress = self.progress(cx.device);
        if let Progress::Running = progress {
            return false;
        }
        // Whatever happened: from here on the device reaches neither buffer nor table.
        self.ports.bm_stop(cx.device);
        let State::Bounce(bounce) = mem::replace(&mut self.state, State::Idle) else { return false };
        match progress {
            Progress::Running | Progress::Lost => {
                self.bm.active = false;
                self.bm.error = true;
                self.state = State::Stuck;
                false
            }
            Progress::Failed => self.part_failed(cx, bounce),
            Progress::Done if bounce.write => {
                self.part_done(cx, bounce);
                false
            }
            Progress::Done => self.copy(cx, bounce, Direction::DeviceToGuest),
        }
    }

    fn progress(&self, device: &mut dyn Device) -> Progress {
        let drive = self.ports.alt_status(device);
        let master = self.ports.bm_read(device, bm::STATUS);
        let waiting = drive & (status::BSY | status::DRQ) != 0;
        let failed = drive & (status::ERR | status::DF) != 0;
        match (waiting, master & bm::ERROR != 0) {
            (true, true) => Progress::Lost,
            (true, false) => Progress::Running,
            (false, true) => Progress::Failed,
            (false, false) if failed => Progress::Failed,
            // With nIEN set there is no interrupt: then the end of the table says that all is in memory.
            (false, false) if master & bm::INTERRUPT == 0 && master & bm::ACTIVE != 0 => Progress::Running,
            (false, false) => Progress::Done,
        }
    }

    /// The device reported an error. A guest takes the sectors before the bad one for good, so they are copied.
    fn part_failed(&mut self, cx: &mut Ctx<'_>, mut bounce: Bounce) -> bool {
        // The bus master is stopped, but for the guest its table has not come to an end.
        self.bm.active = self.bm.command & bm::START != 0;
        if bounce.write || self.ports.read(cx.device, reg::ERROR) & UNC_OR_IDNF == 0 {
            return false;
        }
        let ext = self.moved.map_or(bounce.request.form == Form::Lba48, |moved| moved.device_ext);
        let failed_lba = self.ports.failed_lba(cx.device, ext, self.control);
        let good = failed_lba.checked_sub(bounce.part.disk_lba).and_then(|good| u32::try_from(good).ok());
        let Some(good) = good.filter(|good| (1..bounce.part.sectors).contains(good)) else { return false };
        bounce.part.sectors = good;
        bounce.failed = true;
        self.copy(cx, bounce, Direction::DeviceToGuest)
    }

    /// A part is done, and a read's data is in guest memory.
    fn part_done(&mut self, cx: &mut Ctx<'_>, mut bounce: Bounce) {
        bounce.left = bounce.left.saturating_sub(bounce.part.sectors);
        let started = self.bm.command & bm::START != 0;
        if bounce.left == 0 {
            self.bm.active = started && bounce.longer;
            return;
        }
        // The interrupt of a part that is not the last has reached the guest, who finds no cause: the command of the
        // next part takes INTRQ back (ATA/ATAPI-7 s. 5.2).
        if !started {
            self.state = State::Stuck;
            return;
        }
        bounce.part.lba = bounce.part.lba.saturating_add(u64::from(bounce.part.sectors));
        self.next_part(cx, bounce);
    }

    /// Work of this channel is done.
    pub fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: &Work, result: Result<(), WorkError>) {
        self.buffers.lent = false;
        if work.tag != self.tag() {
            return;
        }
        let bounce = match mem::replace(&mut self.state, State::Idle) {
            State::Bounce(bounce) if bounce.copying => bounce,
            other => {
                self.state = other;
                return;
            }
        };
        match (result, work.direction) {
            (Err(_), _) => self.fail_dma(cx, "PRD points to what is no RAM of the guest"),
            (Ok(()), Direction::GuestToDevice) if bounce.is_list() => match self.translate_list(cx, &bounce) {
                Ok(()) => self.send_bounce(cx, bounce),
                Err(Refused) => self.refuse(cx.device),
            },
            (Ok(()), Direction::GuestToDevice) => self.send_bounce(cx, bounce),
            (Ok(()), Direction::DeviceToGuest) if bounce.failed => {}
            (Ok(()), Direction::DeviceToGuest) => self.part_done(cx, bounce),
        }
    }
}
