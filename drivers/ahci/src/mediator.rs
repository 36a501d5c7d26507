//! The controller: what the VMM holds.

use crate::port::{Port, Ports, Shared, slots_of};
use crate::probe;
use crate::regs::ABAR;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::Step;
use mediator::disk::{DiskController, DiskError, DiskInfo, OwnError, OwnRequest, RangeMap};
use mediator::{
    Access, ConfigAccess, Ctx, Mediator, Op, RegionId, StringIo, Verdict, Violation, Width, Work, WorkError,
};
use pci::MemoryGuard;

/// The mediator of one AHCI controller.
pub struct Ahci {
    pub name: String,
    pub guard: MemoryGuard,
    pub ports: Ports,
    pub shared: Shared,
}

impl Ahci {
    /// Calls a port, and takes the steps that come of it.
    pub fn with_port(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u32,
        call: impl FnOnce(&mut Port, &mut Ctx<'_>, &mut Shared),
    ) {
        let Self { ports, shared, .. } = self;
        if let Some(it) = ports.get_mut(number) {
            call(it, cx, shared);
            it.issue_own(cx, shared);
            it.issue(cx);
        }
        self.take_steps(cx);
    }

    pub fn each_port(&mut self, cx: &mut Ctx<'_>, call: impl Fn(&mut Port, &mut Ctx<'_>, &mut Shared)) {
        let Self { ports, shared, .. } = self;
        ports.iter_mut().for_each(|it| call(it, cx, shared));
        self.take_steps(cx);
    }

    /// Takes note of what the device has done at a port. Gives the causes that the guest may see, or `None` while data is on
    /// its way to guest memory.
    pub fn sync(&mut self, cx: &mut Ctx<'_>, number: u32) -> Option<u32> {
        loop {
            let Self { ports, shared, .. } = self;
            let Some(it) = ports.get_mut(number) else { return Some(0) };
            let seen = it.sync(cx, shared);
            it.issue_own(cx, shared);
            it.issue(cx);
            let delivering = it.delivering != 0;
            self.take_steps(cx);
            if seen.is_some() || delivering {
                return seen;
            }
        }
    }

    /// What the queue wants done, at whichever port; then what the guest has issued, as far as there is room for it.
    #[inline]
    pub fn take_steps(&mut self, cx: &mut Ctx<'_>) {
        if !self.is_settled() {
            self.take_all_steps(cx);
        }
    }

    /// Is there no step to be taken?
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.shared.queue.is_settled() && self.shared.held == 0
    }

    #[inline(never)]
    fn take_all_steps(&mut self, cx: &mut Ctx<'_>) {
        self.take_queued_steps(cx);
        while self.start_held(cx) {
            self.take_queued_steps(cx);
        }
    }

    /// Starts a command that was held, of each port in turn. False: there is none, or no room.
    fn start_held(&mut self, cx: &mut Ctx<'_>) -> bool {
        let Self { ports, shared, .. } = self;
        let first = shared.turn;
        for ahead in slots_of(shared.held.rotate_right(first)) {
            let number = first.wrapping_add(ahead as u32) & 31;
            let Some(it) = ports.get_mut(number).filter(|it| it.may_start(shared)) else { continue };
            shared.turn = number.wrapping_add(1) & 31;
            it.start_next(cx, shared);
            it.issue(cx);
            return true;
        }
        false
    }

    fn take_queued_steps(&mut self, cx: &mut Ctx<'_>) {
        while !self.shared.queue.is_settled() {
            self.take_step(cx);
        }
    }

    /// The controller has forgotten everything: it has lost its power, or is another one.
    fn forget(&mut self, cx: &mut Ctx<'_>) {
        // The device does nothing, and what it was told is gone: there is nothing to wait for.
        let Self { ports, shared, .. } = self;
        shared.queue.cancel(cx, |_| true);
        shared.queue.release(cx, |_| true);
        for it in ports.iter_mut() {
            let (memory, own) = (it.memory.take(), it.own.after_sleep());
            *it = Port { memory, own, ..Port::new(it.number) };
        }
        (shared.held, shared.extra) = (0, 0);
        shared.own.lose(|_| true);
    }

    #[inline(never)]
    fn take_step(&mut self, cx: &mut Ctx<'_>) {
        let Some(step) = self.shared.queue.poll().and_then(|step| self.take_own(cx, step)) else { return };
        let tag = match &step {
            Step::Send(transfer) => transfer.tag,
            Step::Done { tag, .. } => *tag,
        };
        let Self { ports, shared, .. } = self;
        if let Some(it) = ports.get_mut(tag >> 5) {
            it.on_step(cx, shared, (tag & 31) as usize, step);
            it.issue_own(cx, shared);
            it.issue(cx);
        }
    }

    /// `None`: ask again.
    #[inline]
    fn read_access(&mut self, cx: &mut Ctx<'_>, offset: u32, width: Width) -> Option<u64> {
        match width {
            Width::Dword => self.read(cx, offset & !3).map(u64::from),
            _ => self.read_otherwise(cx, offset, width),
        }
    }

    /// A part of a dword, or two.
    #[cold]
    fn read_otherwise(&mut self, cx: &mut Ctx<'_>, offset: u32, width: Width) -> Option<u64> {
        let mut value = 0;
        for (dword, shift) in dwords(offset, width) {
            value |= u64::from(self.read(cx, dword)?).wrapping_shl(shift);
        }
        let within = if width.bytes() < 4 { (offset & 3).wrapping_mul(8) } else { 0 };
        Some(value.wrapping_shr(within) & width.ones())
    }

    #[inline]
    fn write_access(&mut self, cx: &mut Ctx<'_>, offset: u32, width: Width, value: u64) -> Result<Verdict, Violation> {
        match width {
            Width::Dword => self.write(cx, offset & !3, value as u32),
            Width::Qword => self.write_two(cx, offset, value),
            Width::Byte | Width::Word => {
                return Err(Violation { what: "AHCI: a register is written in part", detail: u64::from(offset) });
            }
        }
        Ok(Verdict::Done)
    }

    #[cold]
    fn write_two(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u64) {
        for (dword, shift) in dwords(offset, Width::Qword) {
            self.write(cx, dword, (value.wrapping_shr(shift) & 0xffff_ffff) as u32);
        }
    }
}

