//! The controller: what the VMM holds.

use crate::port::{Port, Shared};
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
    /// The ports that are implemented.
    pub ports: Vec<Port>,
    pub shared: Shared,
}

impl Ahci {
    pub fn port(&mut self, number: u32) -> Option<&mut Port> {
        self.ports.iter_mut().find(|it| it.number == number)
    }

    /// Calls a port, and takes the steps that come of it.
    pub fn with_port(
        &mut self,
        cx: &mut Ctx<'_>,
        number: u32,
        call: impl FnOnce(&mut Port, &mut Ctx<'_>, &mut Shared),
    ) {
        let Self { ports, shared, .. } = self;
        if let Some(it) = ports.iter_mut().find(|it| it.number == number) {
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
            let Some(it) = ports.iter_mut().find(|it| it.number == number) else { return Some(0) };
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
        if !self.shared.queue.is_settled() || self.shared.held {
            self.take_all_steps(cx);
        }
    }

    fn take_all_steps(&mut self, cx: &mut Ctx<'_>) {
        self.take_queued_steps(cx);
        while self.shared.held && self.start_held(cx) {
            self.take_queued_steps(cx);
        }
    }

    /// Starts a command that was held, of each port in turn. False: there is none, or no room.
    fn start_held(&mut self, cx: &mut Ctx<'_>) -> bool {
        let Self { ports, shared, .. } = self;
        let first = shared.turn;
        let mut in_turn = (first..ports.len()).chain(0..first.min(ports.len()));
        let next = in_turn.find(|place| ports.get(*place).is_some_and(|it| it.may_start(shared)));
        let Some((place, it)) = next.and_then(|place| Some((place, ports.get_mut(place)?))) else {
            shared.held = ports.iter().any(|it| it.held != 0);
            return false;
        };
        shared.turn = place.saturating_add(1);
        it.start_next(cx, shared);
        it.issue(cx);
        true
    }

    fn take_queued_steps(&mut self, cx: &mut Ctx<'_>) {
        while let Some(step) = self.shared.queue.poll() {
            let Some(step) = self.take_own(cx, step) else { continue };
            let tag = match &step {
                Step::Send(transfer) => transfer.tag,
                Step::Done { tag, .. } => *tag,
            };
            let (number, slot) = (tag >> 5, (tag & 31) as usize);
            let Self { ports, shared, .. } = self;
            if let Some(it) = ports.iter_mut().find(|it| it.number == number) {
                it.on_step(cx, shared, slot, step);
                it.issue_own(cx, shared);
                it.issue(cx);
            }
        }
    }

    /// The controller has forgotten everything: it has lost its power, or is another one.
    fn forget(&mut self, cx: &mut Ctx<'_>) {
        // The device does nothing, and what it was told is gone: there is nothing to wait for.
        let Self { ports, shared, .. } = self;
        shared.queue.cancel(cx, |_| true);
        shared.queue.release(cx, |_| true);
        for it in ports {
            let (memory, own) = (it.memory.take(), it.own.after_sleep());
            *it = Port { memory, own, ..Port::new(it.number) };
        }
        shared.own.lose(|_| true);
    }

    fn read_access(&mut self, cx: &mut Ctx<'_>, offset: u32, width: Width) -> Result<Verdict, Violation> {
        if width == Width::Dword {
            let read = self.read(cx, offset & !3)?;
            return Ok(read.map_or(Verdict::Again, |value| Verdict::Value(value.into())));
        }
        let mut value = 0;
        for (dword, shift) in dwords(offset, width) {
            match self.read(cx, dword)? {
                Some(read) => value |= u64::from(read).wrapping_shl(shift),
                None => return Ok(Verdict::Again),
            }
        }
        let within = if width.bytes() < 4 { (offset & 3).wrapping_mul(8) } else { 0 };
        Ok(Verdict::Value(value.wrapping_shr(within) & width.ones()))
    }

    fn write_access(&mut self, cx: &mut Ctx<'_>, offset: u32, width: Width, value: u64) -> Result<Verdict, Violation> {
        if width.bytes() < 4 {
            return Err(Violation { what: "AHCI: a register is written in part", detail: u64::from(offset) });
        }
        if width == Width::Dword {
            self.write(cx, offset & !3, value as u32)?;
            return Ok(Verdict::Done);
        }
        for (dword, shift) in dwords(offset, width) {
            let part = u32::try_from(value.wrapping_shr(shift) & 0xffff_ffff).unwrap_or(u32::MAX);
            self.write(cx, dword, part)?;
        }
        Ok(Verdict::Done)
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
            Access { region: ABAR, offset, width, op: Op::Read } => self.read_access(cx, offset, width),
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
        let port = ports.iter_mut().find(|it| it.number == disk.port).ok_or(DiskError::Request)?;
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
