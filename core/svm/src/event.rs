//! Events on their way into the guest (APM s. 15.20).

use exit::{Exception, QueuedInterrupts};
use x86::svm::{Event, EventKind, ExitCode, Misc1, SaveArea, Vmcb, control};

const CR0_PE: u64 = 1 << 0;
const RFLAGS_IF: u64 = 1 << 9;
/// A virtual interrupt. Where it is intercepted it is never delivered: the intercept tells when the guest can take an interrupt (APM s. 15.21.4).
const WINDOW: u64 = control::V_IRQ | control::V_IGN_TPR;
/// Its vector (APM appendix B.1).
const V_INTR_VECTOR: u32 = 32;
const RFLAGS_RESUME: u64 = 1 << 16;
const DR6_SINGLE_STEP: u64 = 1 << 14;

// Vectors.
const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;
const PAGE_FAULT: u8 = 14;
/// Of the faults that have an error code: #TS, #NP, #SS, #GP, #PF, #AC, #CP (APM table 8-1).
const WITH_ERROR: [u8; 7] = [10, 11, 12, 13, PAGE_FAULT, 17, 21];

/// As [`exit::Vcpu::inject`].
pub fn inject(vmcb: &mut Vmcb, exception: Exception) {
    match exception {
        Exception::PageFault { address, .. } => set_cr2(&mut vmcb.save, address),
        Exception::Debug(bits) => vmcb.save.dr6 |= bits,
        _ => {}
    }
    if !matches!(exception, Exception::Debug(_) | Exception::DoubleFault) {
        // A fault: the instruction is not stopped by its own breakpoint again (APM s. 13.1.1.3).
        vmcb.save.rflags |= RFLAGS_RESUME;
    }
    // In real mode no exception has an error code (APM s. 8.2).
    let error = exception.error_code().filter(|_| vmcb.save.cr0 & CR0_PE != 0);
    vmcb.control.event_inj = match error {
        None => Event::new(EventKind::Exception, exception.vector()),
        Some(error) => Event::exception(exception.vector(), error),
    };
}

/// The trap that an instruction would have raised which the VMM skipped (APM s. 13.1.4).
#[cold]
pub fn inject_single_step(vmcb: &mut Vmcb) {
    vmcb.save.dr6 |= DR6_SINGLE_STEP;
    vmcb.control.event_inj = Event::new(EventKind::Exception, DEBUG);
}

/// An exception has left the guest, to be delivered now. DR6 and DR7 are already as #DB leaves them (APM s. 15.12.2; Bochs
/// 2.7 forgets the cause instead). An event that it interrupted the delivery of is lost, as without a virtual machine: both
/// exceptions are benign (s. 8.2.9); others leave the guest in the step over an IRET only, which delivers nothing.
#[cold]
pub fn deliver(vmcb: &mut Vmcb, vector: u8) {
    let (control, save) = (&mut vmcb.control, &mut vmcb.save);
    let error = control.exit_info1 as u32;
    if vector == PAGE_FAULT {
        set_cr2(save, control.exit_info2);
    }
    if vector != DEBUG {
        save.rflags |= RFLAGS_RESUME;
    }
    let has_error = WITH_ERROR.contains(&vector) && save.cr0 & CR0_PE != 0;
    control.event_inj =
        if has_error { Event::exception(vector, error) } else { Event::new(EventKind::Exception, vector) };
    // The shadow of STI or MOV SS ends with the instruction that raised it.
    control.interrupt_shadow = 0;
}

fn set_cr2(save: &mut SaveArea, address: u64) {
    save.cr2 = address;
    // VMRUN loads it (APM s. 15.5.1), but not in Bochs 2.7.
    // SAFETY: the guest's; the VMM has no page faults of its own.
    unsafe { core::arch::asm!("mov cr2, {}", in(reg) address, options(nomem, nostack, preserves_flags)) };
}

