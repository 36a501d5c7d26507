//! Commands of the VMM's own, beside the guest's.
//!
//! One is sent when the device has nothing of the guest's, and nothing of the guest's is sent until it is done: so its
//! failure is nobody else's (AHCI s. 6.2.2), and all that it leaves behind is put back: interrupts for it are held
//! back, its causes are cleared where the guest has none of the same kind, and the FIS of its end is replaced by the
//! one before. While the guest has commands, the two take turns: when one of ours is done, all that the guest has issued
//! meanwhile is sent before the queue can ask for another one ([`Ahci::sync`]).

use crate::fis;
use crate::mediator::Ahci;
use crate::memory::{NoMemory, OwnTable};
use crate::port::{NOP, Port, Shared, bit};
use crate::prdt;
use crate::regs;
use crate::spec::{cmd as port_command, hba, header, is, port, received};
use crate::unit::Unit;
use acs::cmd;
use acs::spec::status;
use block::{DeviceError, Own, OwnDisk, Step, Transfer};
use mediator::Ctx;
use mediator::disk::{OwnError, OwnRequest};

/// The length of a command FIS in dwords.
const CFL: u32 = 5;
/// Causes that come with a command and its failure.
const CAUSES: u32 = is::PROGRESS | is::TFES;

/// Of one port.
#[derive(Default)]
pub struct OwnPort {
    table: Option<OwnTable>,
    /// To be sent.
    pub waiting: Option<(usize, Transfer)>,
    sent: Option<Sent>,
    /// The disks of commands that the device may still be at, although the port has forgotten them: a bit each.
    abandoned: u32,
    /// The device is in the guest's software reset, and takes no commands.
    pub in_reset: bool,
    /// What the guest sees in PxTFD, until a command of its own changes it.
    pub task_file: Option<u32>,
}

impl OwnPort {
    /// The memory is kept, and nothing else.
    pub fn after_sleep(&mut self) -> Self {
        Self { table: self.table.take(), ..Self::default() }
    }
}

/// What the device has.
struct Sent {
    disk: usize,
    /// PxIE as the guest has set it.
    enabled: u32,
    /// Its end does not interrupt.
    masked: bool,
    /// The guest had no cause of a command's pending.
    clean: bool,
    /// The FIS of the guest's last command.
    fis: fis::Fis,
    /// It has failed, and the port is being started anew.
    failed: Option<DeviceError>,
}

impl Port {
    /// Is nothing of the guest's to be sent now?
    pub fn is_held(&self) -> bool {
        self.own.sent.is_some() || self.own.waiting.is_some() && !self.own.in_reset
    }

    /// Is a command of the VMM's own with the device?
    pub fn has_own(&self) -> bool {
        self.own.sent.is_some()
    }

    /// Is one for this disk?
    fn has_own_of(&self, disk: usize) -> bool {
        self.own.sent.as_ref().is_some_and(|sent| sent.disk == disk)
    }

    /// PxIE as the guest sees it.
    pub fn enabled(&self) -> Option<u32> {
        self.own.sent.as_ref().map(|sent| sent.enabled)
    }

    /// Commands of the guest wait for ours, here or in the queue: its end is to interrupt, so that somebody looks.
    pub fn unmask_own(&mut self, cx: &mut Ctx<'_>) {
        let waiting = self.issued & !self.at_device != 0;
        if let Some(sent) = self.own.sent.as_mut().filter(|sent| sent.masked && waiting) {
            sent.masked = false;
            self.regs.write(cx.device, port::IE, sent.enabled);
        }
    }

    /// The guest writes PxIE.
    pub fn set_enabled(&mut self, cx: &mut Ctx<'_>, value: u32) {
        let Some(sent) = &mut self.own.sent else { return };
        sent.enabled = value;
        self.regs.write(cx.device, port::IE, if sent.masked { value & !CAUSES } else { value });
    }

    /// Is the port being started anew after a command of ours? The guest does not see it.
    pub fn restarts(&self) -> bool {
        self.own.sent.as_ref().is_some_and(|sent| sent.failed.is_some())
    }

    /// Causes of PxIS that are none of the guest's.
    pub fn own_causes(&self) -> u32 {
        match &self.own.sent {
            Some(Sent { clean: true, .. }) => CAUSES,
            Some(_) => is::TFES,
            None => 0,
        }
    }

    /// Sends the command of ours that waits, if it is its turn and the device is free.
    #[inline]
    pub fn issue_own(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        if self.own.waiting.is_some() {
            self.issue_waiting(cx, shared);
        }
    }

    fn issue_waiting(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        if self.own.sent.is_some() || self.at_device | self.delivering != 0 {
            return;
        }
        if !self.running
            || self.failed
            || self.own.in_reset
            || self.regs.read(cx.device, port::TFD) & u32::from(status::BSY | status::DRQ) != 0
        {
            return;
        }
        let Some((disk, transfer)) = self.own.waiting.take() else { return };
        if self.send_own(cx, shared, disk, &transfer).is_err() {
            self.fail_own(cx, shared, disk);
        }
    }

