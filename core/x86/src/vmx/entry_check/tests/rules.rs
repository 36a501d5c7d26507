//! Every rule by a state that breaks it and no other.

use super::*;
use crate::vmx::Field as F;
use Mode::{Compatibility, Halted, Long, Pae, Protected32, Real, Virtual8086};
use Stage::{Controls, GuestState, HostState};

/// What is laid over a field of a valid state by exclusive or, and the rule that is broken then, by its section and some
/// words of it.
type Row = (&'static [Mode], &'static [(Field, u64)], Stage, &'static str, Field, &'static str);

const ALL: &[Mode] = &Mode::ALL;
/// Modes with ordinary segments and protection.
const PROTECTED: &[Mode] = &[Protected32, Pae, Compatibility, Long];
const NOT_LONG: &[Mode] = &[Protected32, Pae, Virtual8086];
const LONG: &[Mode] = &[Long, Halted, Compatibility];
const INTERRUPTIBLE: &[Mode] = &[Compatibility, Long];

/// Bits of control words.
const POSTED: u64 = 1 << 7;
const TPR_SHADOW: u64 = 1 << 21;
const NON_CANONICAL: u64 = 1 << 62;
/// Interruption information.
const INTERRUPT: u64 = 0x8000_0020;
const NMI: u64 = 0x8000_0202;
const INFO: Field = F::VM_ENTRY_INTERRUPTION_INFORMATION;

