//! DMA requests through the channel's bounce buffer: what the device is sent of them, and what the guest sees meanwhile.
//! Parts, buffers and transforms are those of the crate `block`.
//!
//! The meaning of ACTIVE and INTERRUPT at the end is BMIDE s. 3.2.

use crate::channel::{Channel, State};
use crate::cmd;
use crate::command::Refused;
use crate::denied::Denied;
use crate::extents;
use crate::prd::{self, PrdError, TABLE_BYTES};
use crate::spec::{SECTOR_BYTES, bm, code, error, reg, status};
use crate::taskfile::{Form, Request};
use crate::trim;
use crate::unit::Unit;
use alloc::sync::Arc;
use block::{Content, DeviceError, Failure, Queue, Scatter, Step, Transfer};
use core::mem;
use mediator::disk::RangeMap;
use mediator::{Ctx, Device, GuestSegment, Work, WorkError};

/// Size of a channel's bounce buffer. Larger requests go in parts.
pub const BOUNCE_BYTES: usize = 1 << 20;

/// The guest has one request at a time on a channel.
pub const GUEST_TAG: u32 = 0;

/// A request that goes through the bounce buffer.
pub struct Bounce {
    command: u8,
    write: bool,
    request: Request,
    ranges: Arc<dyn RangeMap>,
    /// The guest's table describes more than the request needs.
    longer: bool,
    /// The device is at work on a part.
    at_device: bool,
    /// The error that the guest is to see once all is moved.
    ends: Option<Denied>,
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

    /// The command of a part: of one that is read to be changed the one that reads.
    fn part_command(&self, write: bool) -> Result<u8, Refused> {
        if write == self.write { Ok(self.command) } else { cmd::read_form(self.command).ok_or(Refused) }
    }
}

impl Channel {
    /// Copies the guest's table and starts the first part. `ends`: the request is cut, and fails behind its last sector.
    pub fn start_bounce(
        &mut self,
        cx: &mut Ctx<'_>,
        command: u8,
        write: bool,
        request: Request,
        ranges: Arc<dyn RangeMap>,
        ends: Option<Denied>,
    ) {
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
        let bounce = Bounce { command, write, request, ranges, longer: regions.longer, at_device: false, ends };
        let Some(queue) = &mut self.buffers.queue else { return self.fail_dma(cx, "no bounce buffer") };
        let content = match bounce.is_list() {
            true => Content::Payload { len_bytes: u32::try_from(wanted).unwrap_or(u32::MAX) },
            false => {
                let (Request { lba, sectors, .. }, ranges) = (request, bounce.ranges.clone());
                Content::Sectors { lba, sectors, sector_bytes: SECTOR_BYTES as u32, ranges }
            }
        };
        let (memory, disk) = (Scatter::new(regions.segments), u32::from(self.taskfile.unit() != 0));
        self.state = State::Bounce(bounce);
        queue.submit(cx, block::Request { tag: GUEST_TAG, disk, write, content, memory: memory.into() });
        self.take_steps(cx);
    }

    /// What the queue wants done.
    pub fn take_steps(&mut self, cx: &mut Ctx<'_>) {
        while let Some(step) = self.buffers.queue.as_mut().and_then(Queue::poll) {
            let Some(step) = self.take_own(cx, step) else { continue };
            let bounce = match mem::replace(&mut self.state, State::Idle) {
                State::Bounce(bounce) => bounce,
                other => {
                    self.state = other;
                    continue;
                }
            };
            match step {
                Step::Send(transfer) => self.send_bounce(cx, bounce, &transfer),
                Step::Done { result: Ok(()), .. } => match bounce.ends {
                    Some(denied) => self.end_denied(cx, &bounce.request, denied),
                    None => self.bm.active = self.bm.command & bm::START != 0 && bounce.longer,
                },
                // The device tells itself.
                Step::Done { result: Err(Failure::Device { .. }), .. } => {}
                Step::Done { result: Err(Failure::Memory), .. } => {
                    self.fail_dma(cx, "PRD points to what is no RAM of the guest");
                }
                Step::Done { result: Err(Failure::Unserved), .. } => {
                    self.fail_dma(cx, "no memory, or sectors of another size");
                }
            }
        }
    }

    /// Nobody waits for the request in the bounce buffer any more. The bus master is stopped.
    pub fn drop_bounced(&mut self, cx: &mut Ctx<'_>) {
        if let Some(queue) = &mut self.buffers.queue {
            queue.cancel(cx, |_| true);
        }
    }

    /// Gives the device a part, with the bounce buffer for its data.
    fn send_bounce(&mut self, cx: &mut Ctx<'_>, mut bounce: Bounce, transfer: &Transfer) {
        // The interrupt of a part that is not the last has reached the guest, who finds no cause: the command of the
        // next part takes INTRQ back (ATA/ATAPI-7 s. 5.2).
        if !transfer.first && self.bm.command & bm::START == 0 {
            self.drop_bounced(cx);
            self.state = State::Stuck;
            return;
        }
        let sent = self.try_send(cx, &bounce, transfer);
        match sent {
            Ok(()) => {
                self.run_bus_master(cx.device, !transfer.write);
                bounce.at_device = true;
                self.state = State::Bounce(bounce);
            }
            Err(why) => {
                self.drop_bounced(cx);
                match why {
                    Some(why) => self.fail_dma(cx, why),
                    None => self.refuse(cx.device),
                }
            }
        }
    }