    fn fail_own(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, disk: usize) {
        shared.queue.cancel(cx, |tag| tag == Own::tag(disk));
        shared.own.lose(|other| other == disk);
    }

    fn send_own(
        &mut self,
        cx: &mut Ctx<'_>,
        shared: &mut Shared,
        disk: usize,
        transfer: &Transfer,
    ) -> Result<(), NoMemory> {
        // Since it was submitted another device may have come.
        let known = shared.disks.get(self.unit).filter(|_| self.unit == Unit::Disk(disk)).ok_or(NoMemory)?;
        let command = command(known.identity.lba48, transfer).ok_or(NoMemory)?;
        if self.own.table.is_none() {
            self.own.table = OwnTable::new(cx.arena);
        }
        let (Some(memory), Some(table)) = (&self.memory, &self.own.table) else { return Err(NoMemory) };
        let entries = match transfer.len_bytes {
            0 => 0,
            len => prdt::contiguous(transfer.buffer, len, table.prdt(cx.arena)?).map_err(|_| NoMemory)?,
        };
        let flags = CFL | if transfer.write && entries > 0 { header::WRITE } else { 0 };
        memory.set_own_command(cx.arena, table, flags, entries, &command)?;
        let fis =
            memory.fis(cx.arena, received::REGISTER).and_then(|fis| fis.first_chunk().copied()).ok_or(NoMemory)?;
        // What is left of a failure before is the guest's, and not to be taken for one of ours.
        self.keep_failure(cx, shared);
        let enabled = self.regs.read(cx.device, port::IE);
        let clean = self.regs.read(cx.device, port::IS) & is::PROGRESS == 0;
        if self.own.task_file.is_none() {
            self.own.task_file = Some(self.regs.read(cx.device, port::TFD));
        }
        // While ours is there the guest gets no FISes.
        let causes = self.regs.read(cx.device, port::IS) | self.extra;
        self.copy_received(cx, causes);
        self.regs.write(cx.device, port::IE, enabled & !CAUSES);
        self.own.sent = Some(Sent { disk, enabled, masked: true, clean, fis, failed: None });
        self.regs.write(cx.device, port::CI, 1);
        Ok(())
    }

    /// A failure that the guest has not cleared before it started the port anew is told from here on, and no more by the device.
    fn keep_failure(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        let left = self.regs.read(cx.device, port::IS) & is::TFES;
        self.add_extra(shared, left);
        self.stale &= !left;
        self.regs.write(cx.device, port::IS, left);
    }

    /// Takes note of what has become of the command of ours.
    #[inline]
    pub fn sync_own(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        // A port that stops has forgotten its list, done or not; whether it runs again is the guest's to say.
        if self.own.sent.is_some() && !self.stopping && !self.failed {
            self.sync_sent(cx, shared);
        }
    }

    fn sync_sent(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        let Some(sent) = &mut self.own.sent else { return };
        if sent.failed.is_none() {
            let failed = self.regs.read(cx.device, port::IS) & is::TFES != 0;
            let done = self.regs.read(cx.device, port::CI) & 1 == 0;
            let bad = self.regs.read(cx.device, port::TFD) & u32::from(status::ERR | status::DF) != 0;
            match (failed || done && bad, done) {
                (false, false) => return,
                (false, true) => return self.end_own(cx, shared, Ok(())),
                (true, _) => {}
            }
            // The port has halted. The address of the failure is of no use to us.
            sent.failed = Some(DeviceError { disk_lba: None });
            let now = self.regs.read(cx.device, port::CMD);
            self.regs.write(cx.device, port::CMD, now & !port_command::ST);
        }
        let failed = sent.failed;
        if let Some(error) = failed.filter(|_| !self.regs.is_running(cx.device)) {
            self.regs.write(cx.device, port::IS, is::TFES);
            let now = self.regs.read(cx.device, port::CMD);
            self.regs.write(cx.device, port::CMD, now | port_command::ST);
            self.end_own(cx, shared, Err(error));
        }
    }

    fn end_own(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, result: Result<(), DeviceError>) {
        let Some(sent) = self.own.sent.take() else { return };
        if sent.clean {
            self.regs.write(cx.device, port::IS, is::PROGRESS);
        }
        if !sent.masked && self.regs.read(cx.device, port::IS) & sent.enabled == 0 {
            regs::write(cx.device, hba::IS, self.regs.bit);
        }
        if let Some(memory) = &self.memory {
            memory.set_register_fis(cx.arena, &sent.fis);
        }
        self.regs.write(cx.device, port::IE, sent.enabled);
        if result.is_ok() {
            self.own.task_file = None;
        }
        shared.queue.on_device_done(cx, Own::tag(sent.disk), result);
    }

