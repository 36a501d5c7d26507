//! VM-execution control fields (27.2.1.1).

use super::{Check, Stage};
use crate::MemoryType;
use crate::vmx::{
    EntryControls, EptPointer, EptVpidCapability, ExitControls, Field, PinControls, ProcessorControls,
    SecondaryControls, TertiaryControls, VM_FUNCTION_EPTP_SWITCHING,
};

const NEEDS_EPT: &str = "\"enable EPT\" must be 1, another control needs it";

pub(super) fn check(check: &mut Check<'_>) {
    check.section(Stage::Controls, "27.2.1.1");
    words(check);
    nmi(check);
    bitmaps(check);
    apic(check);
    posted_interrupts(check);
    nested_paging(check);
    ept_features(check);
    others(check);
}

/// The control words against the capabilities, and CR3 targets.
fn words(check: &mut Check<'_>) {
    let capabilities = check.cpu.capabilities;
    check.control(Field::PIN_CONTROLS, capabilities.pin);
    check.control(Field::PROCESSOR_CONTROLS, capabilities.processor);
    if check.controls.processor.contains(ProcessorControls::ACTIVATE_SECONDARY_CONTROLS) {
        check.control(Field::SECONDARY_PROCESSOR_CONTROLS, capabilities.secondary);
    }
    if check.controls.processor.contains(ProcessorControls::ACTIVATE_TERTIARY_CONTROLS) {
        check.zero(Field::TERTIARY_PROCESSOR_CONTROLS, !capabilities.tertiary, "the CPU does not have these controls");
    }
    let targets = check.get(Field::CR3_TARGET_COUNT);
    let holds = targets <= u64::from(capabilities.misc.cr3_targets());
    check.want(Field::CR3_TARGET_COUNT, holds, "the CPU does not have that many CR3 targets");
}

fn nmi(check: &mut Check<'_>) {
    let pin = check.controls.pin;
    let virtual_nmis = pin.contains(PinControls::VIRTUAL_NMIS);
    let exiting = pin.contains(PinControls::NMI_EXITING);
    check.want(Field::PIN_CONTROLS, exiting || !virtual_nmis, "\"virtual NMIs\" needs \"NMI exiting\"");
    let window = check.controls.processor.contains(ProcessorControls::NMI_WINDOW_EXITING);
    check.want(Field::PROCESSOR_CONTROLS, virtual_nmis || !window, "\"NMI-window exiting\" needs \"virtual NMIs\"");
}

fn bitmaps(check: &mut Check<'_>) {
    if check.controls.processor.contains(ProcessorControls::USE_IO_BITMAPS) {
        check.page(Field::IO_BITMAP_A);
        check.page(Field::IO_BITMAP_B);
    }
    if check.controls.processor.contains(ProcessorControls::USE_MSR_BITMAPS) {
        check.page(Field::MSR_BITMAP);
    }
    if check.controls.secondary.contains(SecondaryControls::VMCS_SHADOWING) {
        check.page(Field::VMREAD_BITMAP_ADDRESS);
        check.page(Field::VMWRITE_BITMAP_ADDRESS);
    }
}

fn apic(check: &mut Check<'_>) {
    let secondary = check.controls.secondary;
    let delivery = secondary.contains(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY);
    if check.controls.processor.contains(ProcessorControls::USE_TPR_SHADOW) {
        check.page(Field::VIRTUAL_APIC_ADDRESS);
        if !delivery {
            check.zero(Field::TPR_THRESHOLD, 0xFFFF_FFF0, "bits 31:4 must be 0");
        }
    } else {
        let needing = SecondaryControls::VIRTUALIZE_X2APIC_MODE
            | SecondaryControls::APIC_REGISTER_VIRTUALIZATION
            | SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY;
        let wrong = u64::from((secondary & needing).bits());
        check.want_no(Field::SECONDARY_PROCESSOR_CONTROLS, wrong, "these controls need \"use TPR shadow\"");
    }
    if secondary.contains(SecondaryControls::VIRTUALIZE_APIC_ACCESSES) {
        check.page(Field::APIC_ACCESS_ADDRESS);
        let x2apic = secondary.contains(SecondaryControls::VIRTUALIZE_X2APIC_MODE);
        let rule = "\"virtualize x2APIC mode\" excludes \"virtualize APIC accesses\"";
        check.want(Field::SECONDARY_PROCESSOR_CONTROLS, !x2apic, rule);
    }
    let exiting = check.controls.pin.contains(PinControls::EXTERNAL_INTERRUPT_EXITING);
    let rule = "\"virtual-interrupt delivery\" needs \"external-interrupt exiting\"";
    check.want(Field::PIN_CONTROLS, exiting || !delivery, rule);
}

fn posted_interrupts(check: &mut Check<'_>) {
    if !check.controls.pin.contains(PinControls::PROCESS_POSTED_INTERRUPTS) {
        return;
    }
    let delivery = check.controls.secondary.contains(SecondaryControls::VIRTUAL_INTERRUPT_DELIVERY);
    check.want(Field::PIN_CONTROLS, delivery, "\"process posted interrupts\" needs \"virtual-interrupt delivery\"");
    let acknowledged = check.controls.exit.contains(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT);
    let rule = "\"process posted interrupts\" needs \"acknowledge interrupt on exit\"";
    check.want(Field::VM_EXIT_CONTROLS, acknowledged, rule);
    check.zero(Field::POSTED_INTERRUPT_NOTIFICATION_VECTOR, 0xFF00, "the vector must be 0 to 255");
    check.address(Field::POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, 0x3F);
}

