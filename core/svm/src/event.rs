//! Events on their way into the guest (APM s. 15.20).

use exit::Exception;
use x86::svm::{Event, EventKind, Vmcb};

const CR0_PE: u64 = 1 << 0;
const RFLAGS_RESUME: u64 = 1 << 16;
const DR6_SINGLE_STEP: u64 = 1 << 14;

// Vectors.
const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;
const ALIGNMENT_CHECK: u8 = 17;

/// As [`exit::Vcpu::inject`].
pub fn inject(vmcb: &mut Vmcb, exception: Exception) {
    match exception {
        Exception::PageFault { address, .. } => {
            vmcb.save.cr2 = address;
            // VMRUN loads it (APM s. 15.5.1), but not in Bochs 2.7.
            // SAFETY: the guest's; the VMM has no page faults of its own.
            unsafe { core::arch::asm!("mov cr2, {}", in(reg) address, options(nomem, nostack, preserves_flags)) };
        }
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
/// exceptions are benign (s. 8.2.9).
#[cold]
pub fn deliver(vmcb: &mut Vmcb, vector: u8) {
    let control = &mut vmcb.control;
    control.event_inj = match vector {
        ALIGNMENT_CHECK => Event::exception(vector, control.exit_info1 as u32),
        _ => Event::new(EventKind::Exception, vector),
    };
    // The shadow of STI or MOV SS ends with the instruction that raised it.
    control.interrupt_shadow = 0;
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