#[rustfmt::skip]
const CONTROL_ROWS: &[Row] = &[
    (ALL, &[(F::PIN_CONTROLS, 1 << 1)], Controls, "27.2.1.1", F::PIN_CONTROLS, "must be 1"),
    (ALL, &[(F::PIN_CONTROLS, 1 << 9)], Controls, "27.2.1.1", F::PIN_CONTROLS, "does not have"),
    (ALL, &[(F::PROCESSOR_CONTROLS, 1 << 18)], Controls, "27.2.1.1", F::PROCESSOR_CONTROLS, "does not have"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 20)], Controls, "27.2.1.1", F::SECONDARY_PROCESSOR_CONTROLS, "does not have"),
    (ALL, &[(F::CR3_TARGET_COUNT, 5)], Controls, "27.2.1.1", F::CR3_TARGET_COUNT, "CR3 targets"),
    (ALL, &[(F::IO_BITMAP_A, 1)], Controls, "27.2.1.1", F::IO_BITMAP_A, "aligned"),
    (ALL, &[(F::IO_BITMAP_B, 1 << 39)], Controls, "27.2.1.1", F::IO_BITMAP_B, "physical-address width"),
    (ALL, &[(F::MSR_BITMAP, 0x800)], Controls, "27.2.1.1", F::MSR_BITMAP, "aligned"),
    (ALL, &[(F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::VIRTUAL_APIC_ADDRESS, 1)], Controls, "27.2.1.1", F::VIRTUAL_APIC_ADDRESS, "aligned"),
    (ALL, &[(F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::TPR_THRESHOLD, 0x10)], Controls, "27.2.1.1", F::TPR_THRESHOLD, "31:4"),
    (ALL, &[(F::PIN_CONTROLS, 1 << 3)], Controls, "27.2.1.1", F::PIN_CONTROLS, "NMI exiting"),
    (ALL, &[(F::PIN_CONTROLS, 1 << 5), (F::PROCESSOR_CONTROLS, 1 << 22)], Controls, "27.2.1.1", F::PROCESSOR_CONTROLS, "NMI-window"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1), (F::APIC_ACCESS_ADDRESS, 8)], Controls, "27.2.1.1", F::APIC_ACCESS_ADDRESS, "aligned"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 4)], Controls, "27.2.1.1", F::SECONDARY_PROCESSOR_CONTROLS, "TPR shadow"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 8)], Controls, "27.2.1.1", F::SECONDARY_PROCESSOR_CONTROLS, "TPR shadow"),
    (ALL, &[(F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::SECONDARY_PROCESSOR_CONTROLS, 1 << 4 | 1)], Controls, "27.2.1.1", F::SECONDARY_PROCESSOR_CONTROLS, "excludes"),
    (ALL, &[(F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::SECONDARY_PROCESSOR_CONTROLS, 1 << 9)], Controls, "27.2.1.1", F::PIN_CONTROLS, "external-interrupt"),
    (ALL, &[(F::PIN_CONTROLS, POSTED), (F::VM_EXIT_CONTROLS, 1 << 15)], Controls, "27.2.1.1", F::PIN_CONTROLS, "virtual-interrupt delivery"),
    (ALL, &[(F::PIN_CONTROLS, POSTED | 1), (F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::SECONDARY_PROCESSOR_CONTROLS, 1 << 9)],
        Controls, "27.2.1.1", F::VM_EXIT_CONTROLS, "acknowledge"),
    (ALL, &[(F::PIN_CONTROLS, POSTED | 1), (F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::SECONDARY_PROCESSOR_CONTROLS, 1 << 9),
        (F::VM_EXIT_CONTROLS, 1 << 15), (F::POSTED_INTERRUPT_NOTIFICATION_VECTOR, 0x100)],
        Controls, "27.2.1.1", F::POSTED_INTERRUPT_NOTIFICATION_VECTOR, "0 to 255"),
    (ALL, &[(F::PIN_CONTROLS, POSTED | 1), (F::PROCESSOR_CONTROLS, TPR_SHADOW), (F::SECONDARY_PROCESSOR_CONTROLS, 1 << 9),
        (F::VM_EXIT_CONTROLS, 1 << 15), (F::POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, 0x20)],
        Controls, "27.2.1.1", F::POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, "aligned"),
    (ALL, &[(F::VIRTUAL_PROCESSOR_ID, 1)], Controls, "27.2.1.1", F::VIRTUAL_PROCESSOR_ID, "host's"),
    (ALL, &[(F::EPT_POINTER, 4)], Controls, "27.2.1.1", F::EPT_POINTER, "memory type"),
    (ALL, &[(F::EPT_POINTER, 1 << 3)], Controls, "27.2.1.1", F::EPT_POINTER, "walk length"),
    (ALL, &[(F::EPT_POINTER, 1 << 7)], Controls, "27.2.1.1", F::EPT_POINTER, "shadow-stack"),
    (ALL, &[(F::EPT_POINTER, 1 << 8)], Controls, "27.2.1.1", F::EPT_POINTER, "11:8"),
    (ALL, &[(F::EPT_POINTER, 1 << 39)], Controls, "27.2.1.1", F::EPT_POINTER, "physical-address width"),
    (&[Long], &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 1 | 1 << 17), (F::PML_ADDRESS, 0)], Controls, "27.2.1.1", F::SECONDARY_PROCESSOR_CONTROLS, "enable EPT"),
    (&[Real], &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 1)], Controls, "27.2.1.1", F::SECONDARY_PROCESSOR_CONTROLS, "enable EPT"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 17), (F::PML_ADDRESS, 1)], Controls, "27.2.1.1", F::PML_ADDRESS, "aligned"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 13), (F::VM_FUNCTION_CONTROLS, 2)], Controls, "27.2.1.1", F::VM_FUNCTION_CONTROLS, "VM functions"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 13), (F::VM_FUNCTION_CONTROLS, 1), (F::EPTP_LIST_ADDRESS, 2)], Controls, "27.2.1.1", F::EPTP_LIST_ADDRESS, "aligned"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 14), (F::VMREAD_BITMAP_ADDRESS, 1)], Controls, "27.2.1.1", F::VMREAD_BITMAP_ADDRESS, "aligned"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 14), (F::VMWRITE_BITMAP_ADDRESS, 1 << 50)], Controls, "27.2.1.1", F::VMWRITE_BITMAP_ADDRESS, "width"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 18), (F::VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS, 1)],
        Controls, "27.2.1.1", F::VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS, "aligned"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 11)], Controls, "27.2.1.2", F::VM_EXIT_CONTROLS, "must be 1"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 23)], Controls, "27.2.1.2", F::VM_EXIT_CONTROLS, "does not have"),
    (ALL, &[(F::PIN_CONTROLS, 1 << 6), (F::VM_EXIT_CONTROLS, 1 << 22)], Controls, "27.2.1.2", F::VM_EXIT_CONTROLS, "preemption"),
    (ALL, &[(F::VM_EXIT_MSR_STORE_COUNT, 1), (F::VM_EXIT_MSR_STORE_ADDRESS, 8)], Controls, "27.2.1.2", F::VM_EXIT_MSR_STORE_ADDRESS, "aligned"),
    (ALL, &[(F::VM_EXIT_MSR_LOAD_COUNT, 2), (F::VM_EXIT_MSR_LOAD_ADDRESS, 0x7F_FFFF_FFF0)], Controls, "27.2.1.2", F::VM_EXIT_MSR_LOAD_COUNT, "end within"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 12)], Controls, "27.2.1.3", F::VM_ENTRY_CONTROLS, "must be 1"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 10)], Controls, "27.2.1.3", F::VM_ENTRY_CONTROLS, "SMM"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 25)], Controls, "27.2.1.3", F::VM_ENTRY_CONTROLS, "does not have"),
    (ALL, &[(F::VM_ENTRY_MSR_LOAD_COUNT, 1), (F::VM_ENTRY_MSR_LOAD_ADDRESS, 1)], Controls, "27.2.1.3", F::VM_ENTRY_MSR_LOAD_ADDRESS, "aligned"),
    (PROTECTED, &[(INFO, 0x8000_0120)], Controls, "27.2.1.3", INFO, "reserved"),
    (PROTECTED, &[(INFO, NMI ^ 1)], Controls, "27.2.1.3", INFO, "vector 2"),
    (PROTECTED, &[(INFO, 0x8000_0320)], Controls, "27.2.1.3", INFO, "below 32"),
    (PROTECTED, &[(INFO, 0x8000_0701)], Controls, "27.2.1.3", INFO, "vector 0"),
    (PROTECTED, &[(INFO, 0x8000_030D)], Controls, "27.2.1.3", INFO, "needs an error code"),
    (PROTECTED, &[(INFO, 0x8000_0B06)], Controls, "27.2.1.3", INFO, "has no error code"),
    (&[Real], &[(INFO, 0x8000_0B0D)], Controls, "27.2.1.3", INFO, "real mode"),
    (PROTECTED, &[(INFO, NMI | 1 << 12)], Controls, "27.2.1.3", INFO, "30:12"),
    (PROTECTED, &[(INFO, 0x8000_0B0E), (F::VM_ENTRY_EXCEPTION_ERROR_CODE, 1 << 16)], Controls, "27.2.1.3", F::VM_ENTRY_EXCEPTION_ERROR_CODE, "31:16"),
    (PROTECTED, &[(INFO, 0x8000_0480), (F::VM_ENTRY_INSTRUCTION_LENGTH, 16)], Controls, "27.2.1.3", F::VM_ENTRY_INSTRUCTION_LENGTH, "1 to 15"),
    (PROTECTED, &[(INFO, 0x8000_0603)], Controls, "27.2.1.3", F::VM_ENTRY_INSTRUCTION_LENGTH, "1 to 15"),
];

