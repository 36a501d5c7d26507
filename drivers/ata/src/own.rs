//! Requests of the VMM's own, beside the guest's.
//!
//! A channel has one command at a time, so one of ours has the channel to itself, from its first part to its last. It begins when
//! the device has nothing of the guest's. Meanwhile, and until the guest's next command, the guest sees the registers as they
//! were ([`Shown`]); what it writes to them is kept. A command that it writes is held, and starts when ours ends: a
//! busy drive, as it sees after any command. While the guest has commands the two take turns.
//!
//! nIEN is set as long as ours runs, so that the guest gets no interrupt (ATA/ATAPI-7 s. 5.7). It is the guest's own again
//! once a command is held, because then nobody else may look: the interrupt of ours, which finds a busy drive without a cause,
//! is what brings the guest to the status that starts its command.

use crate::bounce::GUEST_TAG;
use crate::channel::{Channel, State, is_busy};
use crate::cmd;
use crate::guard;
use crate::probe::{select, settle};
use crate::spec::{bm, code, control, reg, status};
use crate::taskfile::Taskfile;
use crate::unit::Unit;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{DeviceError, Failure, Own, OwnDisk, Plain, Step, Transfer};
use mediator::disk::{OwnError, OwnRequest};
use mediator::{Ctx, Device, Instant};

/// A device that takes longer hangs.
const TIMEOUT_NS: u64 = 30_000_000_000;
/// A bus master empties its buffers in less.
const IDLE_NS: u64 = 1_000_000_000;
/// Where the bus master tells of an interrupt and nobody knows whether the guest has taken it from the device, it has after so long.
const QUIET_NS: u64 = 500_000_000;
/// So long an access to configuration space waits for ours.
pub const PATIENCE_NS: u64 = 500_000_000;

/// Of one channel. Its disks are told apart by their units.
#[derive(Default)]
pub struct OwnChannel {
    pub requests: Own,
    /// By unit: to be begun.
    waiting: [Option<block::Request>; 2],
    running: Option<Running>,
    /// By unit: what the guest sees in its registers, until it has a command for the unit.
    shown: [Option<Shown>; 2],
    /// The unit of the last one.
    last: usize,
    /// One has run since the guest's last command.
    guests_turn: bool,
    /// The guest has taken the interrupt of its last command from the device.
    acknowledged: bool,
    /// From when on it may have.
    quiet_since: Option<Instant>,
}

/// The one that has the channel.
struct Running {
    unit: usize,
    since: Instant,
    /// Its part that the device is at.
    part: Option<Part>,
    /// Since when the drive has had nothing to do although the bus master waits for it.
    idle_since: Option<Instant>,
    /// Its end does not interrupt.
    masked: bool,
    /// The bus master's interrupt bit as the guest knows it.
    interrupt: bool,
    /// The guest's command.
    held: Option<u8>,
}

#[derive(Clone, Copy)]
struct Part {
    write: bool,
    has_data: bool,
}

/// How far the device is with a part.
enum Progress {
    Running,
    Done,
    Failed,
    /// It never ends.
    Hangs,
    /// The drive is done, and the bus master is not yet; or the drive has not taken the command, as one that sleeps.
    Idle,
}

/// The registers of a unit as the guest is to see them.
#[derive(Clone, Copy)]
struct Shown {
    taskfile: Taskfile,
    error: u8,
    status: u8,
}

impl OwnChannel {
    fn is_waiting(&self) -> bool {
        self.waiting.iter().any(Option::is_some)
    }

    /// Nobody asks for the request of the unit any more.
    pub fn forget(&mut self, unit: usize) {
        self.requests.forget(unit);
        if self.waiting.get_mut(unit).and_then(Option::take).is_some() {
            self.requests.lose(|other| other == unit);
        }
    }
}

impl Channel {
    /// Has one of ours the channel?
    pub fn has_own(&self) -> bool {
        self.own.running.is_some()
    }

    /// Does the device wait for sectors of ours?
    pub fn feeds_own(&self) -> bool {
        self.own.running.as_ref().and_then(|running| running.part).is_some_and(|part| part.write)
    }

    /// Is a command of the guest's held?
    pub fn holds_command(&self) -> bool {
        self.own.running.as_ref().is_some_and(|running| running.held.is_some())
    }

