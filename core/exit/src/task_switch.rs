//! Hardware task switches, carried out in software where the CPU leaves them to the VMM.
//!
//! The CPU has checked the privileges of the gate or the TSS before it left the guest. What it checks of the new TSS is
//! checked again here, because its descriptor is read again.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, 8.3 (the steps), table 8-1 (the exceptions); Vol. 3C 26.4.2.

mod descriptor;
mod linear;
mod segments;
mod tss;

use crate::delivery::second_exception;
use crate::walk::EFER_LMA;
use crate::{
    Cpu, EventKind, Exception, ExitKind, Gpr, Machine, Outcome, TaskState, TaskSwitch, TaskSwitchSource, Vcpu,
};
use crate::{Segment, gpr};
use descriptor::{Descriptor, Selector};
use linear::{Linear, Mapped, READ, WRITE};
use tss::{Format, MAX_BYTES, SEGMENTS, TaskImage};

const RFLAGS_RESERVED_ONE: u32 = 1 << 1;
/// All that exist but VM, which a 16-bit TSS does not hold.
const RFLAGS_BITS: u32 = 0x3d_7fd5;
const RFLAGS_NT: u32 = 1 << 14;
const RFLAGS_RF: u32 = 1 << 16;
const RFLAGS_VM: u32 = 1 << 17;
/// L0 to L3 and LE (SDM Vol. 3B 18.2.4).
const DR7_LOCAL: u64 = 0x155;
const DR6_TASK_SWITCH: u64 = 1 << 15;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const DESCRIPTOR_BYTES: usize = 8;

#[cold]
pub(crate) fn on_task_switch<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Option<Outcome> {
    cpu.counters.count(ExitKind::TaskSwitch);
    let control = vcpu.control();
    let task = vcpu.task_state()?;
    let request = task.task_switch();
    let memory = Linear::new(machine, cpu.guest.paging, control);
    let Err(exception) = Switch::new(task, memory, request).perform() else { return Some(Outcome::Resume) };
    let raised = match request.source {
        TaskSwitchSource::Gate(event) => second_exception(event, exception),
        _ => Some(exception),
    };
    let Some(exception) = raised else { return Some(cpu.on_shutdown(vcpu)) };
    vcpu.inject(exception);
    Some(Outcome::Resume)
}

/// The TSS of the new task, checked.
struct NewTask {
    selector: Selector,
    descriptor: Descriptor,
    descriptor_at: Mapped,
    tss_at: Mapped,
    format: Format,
}

/// The TSS of the old task.
struct OldTask {
    tss_at: Mapped,
    format: Format,
    /// Its descriptor, where it is not busy any more after the switch.
    freed: Option<Mapped>,
}

struct Switch<'a, M> {
    vcpu: &'a mut dyn TaskState,
    memory: Linear<'a, M>,
    request: TaskSwitch,
    /// The bit EXT of error codes: an event from outside of the program is being delivered.
    external: u32,
}

impl<'a, M: Machine> Switch<'a, M> {
    fn new(vcpu: &'a mut dyn TaskState, memory: Linear<'a, M>, request: TaskSwitch) -> Self {
        let external = match request.source {
            TaskSwitchSource::Gate(event) => u32::from(event.kind != EventKind::Software),
            _ => 0,
        };
        Self { vcpu, memory, request, external }
    }

    /// # Errors
    /// The exception to be raised: in the old task as long as nothing has changed, then in the new one.
    fn perform(mut self) -> Result<(), Exception> {
        match self.request.source {
            TaskSwitchSource::Iret => self.vcpu.set_nmi_blocked(false),
            TaskSwitchSource::Gate(event) if event.kind == EventKind::Nmi => self.vcpu.set_nmi_blocked(true),
            _ => {}
        }
        let new = self.find_new()?;
        let old = self.find_old()?;
        let new = self.take(new)?;
        // Here the old task's part ends.
        self.leave(old);
        self.enter(new)
    }