#[rustfmt::skip]
const HOST_ROWS: &[Row] = &[
    (ALL, &[(F::HOST_CR0, 1 << 5)], HostState, "27.2.2", F::HOST_CR0, "fixes"),
    (ALL, &[(F::HOST_CR0, 1 << 31)], HostState, "27.2.2", F::HOST_CR0, "fixes"),
    (ALL, &[(F::HOST_CR4, 1 << 13)], HostState, "27.2.2", F::HOST_CR4, "fixes"),
    (ALL, &[(F::HOST_CR4, 1 << 22)], HostState, "27.2.2", F::HOST_CR4, "fixes"),
    (ALL, &[(F::HOST_CR3, 1 << 39)], HostState, "27.2.2", F::HOST_CR3, "physical-address width"),
    (ALL, &[(F::HOST_SYSENTER_ESP, NON_CANONICAL)], HostState, "27.2.2", F::HOST_SYSENTER_ESP, "canonical"),
    (ALL, &[(F::HOST_SYSENTER_EIP, NON_CANONICAL)], HostState, "27.2.2", F::HOST_SYSENTER_EIP, "canonical"),
    (ALL, &[(F::HOST_PAT, 2 << 24)], HostState, "27.2.2", F::HOST_PAT, "each byte"),
    (ALL, &[(F::HOST_EFER, 1 << 10)], HostState, "27.2.2", F::HOST_EFER, "LMA and LME"),
    (ALL, &[(F::HOST_EFER, 1 << 8)], HostState, "27.2.2", F::HOST_EFER, "LMA and LME"),
    (ALL, &[(F::HOST_EFER, 1 << 12)], HostState, "27.2.2", F::HOST_EFER, "reserved"),
    (ALL, &[(F::HOST_CS_SELECTOR, 3)], HostState, "27.2.3", F::HOST_CS_SELECTOR, "RPL and TI"),
    (ALL, &[(F::HOST_GS_SELECTOR, 4)], HostState, "27.2.3", F::HOST_GS_SELECTOR, "RPL and TI"),
    (ALL, &[(F::HOST_CS_SELECTOR, 8)], HostState, "27.2.3", F::HOST_CS_SELECTOR, "not be 0"),
    (ALL, &[(F::HOST_TR_SELECTOR, 0x18)], HostState, "27.2.3", F::HOST_TR_SELECTOR, "not be 0"),
    (ALL, &[(F::HOST_FS_BASE, NON_CANONICAL)], HostState, "27.2.3", F::HOST_FS_BASE, "canonical"),
    (ALL, &[(F::HOST_TR_BASE, 1 << 47)], HostState, "27.2.3", F::HOST_TR_BASE, "canonical"),
    (ALL, &[(F::HOST_IDTR_BASE, NON_CANONICAL)], HostState, "27.2.3", F::HOST_IDTR_BASE, "canonical"),
    (ALL, &[(F::HOST_RIP, NON_CANONICAL)], HostState, "27.2.4", F::HOST_RIP, "canonical"),
    (ALL, &[(F::HOST_CR4, 1 << 5)], HostState, "27.2.4", F::HOST_CR4, "PAE"),
];