    /// Is what the guest reads of the selected unit's registers not the device's?
    pub fn shows_own(&self) -> bool {
        self.has_own() || self.shown().is_some()
    }

    /// Does the guest's next read of status tell what we have to know?
    pub fn wants_acknowledge(&self) -> bool {
        self.own.is_waiting() && !self.own.acknowledged
    }

    /// For how long one of ours has had the channel.
    pub fn own_age_ns(&self, now: Instant) -> Option<u64> {
        self.own.running.as_ref().map(|running| now.0.saturating_sub(running.since.0))
    }

    fn shown(&self) -> Option<&Shown> {
        self.own.shown.get(self.taskfile.unit()).and_then(Option::as_ref)
    }

    /// Status as the guest is to see it beside ours.
    pub fn shown_status(&self) -> Option<u8> {
        self.shown().map(|shown| shown.status)
    }

    /// The other registers.
    pub fn shown_register(&self, register: u32) -> Option<u8> {
        let shown = self.shown()?;
        let hob = self.control & control::HOB != 0;
        Some(if register == reg::ERROR { shown.error } else { shown.taskfile.read(register, hob) })
    }

    /// The guest writes a register from features to device: both units have it (ATA/ATAPI-7 s. 4.4).
    pub fn write_shown(&mut self, register: u32, value: u8) {
        self.own.shown.iter_mut().flatten().for_each(|shown| shown.taskfile.write(register, value));
    }

    /// The bus master's status beside ours: what comes with ours is not told.
    pub fn own_bm_status(&self, real: u8) -> u8 {
        match &self.own.running {
            Some(running) => real & !(bm::INTERRUPT | bm::ERROR) | if running.interrupt { bm::INTERRUPT } else { 0 },
            None => real,
        }
    }

    /// The guest writes the bus master's status; gives what is passed of it.
    pub fn own_bm_clear(&mut self, value: u8) -> u8 {
        match &mut self.own.running {
            Some(running) => {
                running.interrupt &= value & bm::INTERRUPT == 0;
                value & (bm::CAPABLE | bm::INTERRUPT)
            }
            None => value,
        }
    }

    /// The guest writes device control, not to reset. True: it has been dealt with.
    pub fn own_control(&mut self, device: &mut dyn Device, value: u8) -> bool {
        let masked = self.own.running.as_ref().is_some_and(|running| running.masked);
        if masked {
            self.ports.set_control(device, value | control::NIEN);
        }
        masked
    }

    /// The guest reads status, and so takes an interrupt from the device. Gives what it reads.
    pub fn acknowledge(&mut self, device: &mut dyn Device) -> u8 {
        let now = self.ports.read(device, reg::STATUS);
        self.own.acknowledged |= !is_busy(now);
        now
    }

    /// The guest writes a command. True: it is held, or has been dealt with.
    pub fn own_comes_first(&mut self, cx: &mut Ctx<'_>, command: u8) -> bool {
        if self.has_own() {
            self.look_after_own(cx);
        }
        if !self.has_own() {
            let turn = !self.own.guests_turn && self.own.is_waiting() && command != code::DEVICE_RESET;
            if turn {
                // The last word of a transfer may have gone out just now.
                settle(cx.device, self.ports);
            }
            if !turn || self.is_occupied(self.ports.alt_status(cx.device)) || !self.begin_next(cx) {
                self.own.guests_turn = false;
                return false;
            }
        }
        let resets = command == code::DEVICE_RESET && matches!(self.unit(), Unit::Packet);
        let Some(running) = &mut self.own.running else { return false };
        if running.held.is_none() || resets {
            running.held = Some(command);
            // What is told from here on is this command's.
            running.interrupt = false;
        }
        if core::mem::replace(&mut running.masked, false) {
            self.ports.set_control(cx.device, self.control);
            // It may have ended before its end interrupts.
            self.look_after_own(cx);
        }
        true
    }

    /// A command of the guest's goes to the selected unit, or to both: from here on the guest sees the device's registers.
    pub fn show_device(&mut self, both: bool) {
        let selected = self.taskfile.unit();
        for (unit, shown) in self.own.shown.iter_mut().enumerate() {
            if both || unit == selected {
                *shown = None;
            }
        }
        self.own.acknowledged = false;
        self.own.quiet_since = None;
    }

