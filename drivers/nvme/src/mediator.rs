//! What the VMM holds.

use crate::controller::Nvme;
use crate::guard::REGISTERS;
use crate::registers::{self, Power};
use crate::spec::reg;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::disk::{DiskController, DiskError, DiskInfo, OwnError, OwnRequest, RangeMap};
use mediator::{
    Access, Completions, ConfigAccess, Ctx, Mediator, Op, RegionId, StringIo, Verdict, Violation, Width, Work,
    WorkError,
};

impl Nvme {
    fn read(&mut self, cx: &mut Ctx<'_>, offset: u32, width: Width) -> u64 {
        if offset >= reg::DOORBELLS {
            // Doorbells read as the device likes; nobody should.
            return 0;
        }
        let mut value = self.registers.qword(cx.device, offset & !7);
        if offset & !7 == reg::CSTS & !7 {
            let status = registers::read(cx.device, reg::CSTS);
            self.forget_if_disabled(cx);
            value = u64::from(status) << 32;
        }
        let shift = (offset & 7).wrapping_mul(8);
        value.wrapping_shr(shift) & width.ones()
    }

    fn write(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) -> Result<Verdict, Violation> {
        let regs = &mut self.registers;
        let set_low = |old: u64| old & !0xffff_ffff | u64::from(value);
        let set_high = |old: u64| old & 0xffff_ffff | u64::from(value) << 32;
        match offset {
            reg::INTMS | reg::INTMC => registers::write(cx.device, offset, value),
            reg::CC => self.on_configuration(cx, value)?,
            reg::AQA => regs.aqa = value & 0x0fff_0fff,
            reg::ASQ => regs.asq = set_low(regs.asq) & !0xfff,
            0x2c => regs.asq = set_high(regs.asq),
            reg::ACQ => regs.acq = set_low(regs.acq) & !0xfff,
            0x34 => regs.acq = set_high(regs.acq),
            reg::DOORBELLS.. => return self.on_doorbell(cx, offset, value),
            // Read-only, reserved, or hidden: subsystem reset, boot partitions, memory buffers.
            _ => {}
        }
        Ok(Verdict::Done)
    }

    /// A doorbell that leads to no queue, or a value beyond its end, is not taken. A device would also tell by an event; a guest that
    /// does such a thing has lost its way, and the log tells.
    fn on_doorbell(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) -> Result<Verdict, Violation> {
        let refused = |what| Err(Violation { what, detail: u64::from(offset) });
        let Some((id, completion)) = self.registers.doorbell(offset) else {
            return refused("NVMe: no such doorbell");
        };
        let ring = if completion { self.cq(id).map(|cq| cq.ring) } else { self.sq(id).map(|sq| sq.ring) };
        let Some(Some(ring)) = ring else { return refused("NVMe: doorbell of a queue that does not exist") };
        if value >= ring.entries {
            return refused("NVMe: doorbell beyond the end of its queue");
        }
        if completion {
            if !self.cq(id).is_some_and(|cq| cq.may_take(value)) {
                return refused("NVMe: completions taken that were not there");
            }
            self.on_head(cx, id, value);
            return Ok(Verdict::Done);
        }
        Ok(if self.on_tail(cx, id, value) { Verdict::Again } else { Verdict::Done })
    }
}

impl Mediator for Nvme {
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
        let Access { region, offset, width, op } = access;
        if region != REGISTERS {
            let nothing = Violation { what: "NVMe: access to no register", detail: u64::from(offset) };
            return self.guard.on_table(cx, access).unwrap_or(Err(nothing));
        }
        self.hand_over(cx);
        match (op, width) {
            (Op::Read, _) => Ok(Verdict::Value(self.read(cx, offset, width))),
            (Op::Write(value), Width::Dword) => self.write(cx, offset, u32::try_from(value).unwrap_or(u32::MAX)),
            (Op::Write(value), Width::Qword) if offset < reg::DOORBELLS => {
                let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
                self.write(cx, offset, u32::from_le_bytes([a, b, c, d]))?;
                self.write(cx, offset.saturating_add(4), u32::from_le_bytes([e, f, g, h]))
            }
            _ => Err(Violation { what: "NVMe: register written in a part", detail: u64::from(offset) }),
        }
    }

    fn on_string(&mut self, _: &mut Ctx<'_>, _: RegionId, offset: u32, _: StringIo<'_>) -> Result<usize, Violation> {
        Err(Violation { what: "NVMe: string access", detail: u64::from(offset) })
    }

    fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
        // A device that is cut off in mid-transfer loses it, and nothing leaks by that.
        let verdict = self.guard.on_config(cx, access, false);
        if self.guard.was_reset() {
            self.on_reset(cx)?;
        }
        verdict
    }

    fn completions(&self) -> Completions {
        Completions::MemoryOnly
    }

    fn wants_interrupts(&self) -> bool {
        self.busy
    }

    fn on_interrupts_pass(&mut self, pass: bool) {
        self.interrupts_pass = pass;
    }

    fn on_interrupt(&mut self, cx: &mut Ctx<'_>) {
        self.interrupts = self.interrupts.wrapping_add(1);
        if self.registers.power == Power::On {
            self.run(cx, true);
        }
    }

    fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        self.resume(cx);
    }

    fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: Work, result: Result<(), WorkError>) {
        self.on_work(cx, &work, result);
    }

    fn as_disks(&mut self) -> Option<&mut dyn DiskController> {
        Some(self)
    }
}

impl DiskController for Nvme {
    fn disks(&self) -> Vec<DiskInfo> {
        let info = |ns: &crate::namespaces::Namespace| DiskInfo {
            model: self.identity.model.clone(),
            serial: self.identity.serial.clone(),
            channel: ns.nsid,
            unit: 0,
            sectors: ns.identity.sectors,
            sector_bytes: ns.identity.sector_bytes,
        };
        self.namespaces.iter().map(info).collect()
    }

    fn read_before_guest(&mut self, cx: &mut Ctx<'_>, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        self.read_polling(cx, disk, lba, data)
    }

    fn set_ranges(&mut self, disk: usize, ranges: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        let ns = self.namespaces.get_mut(disk).ok_or(DiskError::Request)?;
        // Sectors with metadata: checksums over them would tell of the plaintext, or be wrong.
        if ranges.is_protected() && !ns.identity.usable {
            return Err(DiskError::Request);
        }
        ns.ranges = Some(ranges);
        Ok(())
    }

    fn submit_own(&mut self, cx: &mut Ctx<'_>, disk: usize, request: OwnRequest) -> Result<(), OwnError> {
        self.begin_own(cx, disk, request)
    }

    fn poll_own(&mut self, cx: &mut Ctx<'_>, disk: usize) -> Option<Result<Vec<u8>, OwnError>> {
        self.look_after_own(cx, disk);
        self.own_requests.requests.poll(disk)
    }

    fn drop_own(&mut self, disk: usize) {
        self.own_requests.requests.forget(disk);
    }
}