fn nested_paging(check: &mut Check<'_>) {
    if check.controls.secondary.contains(SecondaryControls::ENABLE_VPID) {
        let vpid = check.get(Field::VIRTUAL_PROCESSOR_ID);
        check.want(Field::VIRTUAL_PROCESSOR_ID, vpid != 0, "0 is the host's");
    }
    if check.controls.secondary.contains(SecondaryControls::ENABLE_EPT) {
        ept_pointer(check);
    } else {
        let needing = SecondaryControls::UNRESTRICTED_GUEST
            | SecondaryControls::ENABLE_PML
            | SecondaryControls::MODE_BASED_EXECUTE_CONTROL_FOR_EPT
            | SecondaryControls::SUB_PAGE_WRITE_PERMISSIONS_FOR_EPT
            | SecondaryControls::PT_USES_GUEST_PHYSICAL_ADDRESSES;
        let wrong = u64::from((check.controls.secondary & needing).bits());
        check.want_no(Field::SECONDARY_PROCESSOR_CONTROLS, wrong, NEEDS_EPT);
        let needing = TertiaryControls::EPT_PAGING_WRITE_CONTROL | TertiaryControls::GUEST_PAGING_VERIFICATION;
        let wrong = (check.controls.tertiary & needing).bits();
        check.want_no(Field::TERTIARY_PROCESSOR_CONTROLS, wrong, NEEDS_EPT);
    }
}

fn ept_pointer(check: &mut Check<'_>) {
    let has = |bit| check.cpu.capabilities.ept_vpid.contains(bit);
    let pointer = EptPointer(check.get(Field::EPT_POINTER));
    let memory_type = match MemoryType::new(pointer.memory_type()) {
        Some(MemoryType::Uncacheable) => has(EptVpidCapability::UNCACHEABLE),
        Some(MemoryType::WriteBack) => has(EptVpidCapability::WRITE_BACK),
        _ => false,
    };
    let walk_length = match pointer.walk_length() {
        4 => has(EptVpidCapability::WALK_LENGTH_4),
        5 => has(EptVpidCapability::WALK_LENGTH_5),
        _ => false,
    };
    let accessed_dirty = has(EptVpidCapability::ACCESSED_DIRTY) || !pointer.has_accessed_dirty();
    let shadow_stack = has(EptVpidCapability::SUPERVISOR_SHADOW_STACK) || !pointer.has_supervisor_shadow_stack();
    let beyond = u64::MAX.checked_shl(u32::from(check.cpu.physical_bits)).unwrap_or(0);
    check.want(Field::EPT_POINTER, memory_type, "bits 2:0: the CPU does not have this memory type for tables");
    check.want(Field::EPT_POINTER, walk_length, "bits 5:3: the CPU does not have this walk length (3: four levels)");
    check.want(Field::EPT_POINTER, accessed_dirty, "bit 6: the CPU has no accessed and dirty flags in EPT");
    check.want(Field::EPT_POINTER, shadow_stack, "bit 7: the CPU has no supervisor shadow-stack control in EPT");
    check.want_no(Field::EPT_POINTER, pointer.reserved(), "reserved bits 11:8 must be 0");
    check.zero(Field::EPT_POINTER, beyond, "the address must be within the physical-address width");
}

fn ept_features(check: &mut Check<'_>) {
    let secondary = check.controls.secondary;
    if secondary.contains(SecondaryControls::ENABLE_PML) {
        check.page(Field::PML_ADDRESS);
    }
    if secondary.contains(SecondaryControls::EPT_VIOLATION_VE) {
        check.page(Field::VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS);
    }
    if secondary.contains(SecondaryControls::SUB_PAGE_WRITE_PERMISSIONS_FOR_EPT) {
        check.page(Field::SPP_TABLE_POINTER);
    }
    if secondary.contains(SecondaryControls::ENABLE_VM_FUNCTIONS) {
        let allowed = check.cpu.capabilities.vm_functions;
        check.zero(Field::VM_FUNCTION_CONTROLS, !allowed, "the CPU does not have these VM functions");
        if check.get(Field::VM_FUNCTION_CONTROLS) & VM_FUNCTION_EPTP_SWITCHING != 0 {
            let ept = secondary.contains(SecondaryControls::ENABLE_EPT);
            check.want(Field::SECONDARY_PROCESSOR_CONTROLS, ept, NEEDS_EPT);
            check.page(Field::EPTP_LIST_ADDRESS);
        }
    }
}

fn others(check: &mut Check<'_>) {
    if check.controls.secondary.contains(SecondaryControls::PT_USES_GUEST_PHYSICAL_ADDRESSES) {
        let load = check.controls.entry.contains(EntryControls::LOAD_RTIT_CTL);
        let clear = check.controls.exit.contains(ExitControls::CLEAR_RTIT_CTL);
        let rule = "\"Intel PT uses guest physical addresses\" needs this word's control of IA32_RTIT_CTL";
        check.want(Field::VM_ENTRY_CONTROLS, load, rule);
        check.want(Field::VM_EXIT_CONTROLS, clear, rule);
    }
    if check.controls.secondary.contains(SecondaryControls::USE_TSC_SCALING) {
        let multiplier = check.get(Field::TSC_MULTIPLIER);
        check.want(Field::TSC_MULTIPLIER, multiplier != 0, "the multiplier must not be 0");
    }
}