    /// See [`mediator::disk::DiskController::submit_own`].
    ///
    /// # Errors
    /// [`OwnError`].
    pub fn begin_own(&mut self, cx: &mut Ctx<'_>, unit: usize, request: OwnRequest) -> Result<(), OwnError> {
        // One that nobody asks for any more has ended perhaps.
        self.look_after_own(cx);
        if !guard::can_transfer(cx.device) {
            return Err(OwnError::NotReady);
        }
        if self.ports.bm_read(cx.device, bm::STATUS) & bm::SIMPLEX != 0 {
            // The other channel may be at a transfer.
            return Err(OwnError::Unserved);
        }
        let Some(Unit::Disk(disk)) = self.units.get(unit) else { return Err(OwnError::Request) };
        if !disk.identity.lba {
            return Err(OwnError::Unserved);
        }
        let ranges = disk.ranges.clone().unwrap_or_else(|| Arc::new(Plain));
        let (sectors, sector_bytes) = (disk.identity.sectors, disk.identity.sector_bytes);
        let queue_disk = u32::try_from(unit).unwrap_or(0);
        let disk = OwnDisk { number: unit, queue_disk, sectors, sector_bytes, ranges };
        let request = self.own.requests.begin(disk, request)?;
        if let Some(waiting) = self.own.waiting.get_mut(unit) {
            *waiting = Some(request);
        }
        self.look_after_own(cx);
        Ok(())
    }

    /// Takes note of what has become of ours, or begins one that waits.
    pub fn look_after_own(&mut self, cx: &mut Ctx<'_>) {
        let Some(running) = &self.own.running else {
            if self.own.is_waiting() && self.rests(cx) {
                self.begin_next(cx);
            }
            return;
        };
        let since = running.since;
        let Some(part) = running.part else { return };
        let result = match self.own_progress(cx.device, part) {
            Progress::Running if cx.now.0.saturating_sub(since.0) < TIMEOUT_NS => return,
            Progress::Idle if !self.is_idle_for_good(cx.now) => return,
            Progress::Running | Progress::Hangs => {
                // Only a reset brings the device to its senses, and that is the guest's to make.
                self.lose_own(cx);
                self.ports.set_control(cx.device, self.control);
                self.state = State::Stuck;
                return;
            }
            Progress::Done => Ok(()),
            Progress::Failed | Progress::Idle => Err(DeviceError { disk_lba: None }),
        };
        // From here on the device reaches neither buffer nor table.
        self.ports.bm_stop(cx.device);
        let Some(running) = &mut self.own.running else { return };
        (running.part, running.idle_since) = (None, None);
        let tag = Own::tag(running.unit);
        if let Some(queue) = &mut self.buffers.queue {
            queue.on_device_done(cx, tag, result);
        }
        self.take_steps(cx);
    }

    fn is_idle_for_good(&mut self, now: Instant) -> bool {
        let Some(running) = &mut self.own.running else { return false };
        let since = *running.idle_since.get_or_insert(now);
        now.0.saturating_sub(since.0) >= IDLE_NS
    }

    fn own_progress(&self, device: &mut dyn Device, part: Part) -> Progress {
        let drive = self.ports.alt_status(device);
        let master = self.ports.bm_read(device, bm::STATUS);
        let (waiting, broken) = (is_busy(drive), part.has_data && master & bm::ERROR != 0);
        match (waiting, broken || drive & (status::ERR | status::DF) != 0) {
            (true, _) if broken => Progress::Hangs,
            (true, _) => Progress::Running,
            (false, true) => Progress::Failed,
            // The end of the table says that all is in memory.
            (false, false) if part.has_data && master & bm::ACTIVE != 0 => Progress::Idle,
            (false, false) => Progress::Done,
        }
    }