    /// The device has forgotten what it had: gives the disks whose buffers it reaches no more.
    pub fn release_own(&mut self) -> u32 {
        core::mem::take(&mut self.own.abandoned)
    }

    /// The guest has reset the port's registers.
    pub fn reset_own(&mut self) {
        self.own.in_reset = false;
        if let Some(sent) = &mut self.own.sent {
            (sent.enabled, sent.clean) = (0, false);
        }
    }

    /// The port has stopped, and the device has forgotten what it had; its buffer stays lent until [`Port::release`].
    pub fn lose_own(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        let waiting = self.own.waiting.take().map(|(disk, _)| disk);
        let sent = self.own.sent.take();
        if let Some(sent) = &sent {
            shared.queue.abandon(cx, |tag| tag == Own::tag(sent.disk));
            self.own.abandoned |= bit(sent.disk);
            let causes = if sent.clean { CAUSES } else { is::TFES };
            self.regs.write(cx.device, port::IS, causes);
            self.regs.write(cx.device, port::IE, sent.enabled);
        }
        self.own.task_file = None;
        for disk in waiting.into_iter().chain(sent.map(|sent| sent.disk)) {
            self.fail_own(cx, shared, disk);
        }
    }
}

/// The FIS of a transfer, or of a flush. `None`: the disk has no command for it.
fn command(lba48: bool, transfer: &Transfer) -> Option<fis::Fis> {
    let (code, request) = cmd::dma(lba48, transfer.write, transfer.disk_lba, transfer.sectors)?;
    let mut command = NOP;
    fis::set_command(&mut command, code);
    if let Some(request) = request {
        fis::address(&mut command, request, false);
    }
    Some(command)
}

impl Ahci {
    /// The port where a disk is that the guest knows.
    fn port_of(&self, disk: usize) -> Option<u32> {
        self.ports.iter().find(|it| it.unit == Unit::Disk(disk)).map(|it| it.number)
    }

    /// See [`mediator::disk::DiskController::submit_own`].
    ///
    /// # Errors
    /// [`OwnError`].
    pub fn begin_own(&mut self, cx: &mut Ctx<'_>, number: usize, request: OwnRequest) -> Result<(), OwnError> {
        // One that nobody asks for any more has ended perhaps.
        self.look_after_own(cx, number);
        if !self.guard.decodes() {
            return Err(OwnError::NotReady);
        }
        let disk = self.shared.disks.0.get(number).filter(|disk| disk.identity.lba).ok_or(OwnError::Request)?;
        let port = self.port_of(number).ok_or(OwnError::NotReady)?;
        let it =
            self.ports.get(port).filter(|it| it.running && !it.failed && !it.stopping).ok_or(OwnError::NotReady)?;
        let ranges = disk.ranges.clone().unwrap_or_else(|| self.shared.plain.clone());
        // A port where the disk was before may still be at the request before, which would be taken for this one.
        if self.ports.iter().any(|other| other.number != it.number && other.own.abandoned & bit(number) != 0) {
            return Err(OwnError::NotReady);
        }
        let (sectors, sector_bytes) = (disk.identity.sectors, disk.identity.sector_bytes);
        let disk = OwnDisk { number, queue_disk: it.number, sectors, sector_bytes, ranges };
        let request = self.shared.own.begin(disk, request)?;
        self.shared.queue.submit(cx, request);
        self.take_steps(cx);
        Ok(())
    }

    /// Takes a step of a request of ours; gives one of the guest's back.
    pub fn take_own(&mut self, cx: &mut Ctx<'_>, step: Step) -> Option<Step> {
        let (Step::Send(Transfer { tag, .. }) | Step::Done { tag, .. }) = &step;
        let Some(disk) = Own::disk_of(*tag) else { return Some(step) };
        match step {
            Step::Done { result, own, .. } => self.shared.own.end(disk, result, own),
            Step::Send(transfer) => {
                let port = self.port_of(disk);
                let Self { ports, shared, .. } = self;
                match port.and_then(|port| ports.get_mut(port)) {
                    Some(it) if it.running && !it.stopping => {
                        it.own.waiting = Some((disk, transfer));
                        it.issue_own(cx, shared);
                        it.issue(cx);
                    }
                    // It has gone or was stopped since.
                    _ => {
                        shared.queue.cancel(cx, |tag| tag == Own::tag(disk));
                        shared.own.lose(|other| other == disk);
                    }
                }
            }
        }
        None
    }

    /// Looks after the request of a disk.
    pub fn look_after_own(&mut self, cx: &mut Ctx<'_>, disk: usize) {
        let with_it = self.ports.iter().find(|it| it.has_own_of(disk)).map(|it| it.number);
        let number = with_it.or_else(|| self.port_of(disk));
        if let Some(number) = number.filter(|_| self.guard.decodes() && self.shared.own.is_under_way(disk)) {
            self.with_port(cx, number, |it, cx, shared| it.finish_stop(cx, shared));
            self.sync(cx, number);
        }
    }
}