#[rustfmt::skip]
const REGISTER_ROWS: &[Row] = &[
    (ALL, &[(F::GUEST_CR0, 1 << 5)], GuestState, "27.3.1.1", F::GUEST_CR0, "fixes"),
    (ALL, &[(F::GUEST_CR0, 1 << 40)], GuestState, "27.3.1.1", F::GUEST_CR0, "fixes"),
    (&[Real], &[(F::GUEST_CR0, 1 << 31)], GuestState, "27.3.1.1", F::GUEST_CR0, "PG needs PE"),
    (ALL, &[(F::GUEST_CR4, 1 << 13)], GuestState, "27.3.1.1", F::GUEST_CR4, "fixes"),
    (ALL, &[(F::GUEST_CR4, 1 << 22)], GuestState, "27.3.1.1", F::GUEST_CR4, "fixes"),
    (LONG, &[(F::GUEST_CR4, 1 << 5)], GuestState, "27.3.1.1", F::GUEST_CR4, "PAE"),
    (&[Virtual8086], &[(F::GUEST_CR4, 1 << 17)], GuestState, "27.3.1.1", F::GUEST_CR4, "PCIDE"),
    (ALL, &[(F::GUEST_CR3, 1 << 39)], GuestState, "27.3.1.1", F::GUEST_CR3, "physical-address width"),
    (ALL, &[(F::GUEST_DEBUGCTL, 1 << 3)], GuestState, "27.3.1.1", F::GUEST_DEBUGCTL, "reserved"),
    (ALL, &[(F::GUEST_DR7, 1 << 32)], GuestState, "27.3.1.1", F::GUEST_DR7, "63:32"),
    (ALL, &[(F::GUEST_SYSENTER_ESP, 1 << 47)], GuestState, "27.3.1.1", F::GUEST_SYSENTER_ESP, "canonical"),
    (ALL, &[(F::GUEST_SYSENTER_EIP, NON_CANONICAL)], GuestState, "27.3.1.1", F::GUEST_SYSENTER_EIP, "canonical"),
    (ALL, &[(F::GUEST_PAT, 3 << 56)], GuestState, "27.3.1.1", F::GUEST_PAT, "each byte"),
    (ALL, &[(F::GUEST_EFER, 1 << 12)], GuestState, "27.3.1.1", F::GUEST_EFER, "reserved"),
    (LONG, &[(F::GUEST_EFER, 0x500)], GuestState, "27.3.1.1", F::GUEST_EFER, "IA-32e mode guest"),
    (NOT_LONG, &[(F::GUEST_EFER, 0x500)], GuestState, "27.3.1.1", F::GUEST_EFER, "IA-32e mode guest"),
    (LONG, &[(F::GUEST_EFER, 0x100)], GuestState, "27.3.1.1", F::GUEST_EFER, "LME"),
    (ALL, &[(F::GUEST_GDTR_BASE, NON_CANONICAL)], GuestState, "27.3.1.3", F::GUEST_GDTR_BASE, "canonical"),
    (ALL, &[(F::GUEST_IDTR_BASE, NON_CANONICAL)], GuestState, "27.3.1.3", F::GUEST_IDTR_BASE, "canonical"),
    (ALL, &[(F::GUEST_GDTR_LIMIT, 1 << 16)], GuestState, "27.3.1.3", F::GUEST_GDTR_LIMIT, "31:16"),
    (ALL, &[(F::GUEST_IDTR_LIMIT, 1 << 31)], GuestState, "27.3.1.3", F::GUEST_IDTR_LIMIT, "31:16"),
    (&[Pae], &[(F::GUEST_PDPTE0, 3)], GuestState, "27.3.1.6", F::GUEST_PDPTE0, "reserved"),
    (&[Pae], &[(F::GUEST_PDPTE3, 1 << 63 | 1)], GuestState, "27.3.1.6", F::GUEST_PDPTE3, "reserved"),
];