    /// Has the device nothing of the guest's, not even an interrupt?
    fn rests(&mut self, cx: &mut Ctx<'_>) -> bool {
        if !matches!(self.state, State::Idle | State::Transparent) {
            return false;
        }
        settle(cx.device, self.ports);
        if is_busy(self.ports.alt_status(cx.device)) {
            self.own.quiet_since = None;
            return false;
        }
        let silent = self.control & control::NIEN != 0
            || self.ports.bm_read(cx.device, bm::STATUS) & bm::INTERRUPT == 0
            || self.own.acknowledged;
        let since = *self.own.quiet_since.get_or_insert(cx.now);
        silent || cx.now.0.saturating_sub(since.0) >= QUIET_NS
    }

    /// Begins the next one that waits; the device is not busy. False: it cannot be begun now.
    fn begin_next(&mut self, cx: &mut Ctx<'_>) -> bool {
        if self.control & control::SRST != 0 || !guard::can_transfer(cx.device) {
            return false;
        }
        let turns = [self.own.last ^ 1, self.own.last];
        let next = turns.into_iter().find(|unit| self.own.waiting.get(*unit).is_some_and(Option::is_some));
        let Some(unit) = next.filter(|_| self.keep_registers(cx.device)) else { return false };
        let Some(request) = self.own.waiting.get_mut(unit).and_then(Option::take) else { return false };
        let master = self.ports.bm_read(cx.device, bm::STATUS);
        self.bm.error |= master & bm::ERROR != 0;
        let interrupt = master & bm::INTERRUPT != 0;
        self.own.running =
            Some(Running { unit, since: cx.now, part: None, idle_since: None, masked: true, interrupt, held: None });
        (self.own.last, self.own.guests_turn) = (unit, true);
        self.state = State::Idle;
        self.ports.bm_stop(cx.device);
        match &mut self.buffers.queue {
            Some(queue) => queue.submit(cx, request),
            None => self.end_own(cx, Err(Failure::Unserved), None),
        }
        self.take_steps(cx);
        true
    }

    /// Notes the registers of both units as the guest sees them; interrupts are off from then on. False: a unit is busy after all,
    /// and nothing has changed.
    fn keep_registers(&mut self, device: &mut dyn Device) -> bool {
        let now = self.ports.alt_status(device);
        self.settle(now);
        self.resolve(device);
        self.ports.set_control(device, control::NIEN);
        let (selected, shown) = (self.taskfile.unit(), self.own.shown);
        // The selected one first: to select the other one is to write the register of both.
        let kept = [selected, selected ^ 1].into_iter().all(|unit| {
            if unit != selected {
                self.ports.write(device, reg::DEVICE, select(unit));
                settle(device, self.ports);
            }
            self.keep_unit(device, unit)
        });
        if kept {
            (self.moved, self.denied) = (None, None);
        } else {
            self.own.shown = shown;
            self.give_back(device);
        }
        kept
    }

    fn keep_unit(&mut self, device: &mut dyn Device, unit: usize) -> bool {
        if self.own.shown.get(unit).is_some_and(Option::is_some) {
            return true;
        }
        let status = self.ports.alt_status(device);
        // Where nobody answers there is nobody to wait for. A disk that is not ready is not shown so until the guest's next command.
        let unready = matches!(self.units.get(unit), Some(Unit::Disk(_)))
            && (status & status::DRDY == 0 || status::FLOATING.contains(&status));
        if unready || is_busy(status) && !matches!(self.units.get(unit), Some(Unit::Absent)) {
            return false;
        }
        let denied = self.denied.filter(|(other, _)| *other == unit);
        let error = denied.map_or_else(|| self.ports.read(device, reg::ERROR), |(_, error)| error);
        let ours = denied.is_some() || self.moved.is_some();
        let taskfile = if ours { self.taskfile } else { self.read_taskfile(device, unit) };
        if let Some(shown) = self.own.shown.get_mut(unit) {
            *shown = Some(Shown { taskfile, error, status });
        }
        true
    }

    /// The registers of the unit that the device has selected. nIEN is set.
    fn read_taskfile(&self, device: &mut dyn Device, unit: usize) -> Taskfile {
        let features = |previous| self.taskfile.two_deep(reg::FEATURES, previous);
        let mut read = |previous: bool| {
            self.ports.set_control(device, control::NIEN | if previous { control::HOB } else { 0 });
            let [count, low, mid, high] = [reg::COUNT, reg::LBA_LOW, reg::LBA_MID, reg::LBA_HIGH]
                .map(|register| self.ports.read(device, register));
            [features(previous), count, low, mid, high]
        };
        let (previous, current) = (read(true), read(false));
        let written = self.taskfile.device;
        let device_register = if unit == self.taskfile.unit() { self.ports.read(device, reg::DEVICE) } else { written };
        Taskfile::new(current, previous, device_register)
    }