    /// The caller stays busy, and the new task links back to it.
    fn nests(&self) -> bool {
        matches!(self.request.source, TaskSwitchSource::Call | TaskSwitchSource::Gate(_))
    }

    fn find_new(&mut self) -> Result<NewTask, Exception> {
        let selector = Selector(self.request.selector);
        let error = selector.error(self.external);
        let returns = self.request.source == TaskSwitchSource::Iret;
        let wrong = if returns { Exception::InvalidTss(error) } else { Exception::GeneralProtection(error) };
        let (gdt, gdt_limit) = self.vcpu.gdtr();
        if selector.is_local() || selector.is_null() || selector.offset() | 7 > gdt_limit {
            return Err(wrong);
        }
        let at = gdt.wrapping_add(u64::from(selector.offset()));
        // Whoever returns finds the busy mark set.
        let descriptor_at = self.memory.map(at, DESCRIPTOR_BYTES, if returns { READ } else { WRITE })?;
        let descriptor = Descriptor(u64::from_le_bytes(self.memory.read(descriptor_at)));
        if !descriptor.is_tss() || descriptor.is_busy() != returns || self.vcpu.control().efer & EFER_LMA != 0 {
            return Err(wrong);
        }
        if !descriptor.is_present() {
            return Err(Exception::SegmentNotPresent(error));
        }
        let Segment { base, limit, access, .. } = descriptor.segment(selector);
        let format = Format::of(access);
        if (limit as usize) < format.len_bytes().wrapping_sub(1) {
            return Err(Exception::InvalidTss(error));
        }
        if self.nests() {
            self.memory.map(base, 2, WRITE)?;
        }
        let tss_at = self.memory.map(base, format.len_bytes(), READ)?;
        Ok(NewTask { selector, descriptor, descriptor_at, tss_at, format })
    }

    fn find_old(&mut self) -> Result<OldTask, Exception> {
        let Segment { selector, base, limit, access, .. } = self.vcpu.task_register();
        let (selector, format) = (Selector(selector), Format::of(access));
        if (limit as usize) < format.len_bytes().wrapping_sub(1) {
            return Err(Exception::InvalidTss(selector.error(self.external)));
        }
        let tss_at = self.memory.map(base, format.len_bytes(), WRITE)?;
        let at = self.vcpu.gdtr().0.wrapping_add(u64::from(selector.offset()));
        let freed = (!self.nests()).then(|| self.memory.map(at, DESCRIPTOR_BYTES, WRITE)).transpose()?;
        Ok(OldTask { tss_at, format, freed })
    }

    /// Marks the new task as busy, unless another CPU has done so since it was looked at.
    fn take(&mut self, new: NewTask) -> Result<NewTask, Exception> {
        let descriptor = new.descriptor.with_busy(true);
        if descriptor != new.descriptor && !self.memory.exchange_access(new.descriptor_at, new.descriptor, descriptor) {
            return Err(Exception::GeneralProtection(new.selector.error(self.external)));
        }
        Ok(NewTask { descriptor, ..new })
    }

    /// The old task's registers go to its TSS.
    fn leave(&mut self, old: OldTask) {
        if let Some(at) = old.freed {
            let descriptor = Descriptor(u64::from_le_bytes(self.memory.read(at)));
            // If it has changed since, it is no longer the descriptor of this task.
            self.memory.exchange_access(at, descriptor, descriptor.with_busy(false));
        }
        let mut eflags = self.vcpu.rflags() as u32;
        if self.request.source == TaskSwitchSource::Iret {
            eflags &= !RFLAGS_NT;
        }
        if self.request.instruction_len > 0 {
            // It held for the instruction that switches.
            eflags &= !RFLAGS_RF;
        }
        let image = TaskImage {
            eip: self.vcpu.rip().wrapping_add(u64::from(self.request.instruction_len)) as u32,
            eflags,
            gprs: gpr::LEGACY.map(|register| self.vcpu.gpr(register) as u32),
            segments: SEGMENTS.map(|name| self.vcpu.segment(name).selector),
        };
        let mut tss: [u8; MAX_BYTES] = self.memory.read(old.tss_at);
        old.format.encode(&image, &mut tss);
        self.memory.write(old.tss_at, tss.get(..old.format.len_bytes()).unwrap_or_default());
    }