#[rustfmt::skip]
const SEGMENT_ROWS: &[Row] = &[
    (ALL, &[(F::GUEST_TR_SELECTOR, 4)], GuestState, "27.3.1.2", F::GUEST_TR_SELECTOR, "TI"),
    (ALL, &[(F::GUEST_LDTR_SELECTOR, 4)], GuestState, "27.3.1.2", F::GUEST_LDTR_SELECTOR, "TI"),
    (ALL, &[(F::GUEST_TR_BASE, NON_CANONICAL)], GuestState, "27.3.1.2", F::GUEST_TR_BASE, "canonical"),
    (ALL, &[(F::GUEST_LDTR_BASE, NON_CANONICAL)], GuestState, "27.3.1.2", F::GUEST_LDTR_BASE, "canonical"),
    (PROTECTED, &[(F::GUEST_FS_BASE, NON_CANONICAL)], GuestState, "27.3.1.2", F::GUEST_FS_BASE, "canonical"),
    (PROTECTED, &[(F::GUEST_CS_BASE, 1 << 32)], GuestState, "27.3.1.2", F::GUEST_CS_BASE, "63:32"),
    (PROTECTED, &[(F::GUEST_DS_BASE, 1 << 63)], GuestState, "27.3.1.2", F::GUEST_DS_BASE, "63:32"),
    (&[Virtual8086], &[(F::GUEST_ES_BASE, 0x10)], GuestState, "27.3.1.2", F::GUEST_ES_BASE, "16 times"),
    (&[Virtual8086], &[(F::GUEST_CS_LIMIT, 0x1_0000)], GuestState, "27.3.1.2", F::GUEST_CS_LIMIT, "0xffff"),
    (&[Virtual8086], &[(F::GUEST_GS_ACCESS_RIGHTS, 1 << 5)], GuestState, "27.3.1.2", F::GUEST_GS_ACCESS_RIGHTS, "0xf3"),
    (PROTECTED, &[(F::GUEST_CS_ACCESS_RIGHTS, 1)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "type of CS"),
    (PROTECTED, &[(F::GUEST_CS_ACCESS_RIGHTS, 8)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "unrestricted"),
    (PROTECTED, &[(F::GUEST_CS_ACCESS_RIGHTS, 3 << 5)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "that of SS"),
    (PROTECTED, &[(F::GUEST_CS_ACCESS_RIGHTS, 1 << 5 | 4)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "not be above"),
    (PROTECTED, &[(F::GUEST_CS_ACCESS_RIGHTS, 1 << 4)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "S (bit 4)"),
    (PROTECTED, &[(F::GUEST_DS_ACCESS_RIGHTS, 1 << 7)], GuestState, "27.3.1.2", F::GUEST_DS_ACCESS_RIGHTS, "P (bit 7)"),
    (PROTECTED, &[(F::GUEST_SS_ACCESS_RIGHTS, 1 << 9)], GuestState, "27.3.1.2", F::GUEST_SS_ACCESS_RIGHTS, "11:8"),
    (PROTECTED, &[(F::GUEST_CS_ACCESS_RIGHTS, 1 << 17)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "31:17"),
    (PROTECTED, &[(F::GUEST_ES_LIMIT, 1)], GuestState, "27.3.1.2", F::GUEST_ES_LIMIT, "11:0"),
    (PROTECTED, &[(F::GUEST_ES_ACCESS_RIGHTS, 1 << 15)], GuestState, "27.3.1.2", F::GUEST_ES_LIMIT, "31:20"),
    (&[Long], &[(F::GUEST_CS_ACCESS_RIGHTS, 1 << 14)], GuestState, "27.3.1.2", F::GUEST_CS_ACCESS_RIGHTS, "D must be 0"),
    (PROTECTED, &[(F::GUEST_CS_SELECTOR, 3)], GuestState, "27.3.1.2", F::GUEST_SS_SELECTOR, "RPL must be that of CS"),
    (PROTECTED, &[(F::GUEST_CS_SELECTOR, 1), (F::GUEST_SS_SELECTOR, 1)], GuestState, "27.3.1.2", F::GUEST_SS_ACCESS_RIGHTS, "RPL of the selector"),
    (PROTECTED, &[(F::GUEST_SS_ACCESS_RIGHTS, 2)], GuestState, "27.3.1.2", F::GUEST_SS_ACCESS_RIGHTS, "3 or 7"),
    (&[Real], &[(F::GUEST_SS_ACCESS_RIGHTS, 3 << 5), (F::GUEST_CS_ACCESS_RIGHTS, 3 << 5)], GuestState, "27.3.1.2", F::GUEST_SS_ACCESS_RIGHTS, "real mode"),
    (PROTECTED, &[(F::GUEST_DS_ACCESS_RIGHTS, 1)], GuestState, "27.3.1.2", F::GUEST_DS_ACCESS_RIGHTS, "accessed"),
    (PROTECTED, &[(F::GUEST_FS_ACCESS_RIGHTS, 8 | 2)], GuestState, "27.3.1.2", F::GUEST_FS_ACCESS_RIGHTS, "readable"),
    (PROTECTED, &[(F::GUEST_GS_SELECTOR, 3)], GuestState, "27.3.1.2", F::GUEST_GS_ACCESS_RIGHTS, "RPL of the selector"),
    (LONG, &[(F::GUEST_TR_ACCESS_RIGHTS, 8)], GuestState, "27.3.1.2", F::GUEST_TR_ACCESS_RIGHTS, "busy"),
    (ALL, &[(F::GUEST_TR_ACCESS_RIGHTS, 2)], GuestState, "27.3.1.2", F::GUEST_TR_ACCESS_RIGHTS, "busy"),
    (ALL, &[(F::GUEST_TR_ACCESS_RIGHTS, 1 << 16)], GuestState, "27.3.1.2", F::GUEST_TR_ACCESS_RIGHTS, "usable"),
    (ALL, &[(F::GUEST_TR_ACCESS_RIGHTS, 1 << 4)], GuestState, "27.3.1.2", F::GUEST_TR_ACCESS_RIGHTS, "S (bit 4)"),
    (ALL, &[(F::GUEST_TR_LIMIT, 1 << 20)], GuestState, "27.3.1.2", F::GUEST_TR_LIMIT, "31:20"),
    (ALL, &[(F::GUEST_LDTR_ACCESS_RIGHTS, 1)], GuestState, "27.3.1.2", F::GUEST_LDTR_ACCESS_RIGHTS, "2 (LDT)"),
    (ALL, &[(F::GUEST_LDTR_ACCESS_RIGHTS, 1 << 7)], GuestState, "27.3.1.2", F::GUEST_LDTR_ACCESS_RIGHTS, "P (bit 7)"),
];

#[rustfmt::skip]
const STATE_ROWS: &[Row] = &[
    (&[Long, Halted], &[(F::GUEST_RIP, 1 << 48)], GuestState, "27.3.1.4", F::GUEST_RIP, "the same"),
    (&[Real, Protected32, Pae, Compatibility], &[(F::GUEST_RIP, 1 << 32)], GuestState, "27.3.1.4", F::GUEST_RIP, "63:32"),
    (ALL, &[(F::GUEST_RFLAGS, 2)], GuestState, "27.3.1.4", F::GUEST_RFLAGS, "bit 1"),
    (ALL, &[(F::GUEST_RFLAGS, 1 << 22)], GuestState, "27.3.1.4", F::GUEST_RFLAGS, "reserved"),
    (ALL, &[(F::GUEST_RFLAGS, 1 << 15)], GuestState, "27.3.1.4", F::GUEST_RFLAGS, "reserved"),
    (&[Protected32, Pae, Real], &[(INFO, INTERRUPT)], GuestState, "27.3.1.4", F::GUEST_RFLAGS, "IF must be 1"),
    (ALL, &[(F::GUEST_ACTIVITY_STATE, 4)], GuestState, "27.3.1.5", F::GUEST_ACTIVITY_STATE, "0 to 3"),
    (&[Virtual8086], &[(F::GUEST_ACTIVITY_STATE, 1)], GuestState, "27.3.1.5", F::GUEST_ACTIVITY_STATE, "DPL 0"),
    (INTERRUPTIBLE, &[(F::GUEST_ACTIVITY_STATE, 2), (F::GUEST_INTERRUPTIBILITY_STATE, 1)], GuestState, "27.3.1.5", F::GUEST_ACTIVITY_STATE, "active"),
    (&[Halted], &[(INFO, 0x8000_0306)], GuestState, "27.3.1.5", F::GUEST_ACTIVITY_STATE, "wake"),
    (&[Long], &[(F::GUEST_ACTIVITY_STATE, 2), (INFO, INTERRUPT)], GuestState, "27.3.1.5", F::GUEST_ACTIVITY_STATE, "wake"),
    (&[Long], &[(F::GUEST_ACTIVITY_STATE, 3), (INFO, NMI)], GuestState, "27.3.1.5", F::GUEST_ACTIVITY_STATE, "wake"),
    (ALL, &[(F::GUEST_INTERRUPTIBILITY_STATE, 1 << 5)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "31:5"),
    (INTERRUPTIBLE, &[(F::GUEST_INTERRUPTIBILITY_STATE, 3)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "exclude each other"),
    (&[Real, Pae], &[(F::GUEST_INTERRUPTIBILITY_STATE, 1)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "needs RFLAGS.IF"),
    (INTERRUPTIBLE, &[(F::GUEST_INTERRUPTIBILITY_STATE, 1), (INFO, INTERRUPT)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "blocked"),
    (INTERRUPTIBLE, &[(F::GUEST_INTERRUPTIBILITY_STATE, 2), (INFO, NMI)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "blocked"),
    (INTERRUPTIBLE, &[(F::GUEST_INTERRUPTIBILITY_STATE, 1), (INFO, NMI)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "blocked"),
    (ALL, &[(F::GUEST_INTERRUPTIBILITY_STATE, 8), (INFO, NMI)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "blocked"),
    (ALL, &[(F::GUEST_INTERRUPTIBILITY_STATE, 4)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "SMI"),
    (ALL, &[(F::GUEST_INTERRUPTIBILITY_STATE, 16)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "SGX"),
    (ALL, &[(F::GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 4)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "reserved"),
    (ALL, &[(F::GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 11)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "reserved"),
    (&[Halted], &[(F::GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 14)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "BS"),
    (INTERRUPTIBLE, &[(F::GUEST_INTERRUPTIBILITY_STATE, 2), (F::GUEST_RFLAGS, 1 << 8)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "BS"),
    (INTERRUPTIBLE, &[(F::GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 16 | 1 << 12)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "no RTM"),
    (ALL, &[(F::VMCS_LINK_POINTER, 0xFFF)], GuestState, "27.3.1.5", F::VMCS_LINK_POINTER, "width"),
];

/// On a CPU with everything.
#[rustfmt::skip]
const NEWEST_ROWS: &[Row] = &[
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 28), (F::HOST_SSP, 1)], HostState, "27.2.2", F::HOST_SSP, "1:0"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 28), (F::HOST_S_CET, 1 << 6)], HostState, "27.2.2", F::HOST_S_CET, "9:6"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 28), (F::HOST_INTERRUPT_SSP_TABLE_ADDR, NON_CANONICAL)], HostState, "27.2.2", F::HOST_INTERRUPT_SSP_TABLE_ADDR, "canonical"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 28), (F::HOST_SSP, NON_CANONICAL)], HostState, "27.2.4", F::HOST_SSP, "canonical"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 29), (F::HOST_PKRS, 1 << 32)], HostState, "27.2.2", F::HOST_PKRS, "63:32"),
    (ALL, &[(F::HOST_CR4, 1 << 23)], HostState, "27.2.2", F::HOST_CR4, "CET needs"),
    (ALL, &[(F::GUEST_CR4, 1 << 23)], GuestState, "27.3.1.1", F::GUEST_CR4, "CET needs"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 16), (F::GUEST_BNDCFGS, 4)], GuestState, "27.3.1.1", F::GUEST_BNDCFGS, "11:2"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 20), (F::GUEST_S_CET, 0xC00)], GuestState, "27.3.1.1", F::GUEST_S_CET, "TRACKER"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 20), (F::GUEST_SSP, 2)], GuestState, "27.3.1.4", F::GUEST_SSP, "1:0"),
    (&[Real, Compatibility], &[(F::VM_ENTRY_CONTROLS, 1 << 20), (F::GUEST_SSP, 1 << 32)], GuestState, "27.3.1.4", F::GUEST_SSP, "63:32"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 22), (F::GUEST_PKRS, 1 << 32)], GuestState, "27.3.1.1", F::GUEST_PKRS, "63:32"),
    (ALL, &[(F::VM_ENTRY_CONTROLS, 1 << 19), (F::GUEST_UINV, 1 << 8)], GuestState, "27.3.1.1", F::GUEST_UINV, "15:8"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 25), (F::TSC_MULTIPLIER, 1 << 48)], Controls, "27.2.1.1", F::TSC_MULTIPLIER, "not be 0"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 23), (F::SPP_TABLE_POINTER, 1)], Controls, "27.2.1.1", F::SPP_TABLE_POINTER, "aligned"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 24), (F::VM_ENTRY_CONTROLS, 1 << 18)], Controls, "27.2.1.1", F::VM_EXIT_CONTROLS, "IA32_RTIT_CTL"),
    (ALL, &[(F::SECONDARY_PROCESSOR_CONTROLS, 1 << 24), (F::VM_EXIT_CONTROLS, 1 << 25)], Controls, "27.2.1.1", F::VM_ENTRY_CONTROLS, "IA32_RTIT_CTL"),
    (ALL, &[(F::VM_EXIT_CONTROLS, 1 << 31), (F::SECONDARY_VM_EXIT_CONTROLS, 8)], Controls, "27.2.1.2", F::SECONDARY_VM_EXIT_CONTROLS, "does not have"),
    (INTERRUPTIBLE, &[(F::GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 16)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "bit 12"),
    (INTERRUPTIBLE, &[(F::GUEST_PENDING_DEBUG_EXCEPTIONS, 1 << 16 | 1 << 12 | 1)], GuestState, "27.3.1.5", F::GUEST_PENDING_DEBUG_EXCEPTIONS, "all bits but 12"),
    (INTERRUPTIBLE, &[(F::GUEST_INTERRUPTIBILITY_STATE, 0x12)], GuestState, "27.3.1.5", F::GUEST_INTERRUPTIBILITY_STATE, "excludes"),
];