    /// The guest's unit is selected, and its device control is in force.
    fn give_back(&self, device: &mut dyn Device) {
        self.ports.write(device, reg::DEVICE, self.taskfile.device);
        self.ports.set_control(device, self.control);
        // The status of a unit that was just selected tells nothing yet (ATA/ATAPI-7 s. 9.2), and a held command looks at it next.
        settle(device, self.ports);
    }

    /// Takes a step of a request of ours; gives one of the guest's back.
    pub fn take_own(&mut self, cx: &mut Ctx<'_>, step: Step) -> Option<Step> {
        match step {
            Step::Send(Transfer { tag: GUEST_TAG, .. }) | Step::Done { tag: GUEST_TAG, .. } => return Some(step),
            Step::Done { result, own, .. } => self.end_own(cx, result, own),
            Step::Send(transfer) => {
                if self.send_own(cx, &transfer).is_none() {
                    if let Some(queue) = &mut self.buffers.queue {
                        queue.cancel(cx, |tag| tag == transfer.tag);
                    }
                    self.end_own(cx, Err(Failure::Unserved), None);
                }
            }
        }
        None
    }

    fn send_own(&mut self, cx: &mut Ctx<'_>, transfer: &Transfer) -> Option<()> {
        let running = self.own.running.as_ref()?;
        let (unit, interrupt) = (running.unit, running.interrupt);
        let Unit::Disk(disk) = self.units.get(unit)? else { return None };
        let (command, request) = cmd::dma(disk.identity.lba48, transfer.write, transfer.disk_lba, transfer.sectors)?;
        let mut taskfile = Taskfile::after_reset(select(unit));
        if let Some(request) = request {
            taskfile.set_request(request, disk.geometry);
        }
        let part = Part { write: transfer.write, has_data: request.is_some() };
        if part.has_data {
            self.load_bounce(cx, transfer).ok()?;
        }
        self.clear_causes(cx.device, interrupt);
        self.ports.send(cx.device, &taskfile, command);
        if part.has_data {
            self.run_bus_master(cx.device, !transfer.write);
        }
        settle(cx.device, self.ports);
        if let Some(running) = &mut self.own.running {
            running.part = Some(part);
        }
        Some(())
    }

    /// Clears what the bus master tells of ours. An interrupt that the guest knows of stays.
    fn clear_causes(&self, device: &mut dyn Device, interrupt: bool) {
        let capable = self.ports.bm_read(device, bm::STATUS) & bm::CAPABLE;
        let ours = bm::ERROR | if interrupt { 0 } else { bm::INTERRUPT };
        self.ports.bm_write(device, bm::STATUS, capable | ours);
    }

    /// Ours has ended: the channel is the guest's again, and a command of it that was held starts.
    fn end_own(&mut self, cx: &mut Ctx<'_>, result: Result<(), Failure>, data: Option<Vec<u8>>) {
        let Some(running) = self.own.running.take() else { return };
        self.own.requests.end(running.unit, result, data);
        // The interrupt is ours to take.
        self.ports.read(cx.device, reg::STATUS);
        self.clear_causes(cx.device, running.interrupt);
        self.give_back(cx.device);
        if let Some(command) = running.held {
            self.on_command(cx, command);
        }
    }

    /// The device forgets the one of ours that it has, or is not waited for any more. What has not begun may begin later.
    pub fn lose_own(&mut self, cx: &mut Ctx<'_>) {
        let Some(running) = self.own.running.take() else { return };
        self.ports.bm_stop(cx.device);
        if let Some(queue) = &mut self.buffers.queue {
            queue.cancel(cx, |tag| tag == Own::tag(running.unit));
        }
        self.clear_causes(cx.device, running.interrupt);
        self.own.requests.lose(|unit| unit == running.unit);
    }

    /// The machine has slept.
    pub fn forget_own(&mut self) {
        self.own.waiting = [None, None];
        self.own.requests.lose(|_| true);
    }
}