    /// The new task's registers come from its TSS.
    fn enter(&mut self, new: NewTask) -> Result<(), Exception> {
        let tss: [u8; MAX_BYTES] = self.memory.read(new.tss_at);
        let mut image = new.format.parse(&tss);
        image.eflags &= RFLAGS_BITS | if new.format == Format::Bits32 { RFLAGS_VM } else { 0 };
        image.eflags |= RFLAGS_RESERVED_ONE;
        if self.nests() {
            image.eflags |= RFLAGS_NT;
            self.memory.write(new.tss_at, &self.vcpu.task_register().selector.to_le_bytes());
        }
        self.vcpu.set_task_register(new.descriptor.segment(new.selector));
        self.vcpu.set_task_switched();
        self.vcpu.set_dr7(self.vcpu.dr7() & !DR7_LOCAL);
        self.load_registers(&image);
        self.load_segments(&image, new.format, new.format.ldt(&tss), new.format.cr3(&tss))?;
        self.push_error(new.format)?;
        if new.format.debug_trap(&tss) { Err(Exception::Debug(DR6_TASK_SWITCH)) } else { Ok(()) }
    }

    fn load_registers(&mut self, image: &TaskImage) {
        self.vcpu.set_rip(image.eip.into());
        self.vcpu.set_rflags(image.eflags.into());
        for (register, value) in gpr::LEGACY.into_iter().zip(image.gprs) {
            self.vcpu.set_gpr(register, value.into());
        }
    }

    fn load_cr3(&mut self, value: u32) -> Result<(), Exception> {
        let control = self.vcpu.control();
        if control.cr0 & CR0_PG == 0 {
            return Ok(());
        }
        let cr3 = u64::from(value);
        let pdptes = (control.cr4 & CR4_PAE != 0).then(|| self.memory.pdptes(cr3));
        // Present ones with reserved bits set (SDM Vol. 3A 5.4.1).
        let reserved = u64::MAX.wrapping_shl(u32::from(self.memory.physical_bits())) | 0x1e6;
        if pdptes.is_some_and(|entries| entries.iter().any(|entry| entry & 1 != 0 && entry & reserved != 0)) {
            return Err(Exception::GeneralProtection(0));
        }
        self.vcpu.set_cr3(cr3, pdptes);
        self.memory.set_control(self.vcpu.control());
        Ok(())
    }

    /// The error code of the exception that came through the task gate goes to the new task's stack.
    fn push_error(&mut self, format: Format) -> Result<(), Exception> {
        let TaskSwitchSource::Gate(crate::Event { error: Some(error), .. }) = self.request.source else {
            return Ok(());
        };
        let stack = self.vcpu.segment(crate::SegmentName::Ss);
        let mask = if stack.default_32 { u32::MAX } else { 0xffff };
        let old = self.vcpu.gpr(Gpr::Rsp) as u32;
        let pointer = old.wrapping_sub(format.slot_bytes() as u32) & mask;
        let last = pointer.checked_add((format.slot_bytes() as u32).wrapping_sub(1));
        // An expand-down segment has its room above the limit (SDM Vol. 3A 3.4.5.1).
        let fits =
            |last| if stack.access & 4 == 0 { last <= stack.limit } else { pointer > stack.limit && last <= mask };
        if !last.is_some_and(fits) {
            return Err(Exception::StackFault(self.external));
        }
        let usage = linear::Use { write: true, user: self.vcpu.cpl() == 3 };
        let at = self.memory.map(stack.base.wrapping_add(pointer.into()), format.slot_bytes(), usage)?;
        self.memory.write(at, error.to_le_bytes().get(..format.slot_bytes()).unwrap_or_default());
        self.vcpu.set_gpr(Gpr::Rsp, (old & !mask | pointer).into());
        Ok(())
    }
}