/// As [`exit::Vcpu::reinject`].
pub fn reinject(vmcb: &mut Vmcb) {
    let event = vmcb.control.exit_int_info;
    // RIP still points at INT n, INT3 or INTO: executing it again delivers the event.
    let by_instruction = event.kind() == Some(EventKind::SoftwareInterrupt)
        || (event.kind() == Some(EventKind::Exception) && [BREAKPOINT, OVERFLOW].contains(&event.vector()));
    if event.is_valid() && !by_instruction {
        vmcb.control.event_inj = event;
    }
}

/// In neutral words. `None`: nothing was being delivered.
#[inline]
pub fn delivered(event: Event) -> Option<exit::Event> {
    if event.is_valid() { in_neutral_words(event) } else { None }
}

#[cold]
fn in_neutral_words(event: Event) -> Option<exit::Event> {
    let kind = match event.kind()? {
        EventKind::Interrupt => exit::EventKind::ExternalInterrupt,
        EventKind::Nmi => exit::EventKind::Nmi,
        EventKind::Exception if ![BREAKPOINT, OVERFLOW].contains(&event.vector()) => exit::EventKind::HardwareException,
        EventKind::Exception | EventKind::SoftwareInterrupt => exit::EventKind::Software,
    };
    Some(exit::Event { vector: event.vector(), kind, error: event.error() })
}

/// Does the guest let interrupts in? A shadow may hold them off for one more instruction.
pub fn lets_interrupts_in(vmcb: &Vmcb) -> bool {
    vmcb.save.rflags & RFLAGS_IF != 0
}

/// Just before VMRUN: the highest vector goes with it, if the guest can take one there. While vectors are left, the guest exits
/// as soon as it can take the next. Where `injects_twice` ([`crate::features::Features`]) the last one goes as a virtual interrupt, which has
/// to be taken back ([`take_back`]) when the guest exits without having taken it. Nowhere else: Bochs 2.7 delivers none in a guest that enters
/// with interrupts on.
#[cold]
pub fn deliver_queued(vmcb: &mut Vmcb, queued: &mut QueuedInterrupts, injects_twice: bool) {
    let control = &mut vmcb.control;
    let free = !control.event_inj.is_valid()
        && vmcb.save.rflags & RFLAGS_IF != 0
        && control.interrupt_shadow & control::INTERRUPT_SHADOW == 0;
    let vector = if free { queued.take_highest() } else { None };
    let waiting = !queued.is_empty();
    let kept = control.virtual_interrupt & (control::V_INTR_MASKING | control::V_TPR);
    let mut pending = if waiting { WINDOW } else { 0 };
    match vector {
        Some(vector) if injects_twice && !waiting => pending = WINDOW | u64::from(vector) << V_INTR_VECTOR,
        Some(vector) => control.event_inj = Event::new(EventKind::Interrupt, vector),
        None => {}
    }
    control.virtual_interrupt = kept | pending;
    control.intercept_misc1.set(Misc1::VINTR, waiting);
    // Bochs 2.7 does not leave HLT for a virtual interrupt. With IF = 0 no interrupt ends HLT, so that it is left alone.
    let for_good = ExitCode(control.exit_code) == ExitCode::HLT && vmcb.save.rflags & RFLAGS_IF == 0;
    let halts_in_host = kept & control::V_INTR_MASKING != 0;
    control.intercept_misc1.set(Misc1::HLT, halts_in_host || waiting && !for_good);
}

/// Just after VMRUN: a virtual interrupt that went with the entry and was not taken waits again (APM s. 15.21.4: the CPU clears V_IRQ
/// when it is). True: it does.
#[cold]
pub fn take_back(vmcb: &mut Vmcb, queued: &mut QueuedInterrupts) -> bool {
    let control = &mut vmcb.control;
    let is_left = control.virtual_interrupt & control::V_IRQ != 0 && !control.intercept_misc1.contains(Misc1::VINTR);
    if is_left {
        let vector = (control.virtual_interrupt >> V_INTR_VECTOR) as u8;
        control.virtual_interrupt &= control::V_INTR_MASKING | control::V_TPR;
        // QEMU leaves V_IRQ set when the delivery has begun and run into an exit.
        let event = control.exit_int_info;
        if !(event.is_valid() && event.kind() == Some(EventKind::Interrupt) && event.vector() == vector) {
            queued.insert(vector);
        }
    }
    is_left
}
