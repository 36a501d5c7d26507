//! Guest RIP, RFLAGS and SSP, and what is no register (27.3.1.4, 27.3.1.5).

use super::{Check, Stage};
use crate::vmx::{
    AccessRights, ActivityState, EntryControls, Field, Interruptibility, InterruptionInfo, InterruptionKind, Misc,
    NO_VMCS_LINK, PendingDebug, PinControls,
};

const CR0_PE: u64 = 1 << 0;
const RFLAGS_ONE: u64 = 1 << 1;
const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_VM: u64 = 1 << 17;
/// Bits 63:22, 15, 5 and 3.
const RFLAGS_RESERVED: u64 = u64::MAX << 22 | 1 << 15 | 1 << 5 | 1 << 3;
const DEBUGCTL_BTF: u64 = 1 << 1;
/// Bits 10:4, 13, 15 and 63:17.
const PENDING_DEBUG_RESERVED: u64 = u64::MAX << 17 | 1 << 15 | 1 << 13 | 0x7F0;

pub(super) fn check(check: &mut Check<'_>) {
    check.section(Stage::GuestState, "27.3.1.4");
    let event = InterruptionInfo(check.get(Field::VM_ENTRY_INTERRUPTION_INFORMATION) as u32);
    // Only a valid event binds the guest's state; kind 1 is told among the controls.
    let kind = event.kind().filter(|_| event.is_valid());
    rip(check);
    rflags(check, kind);
    check.section(Stage::GuestState, "27.3.1.5");
    activity(check, event);
    interruptibility(check, kind);
    pending_debug(check);
    if check.get(Field::VMCS_LINK_POINTER) != NO_VMCS_LINK {
        check.page(Field::VMCS_LINK_POINTER);
    }
}

fn rip(check: &mut Check<'_>) {
    let rights = AccessRights::from_bits_retain(check.get(Field::GUEST_CS_ACCESS_RIGHTS) as u32);
    let bits_64 = check.controls.long_mode_guest() && rights.contains(AccessRights::LONG);
    let rip = check.get(Field::GUEST_RIP);
    if bits_64 {
        let beyond = u64::MAX.checked_shl(u32::from(check.cpu.linear_bits)).unwrap_or(0);
        let holds = rip & beyond == 0 || rip & beyond == beyond;
        check.want(Field::GUEST_RIP, holds, "bits beyond the linear-address width must be the same");
    } else {
        check.zero(Field::GUEST_RIP, u64::MAX << 32, "bits 63:32 must be 0 outside of 64-bit mode");
    }
    if check.controls.entry.contains(EntryControls::LOAD_CET_STATE) {
        check.zero(Field::GUEST_SSP, 3, "bits 1:0 must be 0");
        if bits_64 {
            check.canonical(Field::GUEST_SSP);
        } else {
            check.zero(Field::GUEST_SSP, u64::MAX << 32, "bits 63:32 must be 0 outside of 64-bit mode");
        }
    }
}

fn rflags(check: &mut Check<'_>, event: Option<InterruptionKind>) {
    let rflags = check.get(Field::GUEST_RFLAGS);
    check.zero(Field::GUEST_RFLAGS, RFLAGS_RESERVED, "reserved bits must be 0");
    check.want_no(Field::GUEST_RFLAGS, !rflags & RFLAGS_ONE, "bit 1 must be 1");
    let no_vm = check.controls.long_mode_guest() || check.get(Field::GUEST_CR0) & CR0_PE == 0;
    check.want(Field::GUEST_RFLAGS, rflags & RFLAGS_VM == 0 || !no_vm, "VM must be 0 in IA-32e mode and in real mode");
    let interrupt = event == Some(InterruptionKind::ExternalInterrupt);
    check.want(Field::GUEST_RFLAGS, rflags & RFLAGS_IF != 0 || !interrupt, "IF must be 1 to inject an interrupt");
}

fn activity(check: &mut Check<'_>, event: InterruptionInfo) {
    const ACTIVITY: Field = Field::GUEST_ACTIVITY_STATE;
    let misc = check.cpu.capabilities.misc;
    let Some(state) = ActivityState::new(check.get(ACTIVITY) as u32) else {
        check.want(ACTIVITY, false, "the state must be 0 to 3");
        return;
    };
    let supported = match state {
        ActivityState::Active => true,
        ActivityState::Hlt => misc.contains(Misc::ACTIVITY_HLT),
        ActivityState::Shutdown => misc.contains(Misc::ACTIVITY_SHUTDOWN),
        ActivityState::WaitForSipi => misc.contains(Misc::ACTIVITY_WAIT_FOR_SIPI),
    };
    check.want(ACTIVITY, supported, "the CPU does not have this state");
    let dpl = AccessRights::from_bits_retain(check.get(Field::GUEST_SS_ACCESS_RIGHTS) as u32).dpl();
    check.want(ACTIVITY, state != ActivityState::Hlt || dpl == 0, "HLT needs DPL 0 in SS");
    let blocked = blocking(check).intersects(Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS);
    check.want(
        ACTIVITY,
        state == ActivityState::Active || !blocked,
        "blocking by STI or MOV SS needs the active state",
    );
    if event.is_valid() {
        check.want(ACTIVITY, wakes(state, event), "the event to be injected does not wake this state");
    }
}

