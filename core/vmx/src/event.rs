//! Events on their way into the guest (SDM s. 27.6), and interrupts that wait for it.

use crate::instructions::{read, write};
use crate::nmi;
use core::sync::atomic::Ordering;
use exit::{Event, EventKind, Exception, QueuedInterrupts};
use hw::cpus;
use x86::vmx::{
    BasicReason, DebugQualification, ExitReason, Field, Interruptibility, InterruptionInfo, InterruptionKind,
    PendingDebug, ProcessorControls,
};
use x86_64::registers::debug::Dr6;

const CR0_PE: u64 = 1 << 0;
const RFLAGS_RF: u64 = 1 << 16;
const DR7_GD: u64 = 1 << 13;
/// IA32_DEBUGCTL: LBR and BTF.
const DEBUGCTL_CLEARED: u64 = 1 << 0 | 1 << 1;
const DEBUG: u8 = 1;
const DR6_AFTER_INIT: u64 = 0xffff_0ff0;

const RFLAGS_IF: u64 = 1 << 9;
/// What is pending so surely that the next entry without an event delivers it.
const DEBUG_EXCEPTION: PendingDebug = PendingDebug::ENABLED_BREAKPOINT.union(PendingDebug::BS).union(PendingDebug::RTM);

/// Whether the guest is left as soon as it can take an NMI or an interrupt.
pub fn set_window(window: ProcessorControls, open: bool) {
    // What the field is to hold.
    let wanted = &cpus::this().nmi.kept;
    let before = if open {
        wanted.fetch_or(window.bits(), Ordering::Relaxed)
    } else {
        wanted.fetch_and(!window.bits(), Ordering::Relaxed)
    };
    if (before & window.bits() != 0) != open {
        write_windows();
    }
}

/// The VMCS is told, after a change or when it is the current one again: meanwhile an NMI may have come.
pub fn write_windows() {
    let wanted = &cpus::this().nmi.kept;
    // An NMI between load and write has changed both, and the write has undone the one in the VMCS.
    loop {
        let controls = wanted.load(Ordering::Relaxed);
        write(Field::PROCESSOR_CONTROLS, controls.into());
        if wanted.load(Ordering::Relaxed) == controls {
            return;
        }
    }
}

/// The event that was being delivered, if there was one, and whether an instruction has raised it.
pub fn delivered() -> (Event, bool) {
    let info = InterruptionInfo(read(Field::IDT_VECTORING_INFORMATION) as u32);
    let error = info.has_error_code().then(|| read(Field::IDT_VECTORING_ERROR_CODE) as u32);
    let (kind, by_instruction) = match info.kind() {
        Some(InterruptionKind::ExternalInterrupt) => (EventKind::ExternalInterrupt, false),
        Some(InterruptionKind::Nmi) => (EventKind::Nmi, false),
        Some(InterruptionKind::PrivilegedSoftwareException) => (EventKind::HardwareException, true),
        Some(InterruptionKind::SoftwareInterrupt | InterruptionKind::SoftwareException) => (EventKind::Software, true),
        _ => (EventKind::HardwareException, false),
    };
    (Event { vector: info.vector(), kind, error }, by_instruction)
}

/// Just before an entry: the highest vector goes with it, if the guest can take one there. While vectors are left, the guest
/// exits as soon as it can take the next.
#[cold]
pub fn deliver_queued(queued: &mut QueuedInterrupts) {
    if can_take_interrupt()
        && let Some(vector) = queued.take_highest()
    {
        enter_with(InterruptionInfo::new(InterruptionKind::ExternalInterrupt, vector), 0, 0);
    }
    let waiting = !queued.is_empty();
    set_window(ProcessorControls::INTERRUPT_WINDOW_EXITING, waiting);
    // Bochs 2.7 does not leave HLT for an open window, though s. 26.2 says so.
    set_window(ProcessorControls::HLT_EXITING, waiting && !is_halting_for_good());
}

/// The guest has executed HLT with IF = 0: no interrupt ends it.
fn is_halting_for_good() -> bool {
    let reason = ExitReason(read(Field::EXIT_REASON) as u32).basic();
    reason == BasicReason::HLT && read(Field::GUEST_RFLAGS) & RFLAGS_IF == 0
}

/// What a window exit would tell about the state of now.
fn can_take_interrupt() -> bool {
    let shadow = Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS;
    !InterruptionInfo(read(Field::VM_ENTRY_INTERRUPTION_INFORMATION) as u32).is_valid()
        && read(Field::GUEST_RFLAGS) & RFLAGS_IF != 0
        && read(Field::GUEST_INTERRUPTIBILITY_STATE) & u64::from(shadow.bits()) == 0
        // It comes first; an entry with an interrupt would drop it (s. 27.7.3).
        && read(Field::GUEST_PENDING_DEBUG_EXCEPTIONS) & DEBUG_EXCEPTION.bits() == 0
}

