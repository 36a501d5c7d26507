//! VM-exit and VM-entry control fields (27.2.1.2, 27.2.1.3).

use super::{Check, Stage};
use crate::vmx::{
    ControlCapability, EntryControls, ExitControls, Field, InterruptionInfo, InterruptionKind, Misc, PinControls,
    ProcessorControls,
};

/// CR0.PE.
const PE: u64 = 1 << 0;
/// Exceptions that deliver an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC.
const WITH_ERROR_CODE: [u8; 7] = [8, 10, 11, 12, 13, 14, 17];

pub(super) fn check(check: &mut Check<'_>) {
    exit(check);
    entry(check);
    injection(check);
}

fn exit(check: &mut Check<'_>) {
    check.section(Stage::Controls, "27.2.1.2");
    let capabilities = check.cpu.capabilities;
    check.control(Field::VM_EXIT_CONTROLS, capabilities.exit);
    if check.controls.exit.contains(ExitControls::ACTIVATE_SECONDARY_CONTROLS) {
        let reserved = !capabilities.secondary_exit;
        check.zero(Field::SECONDARY_VM_EXIT_CONTROLS, reserved, "the CPU does not have these controls");
    }
    let timer = check.controls.pin.contains(PinControls::ACTIVATE_PREEMPTION_TIMER);
    let save = check.controls.exit.contains(ExitControls::SAVE_PREEMPTION_TIMER);
    let rule = "\"save VMX-preemption timer value\" needs \"activate VMX-preemption timer\"";
    check.want(Field::VM_EXIT_CONTROLS, timer || !save, rule);
    check.msr_list(Field::VM_EXIT_MSR_STORE_COUNT, Field::VM_EXIT_MSR_STORE_ADDRESS);
    check.msr_list(Field::VM_EXIT_MSR_LOAD_COUNT, Field::VM_EXIT_MSR_LOAD_ADDRESS);
}

fn entry(check: &mut Check<'_>) {
    check.section(Stage::Controls, "27.2.1.3");
    let capability = check.cpu.capabilities.entry;
    check.control(Field::VM_ENTRY_CONTROLS, capability);
    let smm = EntryControls::ENTRY_TO_SMM | EntryControls::DEACTIVATE_DUAL_MONITOR_TREATMENT;
    let wrong = u64::from((check.controls.entry & smm).bits());
    check.want_no(Field::VM_ENTRY_CONTROLS, wrong, "these controls are for SMM only");
    check.msr_list(Field::VM_ENTRY_MSR_LOAD_COUNT, Field::VM_ENTRY_MSR_LOAD_ADDRESS);
}

fn injection(check: &mut Check<'_>) {
    const INFO: Field = Field::VM_ENTRY_INTERRUPTION_INFORMATION;
    let info = InterruptionInfo(check.get(INFO) as u32);
    if !info.is_valid() {
        return;
    }
    check.zero(INFO, u64::from(InterruptionInfo::RESERVED), "reserved bits 30:12 must be 0");
    let vector = info.vector();
    match info.kind() {
        None => check.want(INFO, false, "interruption type 1 is reserved"),
        Some(InterruptionKind::Nmi) => check.want(INFO, vector == 2, "an NMI has vector 2"),
        Some(InterruptionKind::HardwareException) => {
            check.want(INFO, vector <= 31, "an exception's vector is below 32")
        }
        Some(InterruptionKind::Other) => {
            let mtf = check.cpu.capabilities.processor.allows(ProcessorControls::MONITOR_TRAP_FLAG.bits());
            check.want(INFO, mtf, "interruption type 7 needs a CPU with the monitor trap flag");
            check.want(INFO, vector == 0, "interruption type 7 has vector 0");
        }
        Some(_) => {}
    }
    error_code(check, info);
    if info.kind().is_some_and(InterruptionKind::needs_instruction_length) {
        let length = check.get(Field::VM_ENTRY_INSTRUCTION_LENGTH);
        let zero_allowed = check.cpu.capabilities.misc.contains(Misc::ZERO_INSTRUCTION_LENGTH);
        let holds = length <= 15 && (length != 0 || zero_allowed);
        check.want(Field::VM_ENTRY_INSTRUCTION_LENGTH, holds, "a software event needs a length of 1 to 15");
    }
}

fn error_code(check: &mut Check<'_>, info: InterruptionInfo) {
    const INFO: Field = Field::VM_ENTRY_INTERRUPTION_INFORMATION;
    let exception = info.kind() == Some(InterruptionKind::HardwareException);
    let protected = check.get(Field::GUEST_CR0) & PE != 0;
    let free = check.cpu.capabilities.basic.error_code_is_free();
    let usual = WITH_ERROR_CODE.contains(&info.vector());
    if info.has_error_code() {
        let holds = exception && protected && (free || usual);
        check.want(INFO, holds, "bit 11: this event has no error code, or the guest is in real mode");
        check.zero(Field::VM_ENTRY_EXCEPTION_ERROR_CODE, 0xFFFF_0000, "bits 31:16 must be 0");
    } else {
        let needed = exception && protected && !free && usual;
        check.want(INFO, !needed, "bit 11: this exception needs an error code");
    }
}

impl Check<'_> {
    /// A word of controls against what the CPU allows.
    pub(super) fn control(&mut self, field: Field, capability: ControlCapability) {
        let value = self.get(field) as u32;
        let missing = u64::from(capability.allowed_0 & !value);
        self.want_no(field, missing, "these reserved controls must be 1");
        let unknown = u64::from(value & !capability.allowed_1);
        self.want_no(field, unknown, "the CPU does not have these controls");
    }

    /// An MSR list: 16 bytes an entry.
    fn msr_list(&mut self, count: Field, address: Field) {
        let entries = self.get(count);
        if entries == 0 {
            return;
        }
        self.address(address, 0xF);
        let last = entries.checked_mul(16).and_then(|bytes| bytes.checked_add(self.get(address)));
        let last = last.and_then(|end| end.checked_sub(1));
        let holds = last.is_some_and(|last| last & self.beyond_physical() == 0);
        self.want(count, holds, "the list must end within the physical-address width");
    }
}