/// The dwords that an access touches, and where they lie in its value.
fn dwords(offset: u32, width: Width) -> impl Iterator<Item = (u32, u32)> {
    let count = if width == Width::Qword { 2 } else { 1 };
    (0..count).map(move |n: u32| ((offset & !3).wrapping_add(n.wrapping_mul(4)), n.wrapping_mul(32)))
}

impl Mediator for Ahci {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_access(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        if !self.guard.decodes() {
            return Ok(match access.op {
                Op::Read => Verdict::Value(access.width.ones()),
                Op::Write(_) => Verdict::Done,
            });
        }
        match access {
            Access { region: ABAR, offset, width, op: Op::Read } => {
                Ok(self.read_access(cx, offset, width).map_or(Verdict::Again, Verdict::Value))
            }
            Access { region: ABAR, offset, width, op: Op::Write(value) } => self.write_access(cx, offset, width, value),
            Access { offset, .. } => {
                let nothing = Violation { what: "AHCI: access to no register", detail: u64::from(offset) };
                self.guard.on_table(cx, access).unwrap_or(Err(nothing))
            }
        }
    }

    fn on_string(&mut self, _: &mut Ctx<'_>, _: RegionId, offset: u32, _: StringIo<'_>) -> Result<usize, Violation> {
        Err(Violation { what: "AHCI has no ports", detail: u64::from(offset) })
    }

    fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
        let own = (0..self.shared.disks.0.len()).any(|disk| self.shared.own.is_under_way(disk));
        let busy = own || self.ports.iter().any(Port::in_transfer);
        let verdict = self.guard.on_config(cx, access, busy);
        if self.guard.was_reset() {
            log::warn!("{}: was reset or exchanged; its disks are looked at anew", self.name);
            self.forget(cx);
        }
        verdict
    }

    fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        self.forget(cx);
        self.guard.on_resume(cx);
    }

    fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: Work, result: Result<(), WorkError>) {
        self.shared.queue.on_work_done(cx, &work, result);
        self.take_steps(cx);
    }

    fn as_disks(&mut self) -> Option<&mut dyn DiskController> {
        Some(self)
    }
}

impl DiskController for Ahci {
    fn disks(&self) -> Vec<DiskInfo> {
        let info = |disk: &crate::unit::Disk| DiskInfo {
            model: disk.identity.model.clone(),
            serial: disk.identity.serial.clone(),
            channel: disk.port,
            unit: 0,
            sectors: disk.identity.sectors,
            sector_bytes: disk.identity.sector_bytes,
        };
        self.shared.disks.0.iter().map(info).collect()
    }

    fn read_before_guest(&mut self, cx: &mut Ctx<'_>, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let Self { ports, shared, .. } = self;
        let disk = shared.disks.0.get(disk).ok_or(DiskError::Request)?;
        let port = ports.get_mut(disk.port).ok_or(DiskError::Request)?;
        probe::read(cx, port, &disk.identity, lba, data)
    }

    fn set_ranges(&mut self, disk: usize, ranges: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        let disk = self.shared.disks.0.get_mut(disk).ok_or(DiskError::Request)?;
        if !disk.identity.lba {
            return Err(DiskError::Request);
        }
        disk.ranges = Some(ranges);
        Ok(())
    }

    fn submit_own(&mut self, cx: &mut Ctx<'_>, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        self.begin_own(cx, disk, request)
    }

    fn poll_own(&mut self, cx: &mut Ctx<'_>, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        self.look_after_own(cx, disk);
        self.shared.own.poll(disk)
    }

    fn drop_own(&mut self, disk: usize) {
        self.shared.own.forget(disk);
    }
}