pub fn enter_with(event: InterruptionInfo, error: u32, instruction_len: u64) {
    write(Field::VM_ENTRY_INTERRUPTION_INFORMATION, event.for_injection().0.into());
    if event.has_error_code() {
        write(Field::VM_ENTRY_EXCEPTION_ERROR_CODE, error.into());
    }
    if event.kind().is_some_and(InterruptionKind::needs_instruction_length) {
        write(Field::VM_ENTRY_INSTRUCTION_LENGTH, instruction_len);
    }
}

/// As [`exit::Vcpu::inject`].
pub fn inject(exception: Exception) {
    match exception {
        Exception::PageFault { address, .. } => {
            // SAFETY: the guest's; the VMM has no page faults of its own.
            unsafe { core::arch::asm!("mov cr2, {}", in(reg) address, options(nomem, nostack, preserves_flags)) };
        }
        Exception::Debug(bits) => raise_debug(Dr6::read_raw() | bits),
        _ => {}
    }
    if !matches!(exception, Exception::Debug(_) | Exception::DoubleFault) {
        // A fault: the instruction is not stopped by its own breakpoint again (SDM Vol. 3B s. 18.3.1.1).
        write(Field::GUEST_RFLAGS, read(Field::GUEST_RFLAGS) | RFLAGS_RF);
    }
    let event = InterruptionInfo::new(InterruptionKind::HardwareException, exception.vector());
    match exception.error_code() {
        // In real mode no exception has an error code (s. 27.2.1.3).
        Some(error) if read(Field::GUEST_CR0) & CR0_PE != 0 => enter_with(event.with_error_code(), error, 0),
        _ => enter_with(event, 0, 0),
    }
}

/// DR6 and CR2 as after INIT.
pub fn clear_debug() {
    // SAFETY: both are the guest's.
    unsafe {
        core::arch::asm!("mov dr6, {}", "mov cr2, {}", in(reg) DR6_AFTER_INIT, in(reg) 0u64, options(nomem, nostack, preserves_flags));
    }
}

/// DR6, DR7, DEBUGCTL and the interrupt shadow as #DB leaves them; the exit has not touched them (s. 28.1).
fn raise_debug(dr6: u64) {
    // SAFETY: DR6 is the guest's.
    unsafe { core::arch::asm!("mov dr6, {}", in(reg) dr6, options(nomem, nostack, preserves_flags)) };
    write(Field::GUEST_DR7, read(Field::GUEST_DR7) & !DR7_GD);
    write(Field::GUEST_DEBUGCTL, read(Field::GUEST_DEBUGCTL) & !DEBUGCTL_CLEARED);
    // The shadow of STI or MOV SS ends with the instruction that raised it. The entry wants a single step pending in it
    // (s. 27.3.1.5), and the exit by #DB has dropped that (s. 28.3.4).
    let shadow = Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS;
    let state = read(Field::GUEST_INTERRUPTIBILITY_STATE) & !u64::from(shadow.bits());
    write(Field::GUEST_INTERRUPTIBILITY_STATE, state);
}

/// As [`exit::Vcpu::reinject`].
pub fn reinject() {
    let event = InterruptionInfo(read(Field::IDT_VECTORING_INFORMATION) as u32);
    if !event.is_valid() {
        return;
    }
    if event.kind() == Some(InterruptionKind::Nmi) {
        // Blocked since its delivery began; the entry blocks again (s. 27.3.1.5 refuses it otherwise).
        nmi::set_blocked(false);
    }
    let error = read(Field::IDT_VECTORING_ERROR_CODE) as u32;
    enter_with(event, error, read(Field::VM_EXIT_INSTRUCTION_LENGTH));
}

/// An exception has left the guest, to be delivered now.
pub fn on_exception(event: InterruptionInfo) {
    if event.vector() == DEBUG {
        let qualification = DebugQualification::from_bits_retain(read(Field::EXIT_QUALIFICATION));
        raise_debug(qualification.dr6(Dr6::read_raw()));
    }
    nmi::undo_unblocking(event.nmi_unblocked_by_iret());
    let error = read(Field::VM_EXIT_INTERRUPTION_ERROR_CODE) as u32;
    enter_with(event, error, read(Field::VM_EXIT_INSTRUCTION_LENGTH));
}