/// The valid state of a mode with the row's changes reports the row's rule and nothing else.
fn judge(cpu: &Cpu, rows: &[Row]) {
    for (modes, changes, stage, section, field, words) in rows {
        for mode in *modes {
            let mut sample = valid(cpu, *mode, false, 0x5000).unwrap();
            for (changed, bits) in *changes {
                sample.set(*changed, sample.get(*changed) ^ bits);
            }
            let broken = report(cpu, &sample);
            let lines: Vec<_> = broken.iter().map(ToString::to_string).collect();
            assert_eq!(broken.len(), 1, "{mode:?} {changes:x?}: {lines:#?}");
            assert_eq!((broken[0].stage, broken[0].section, broken[0].field), (*stage, *section, *field), "{lines:?}");
            assert!(broken[0].rule.contains(words), "{mode:?}: {words} is not in {lines:?}");
        }
    }
}

#[test]
fn a_broken_control_is_told_by_its_rule() {
    judge(&haswell(), CONTROL_ROWS);
}

#[test]
fn broken_host_state_is_told_by_its_rule() {
    judge(&haswell(), HOST_ROWS);
}

#[test]
fn a_broken_guest_register_is_told_by_its_rule() {
    judge(&haswell(), REGISTER_ROWS);
}

#[test]
fn a_broken_guest_segment_is_told_by_its_rule() {
    judge(&haswell(), SEGMENT_ROWS);
}