/// Events that may be injected into a CPU in this state.
fn wakes(state: ActivityState, event: InterruptionInfo) -> bool {
    use InterruptionKind::{ExternalInterrupt, HardwareException, Nmi, Other};
    const DEBUG: u8 = 1;
    const MACHINE_CHECK: u8 = 18;
    match (state, event.kind()) {
        (ActivityState::Active, _) => true,
        (ActivityState::Hlt, Some(ExternalInterrupt | Nmi)) => true,
        (ActivityState::Hlt, Some(HardwareException)) => matches!(event.vector(), DEBUG | MACHINE_CHECK),
        (ActivityState::Hlt, Some(Other)) => event.vector() == 0,
        (ActivityState::Shutdown, Some(Nmi)) => true,
        (ActivityState::Shutdown, Some(HardwareException)) => event.vector() == MACHINE_CHECK,
        _ => false,
    }
}

fn blocking(check: &Check<'_>) -> Interruptibility {
    Interruptibility::from_bits_retain(check.get(Field::GUEST_INTERRUPTIBILITY_STATE) as u32)
}

fn interruptibility(check: &mut Check<'_>, event: Option<InterruptionKind>) {
    use Interruptibility as Blocking;
    const STATE: Field = Field::GUEST_INTERRUPTIBILITY_STATE;
    let state = blocking(check);
    check.zero(STATE, 0xFFFF_FFE0, "reserved bits 31:5 must be 0");
    let both = state.contains(Blocking::BLOCKING_BY_STI | Blocking::BLOCKING_BY_MOV_SS);
    check.want(STATE, !both, "blocking by STI and blocking by MOV SS exclude each other");
    let sti = state.contains(Blocking::BLOCKING_BY_STI);
    let enabled = check.get(Field::GUEST_RFLAGS) & RFLAGS_IF != 0;
    check.want(STATE, enabled || !sti, "blocking by STI needs RFLAGS.IF");
    let wrong = state & forbidden_by(event, check.controls.pin.contains(PinControls::VIRTUAL_NMIS));
    check.want_no(STATE, u64::from(wrong.bits()), "the event to be injected is blocked");
    check.want(STATE, !state.contains(Blocking::BLOCKING_BY_SMI), "blocking by SMI must be 0 outside of SMM");
    if state.contains(Blocking::ENCLAVE_INTERRUPTION) {
        check.want(STATE, check.cpu.sgx, "enclave interruption (bit 4) needs a CPU with SGX");
        let mov_ss = state.contains(Blocking::BLOCKING_BY_MOV_SS);
        check.want(STATE, !mov_ss, "enclave interruption (bit 4) excludes blocking by MOV SS");
    }
}

/// Blocking that an event to be injected forbids. Blocking by STI and an NMI: some CPUs take it, no VMM should ask.
fn forbidden_by(event: Option<InterruptionKind>, virtual_nmis: bool) -> Interruptibility {
    let shadow = Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS;
    match event {
        Some(InterruptionKind::ExternalInterrupt) => shadow,
        Some(InterruptionKind::Nmi) if virtual_nmis => shadow | Interruptibility::BLOCKING_BY_NMI,
        Some(InterruptionKind::Nmi) => shadow,
        _ => Interruptibility::empty(),
    }
}

fn pending_debug(check: &mut Check<'_>) {
    const PENDING: Field = Field::GUEST_PENDING_DEBUG_EXCEPTIONS;
    let bus_lock = if check.cpu.bus_lock_detection { 0 } else { PendingDebug::BUS_LOCK.bits() };
    check.zero(PENDING, PENDING_DEBUG_RESERVED | bus_lock, "reserved bits must be 0");
    let pending = PendingDebug::from_bits_retain(check.get(PENDING));
    let state = blocking(check);
    let halted = check.get(Field::GUEST_ACTIVITY_STATE) == ActivityState::Hlt as u64;
    if halted || state.intersects(Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS) {
        let trap = check.get(Field::GUEST_RFLAGS) & RFLAGS_TF != 0;
        let branches = check.get(Field::GUEST_DEBUGCTL) & DEBUGCTL_BTF != 0;
        let holds = pending.contains(PendingDebug::BS) == (trap && !branches);
        check.want(PENDING, holds, "BS must be RFLAGS.TF (and not DEBUGCTL.BTF) in HLT or an interrupt shadow");
    }
    if pending.contains(PendingDebug::RTM) {
        let others = pending.difference(PendingDebug::RTM | PendingDebug::ENABLED_BREAKPOINT);
        check.want_no(PENDING, others.bits(), "RTM excludes all bits but 12");
        check.want(PENDING, pending.contains(PendingDebug::ENABLED_BREAKPOINT), "RTM needs bit 12");
        check.want(PENDING, check.cpu.rtm, "the CPU has no RTM");
        let mov_ss = state.contains(Interruptibility::BLOCKING_BY_MOV_SS);
        check.want(PENDING, !mov_ss, "RTM excludes blocking by MOV SS");
    }
}
