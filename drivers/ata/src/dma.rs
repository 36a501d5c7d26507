//! DMA requests: by a shadow table where everything is plain, through the bounce buffer where something is not.
//!
//! The order of the registers is BMIDE s. 3.1, the meaning of ACTIVE and INTERRUPT at the end s. 3.2.

use crate::channel::{Channel, State};
use crate::extents::{self, Part, Unserved};
use crate::prd::{self, PrdError, TABLE_BYTES};
use crate::spec::{SECTOR_BYTES, bm, reg, status};
use crate::taskfile::{Form, Request};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use mediator::disk::RangeMap;
use mediator::{Ctx, Device, Direction, GuestSegment, Work, WorkError};

/// Size of a channel's bounce buffer. Larger requests go in parts.
pub const BOUNCE_BYTES: usize = 1 << 20;
const BOUNCE_SECTORS: u32 = (BOUNCE_BYTES / SECTOR_BYTES) as u32;

/// Lines that a channel writes to the log about requests that it could not serve.
const MAX_COMPLAINTS: u32 = 8;

/// Error register: uncorrectable data, and address not found; LBA then names the sector.
const UNC_OR_IDNF: u8 = 1 << 6 | 1 << 4;

/// A DMA command that waits for the bus master.
pub struct HeldDma {
    pub command: u8,
    pub write: bool,
    /// The request, on a disk with protected ranges.
    pub protected: Option<(Request, Arc<dyn RangeMap>)>,
}

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
    /// The bus master is started, or a DMA command has come: with both there, the request starts.
    pub fn start_if_armed(&mut self, cx: &mut Ctx<'_>) {
        if !self.bm.armed || !matches!(self.state, State::DmaHeld(_) | State::PacketHeld) {
            return;
        }
        self.bm.armed = false;
        match mem::replace(&mut self.state, State::Transparent) {
            State::DmaHeld(held) => self.start(cx, held),
            _ => match self.load_shadow(cx) {
                Ok(()) => self.run_direct(cx.device, self.bm.command & bm::TO_MEMORY != 0),
                Err(_) => {
                    // The device has the packet already and waits; the guest sees the bus master's error and resets it.
                    self.complain("PRD table of a packet is no guest memory");
                    self.bm.error = true;
                    self.bm.active = false;
                }
            },
        }
    }

    fn start(&mut self, cx: &mut Ctx<'_>, held: HeldDma) {
        let to_memory = self.bm.command & bm::TO_MEMORY != 0;
        if to_memory == held.write {
            return self.fail_dma(cx, "direction of the bus master is not that of the command");
        }
        let Some((request, ranges)) = held.protected else {
            return match self.load_shadow(cx) {
                Ok(()) => {
                    let _ = self.send_as_written(cx, held.command);
                    self.run_direct(cx.device, to_memory);
                }
                Err(_) => self.fail_dma(cx, "PRD table is no guest memory"),
            };
        };
        let part = extents::part(&*ranges, request.lba, request.sectors);
        if !part.plain || part.sectors != request.sectors {
            return self.start_bounce(cx, held.command, held.write, request, ranges);
        }
        if self.load_shadow(cx).is_err() {
            return self.fail_dma(cx, "PRD table is no guest memory");
        }
        match self.send_part(cx.device, held.command, request, part) {
            Ok(()) => self.run_direct(cx.device, to_memory),
            Err(_) => self.fail_dma(cx, "address needs a 48-bit command"),
        }
    }

    /// Copies the guest's table to ours, entry by entry, and points the stopped bus master at it.
    fn load_shadow(&mut self, cx: &mut Ctx<'_>) -> Result<(), PrdError> {
        self.ports.bm_stop(cx.device);
        let table = self.buffers.table.as_ref().ok_or(PrdError::OutOfMemory)?.bus_addr();
        let bytes = cx.arena.bytes(table, TABLE_BYTES).map_err(|_| PrdError::OutOfMemory)?;
        prd::shadow(cx.guest, self.bm.prdt, bytes)?;
        self.ports.bm_table(cx.device, u32::try_from(table.0).map_err(|_| PrdError::TooLong)?);
        Ok(())
    }

    fn run_direct(&mut self, device: &mut dyn Device, to_memory: bool) {
        self.run_bus_master(device, to_memory);
        self.state = State::DmaDirect;
    }

    fn run_bus_master(&self, device: &mut dyn Device, to_memory: bool) {
        let direction = if to_memory { bm::TO_MEMORY } else { 0 };
        self.ports.bm_write(device, bm::COMMAND, direction);
        self.ports.bm_write(device, bm::COMMAND, direction | bm::START);
    }

    /// Ends a request that the device does not have (any more): it aborts a NOP in its place, with interrupt, and the
    /// bus master shows an error.
    fn fail_dma(&mut self, cx: &mut Ctx<'_>, why: &'static str) {
        self.complain(why);
        self.refuse(cx.device);
        self.bm.error = true;
        self.bm.active = false;
    }

    fn complain(&mut self, why: &'static str) {
        self.complaints = self.complaints.saturating_add(1);
        if self.complaints <= MAX_COMPLAINTS {
            log::warn!("ata: channel {} unit {}: DMA refused: {why}", self.number, self.taskfile.unit());
        }
    }

    fn start_bounce(
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
        bounce.part = extents::part(&*bounce.ranges, bounce.part.lba, sectors);
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
        let runs = extents::runs(&*bounce.ranges, bounce.part.lba, bounce.part.sectors)?;
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
        if self.send_part(cx.device, bounce.command, bounce.request, bounce.part).is_err() {
            return self.fail_dma(cx, "address needs a 48-bit command");
        }
        self.run_bus_master(cx.device, !bounce.write);
        bounce.copying = false;
        self.state = State::Bounce(bounce);
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
        let State::Bounce(bounce) = mem::replace(&mut self.state, State::Transparent) else { return false };
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
        // The interrupt of a part that is not the last has reached the guest, who finds no cause.
        self.ports.read(cx.device, reg::STATUS);
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
        let bounce = match mem::replace(&mut self.state, State::Transparent) {
            State::Bounce(bounce) if bounce.copying => bounce,
            other => {
                self.state = other;
                return;
            }
        };
        match (result, work.direction) {
            (Err(_), _) => self.fail_dma(cx, "PRD points to what is no RAM of the guest"),
            (Ok(()), Direction::GuestToDevice) => self.send_bounce(cx, bounce),
            (Ok(()), Direction::DeviceToGuest) if bounce.failed => {}
            (Ok(()), Direction::DeviceToGuest) => self.part_done(cx, bounce),
        }
    }

    /// The guest stops the bus master.
    pub fn on_stop(&mut self, cx: &mut Ctx<'_>) {
        if let State::DmaDirect = self.state {
            self.ports.bm_stop(cx.device);
            self.state = State::Transparent;
            return;
        }
        if self.poll_bounce(cx) || !matches!(self.state, State::Bounce(_)) {
            return;
        }
        // In mid-transfer. The device may wait for the rest of encrypted data: nothing else may reach it before a
        // reset.
        self.ports.bm_stop(cx.device);
        self.buffers.transfer = self.buffers.transfer.wrapping_add(1);
        self.state = State::Stuck;
    }
}