#[test]
fn other_broken_guest_state_is_told_by_its_rule() {
    judge(&haswell(), STATE_ROWS);
}

#[test]
fn rules_of_new_features_are_told() {
    judge(&newest(), NEWEST_ROWS);
}

#[test]
fn a_wrong_address_space_size_is_told() {
    let cpu = haswell();
    let mut sample = valid(&cpu, Protected32, false, 0x5000).unwrap();
    sample.set(F::VM_EXIT_CONTROLS, sample.get(F::VM_EXIT_CONTROLS) & !(1 << 9));
    let fields: Vec<_> = report(&cpu, &sample).iter().map(|broken| (broken.section, broken.field)).collect();
    let expected = [
        ("27.2.2", F::HOST_EFER),
        ("27.2.3", F::HOST_SS_SELECTOR),
        ("27.2.4", F::VM_EXIT_CONTROLS),
        ("27.2.4", F::HOST_RIP),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn unusable_segments_may_hold_anything_else() {
    let cpu = haswell();
    for mode in [Protected32, Pae, Compatibility, Long] {
        let mut sample = valid(&cpu, mode, false, 0x5000).unwrap();
        for rights in [
            F::GUEST_DS_ACCESS_RIGHTS,
            F::GUEST_ES_ACCESS_RIGHTS,
            F::GUEST_GS_ACCESS_RIGHTS,
            F::GUEST_LDTR_ACCESS_RIGHTS,
        ] {
            sample.set(rights, 1 << 16);
        }
        sample.set(F::GUEST_DS_BASE, u64::MAX);
        sample.set(F::GUEST_LDTR_SELECTOR, 0xFFFF);
        assert_eq!(report(&cpu, &sample), [], "{mode:?}");
    }
}

#[test]
fn unrestricted_guests_may_have_data_in_cs_and_any_rpl() {
    let cpu = haswell();
    let mut sample = valid(&cpu, Protected32, true, 0x5000).unwrap();
    sample.set(F::GUEST_CS_ACCESS_RIGHTS, 0xC093);
    sample.set(F::GUEST_CS_SELECTOR, 0x13);
    sample.set(F::GUEST_DS_SELECTOR, 0x13);
    assert_eq!(report(&cpu, &sample), []);
}