    /// Errors: what to tell of a request that cannot be made, or nothing: the list is refused.
    fn try_send(&mut self, cx: &mut Ctx<'_>, bounce: &Bounce, transfer: &Transfer) -> Result<(), Option<&'static str>> {
        if bounce.is_list() {
            self.translate_list(cx, bounce, transfer).map_err(|Refused| None)?;
        }
        self.load_bounce(cx, transfer).map_err(|_| Some("no bounce buffer"))?;
        // A stale interrupt bit must not pass for this part's.
        let capable = self.ports.bm_read(cx.device, bm::STATUS) & bm::CAPABLE;
        self.ports.bm_write(cx.device, bm::STATUS, capable | bm::INTERRUPT | bm::ERROR);
        if bounce.is_list() {
            return self.send_as_written(cx, bounce.command).map_err(|Refused| None);
        }
        let command = bounce.part_command(transfer.write);
        let sent = command.and_then(|command| self.send_part(cx.device, command, bounce.request, transfer.part));
        sent.map_err(|Refused| Some("address needs a 48-bit command"))
    }

    /// The list of a TRIM is in the bounce buffer: the guest's addresses become the disk's.
    fn translate_list(&self, cx: &mut Ctx<'_>, bounce: &Bounce, transfer: &Transfer) -> Result<(), Refused> {
        let Unit::Disk(disk) = self.unit() else { return Err(Refused) };
        let len = usize::try_from(transfer.len_bytes).map_err(|_| Refused)?;
        let list = cx.arena.bytes(transfer.buffer, len).map_err(|_| Refused)?;
        trim::translate(extents::sectors(&*bounce.ranges), disk.identity.sectors, list).map_err(|_| Refused)
    }

    /// Points the stopped bus master at the buffer of a transfer.
    ///
    /// # Errors
    /// [`PrdError`]: nothing may be sent to the device.
    pub fn load_bounce(&mut self, cx: &mut Ctx<'_>, transfer: &Transfer) -> Result<(), PrdError> {
        self.ports.bm_stop(cx.device);
        let table = self.buffers.table.as_ref().ok_or(PrdError::OutOfMemory)?.bus_addr();
        let bytes = cx.arena.bytes(table, TABLE_BYTES).map_err(|_| PrdError::OutOfMemory)?;
        prd::contiguous(transfer.buffer, transfer.len_bytes, bytes)?;
        self.ports.bm_table(cx.device, u32::try_from(table.0).map_err(|_| PrdError::TooLong)?);
        Ok(())
    }

    /// The guest looks at a status while the bounce buffer is in use. When the device is done with the part, the next
    /// step is taken. Returns true when the guest must wait for work and ask again.
    pub fn poll_bounce(&mut self, cx: &mut Ctx<'_>) -> bool {
        let (write, pushed) = match &mut self.state {
            State::Bounce(bounce) if bounce.at_device => (bounce.write, cx.work.len()),
            _ => return false,
        };
        let progress = self.progress(cx.device);
        if let Progress::Running = progress {
            return false;
        }
        // Whatever happened: from here on the device reaches neither buffer nor table.
        self.ports.bm_stop(cx.device);
        let result = match progress {
            Progress::Running | Progress::Lost => {
                self.drop_bounced(cx);
                self.bm.active = false;
                self.bm.error = true;
                self.state = State::Stuck;
                return false;
            }
            Progress::Failed => Err(self.failed(cx.device, write)),
            Progress::Done => Ok(()),
        };
        if let State::Bounce(bounce) = &mut self.state {
            bounce.at_device = false;
        }
        if let Some(queue) = &mut self.buffers.queue {
            queue.on_device_done(cx, GUEST_TAG, result);
        }
        self.take_steps(cx);
        !write && cx.work.len() > pushed
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

    /// The device reported an error: which sector it names, if it does.
    fn failed(&mut self, device: &mut dyn Device, write: bool) -> DeviceError {
        // The bus master is stopped, but for the guest its table has not come to an end.
        self.bm.active = self.bm.command & bm::START != 0;
        if write || self.ports.read(device, reg::ERROR) & (error::UNC | error::IDNF) == 0 {
            return DeviceError { disk_lba: None };
        }
        let State::Bounce(bounce) = &self.state else { return DeviceError { disk_lba: None } };
        let ext = self.moved.map_or(bounce.request.form == Form::Lba48, |moved| moved.device_ext);
        DeviceError { disk_lba: Some(self.ports.failed_lba(device, ext, self.control)) }
    }

    /// Work of this channel is done.
    pub fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: &Work, result: Result<(), WorkError>) {
        if let Some(queue) = &mut self.buffers.queue {
            queue.on_work_done(cx, work, result);
        }
        self.take_steps(cx);
    }
}
