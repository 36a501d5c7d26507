//! Host state (27.2.2 to 27.2.4).

use super::{Check, Stage};
use crate::msr::Efer;
use crate::vmx::{ExitControls, Field};

const CR0_WP: u64 = 1 << 16;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_CET: u64 = 1 << 23;
/// Bits of EFER that Intel's CPUs have.
pub(super) const EFER_BITS: u64 = Efer::SCE.bits() | Efer::LME.bits() | Efer::LMA.bits() | Efer::NXE.bits();

pub(super) fn check(check: &mut Check<'_>) {
    control_registers(check);
    msrs(check);
    segments(check);
    address_space(check);
}

fn control_registers(check: &mut Check<'_>) {
    check.section(Stage::HostState, "27.2.2");
    let (cr0, cr4) = (check.get(Field::HOST_CR0), check.get(Field::HOST_CR4));
    let capabilities = check.cpu.capabilities;
    check.want_no(Field::HOST_CR0, capabilities.cr0.broken(cr0), "VMX operation fixes these bits otherwise");
    check.want_no(Field::HOST_CR4, capabilities.cr4.broken(cr4), "VMX operation fixes these bits otherwise");
    check.want(Field::HOST_CR4, cr4 & CR4_CET == 0 || cr0 & CR0_WP != 0, "CET needs CR0.WP");
    check.cr3(Field::HOST_CR3);
}

fn msrs(check: &mut Check<'_>) {
    check.canonical(Field::HOST_SYSENTER_ESP);
    check.canonical(Field::HOST_SYSENTER_EIP);
    let exit = check.controls.exit;
    if exit.contains(ExitControls::LOAD_PAT) {
        check.pat(Field::HOST_PAT);
    }
    if exit.contains(ExitControls::LOAD_EFER) {
        check.zero(Field::HOST_EFER, !EFER_BITS, "reserved bits must be 0");
        let efer = Efer::from_bits_retain(check.get(Field::HOST_EFER));
        let wanted =
            if exit.contains(ExitControls::HOST_ADDRESS_SPACE_SIZE) { Efer::LMA | Efer::LME } else { Efer::empty() };
        let wrong = (efer & (Efer::LMA | Efer::LME)) ^ wanted;
        check.want_no(Field::HOST_EFER, wrong.bits(), "LMA and LME must be as \"host address-space size\"");
    }
    if exit.contains(ExitControls::LOAD_CET_STATE) {
        check.cet(Field::HOST_S_CET, Field::HOST_INTERRUPT_SSP_TABLE_ADDR);
        check.zero(Field::HOST_SSP, 3, "bits 1:0 must be 0");
    }
    if exit.contains(ExitControls::LOAD_PKRS) {
        check.zero(Field::HOST_PKRS, u64::MAX << 32, "bits 63:32 must be 0");
    }
}

fn segments(check: &mut Check<'_>) {
    check.section(Stage::HostState, "27.2.3");
    for selector in [
        Field::HOST_ES_SELECTOR,
        Field::HOST_CS_SELECTOR,
        Field::HOST_SS_SELECTOR,
        Field::HOST_DS_SELECTOR,
        Field::HOST_FS_SELECTOR,
        Field::HOST_GS_SELECTOR,
        Field::HOST_TR_SELECTOR,
    ] {
        check.zero(selector, 7, "RPL and TI must be 0");
    }
    let not_null = |check: &mut Check<'_>, selector| {
        let value = check.get(selector);
        check.want(selector, value != 0, "the selector must not be 0");
    };
    not_null(check, Field::HOST_CS_SELECTOR);
    not_null(check, Field::HOST_TR_SELECTOR);
    if !check.controls.exit.contains(ExitControls::HOST_ADDRESS_SPACE_SIZE) {
        not_null(check, Field::HOST_SS_SELECTOR);
    }
    for base in
        [Field::HOST_FS_BASE, Field::HOST_GS_BASE, Field::HOST_TR_BASE, Field::HOST_GDTR_BASE, Field::HOST_IDTR_BASE]
    {
        check.canonical(base);
    }
}

fn address_space(check: &mut Check<'_>) {
    check.section(Stage::HostState, "27.2.4");
    let host_64 = check.controls.exit.contains(ExitControls::HOST_ADDRESS_SPACE_SIZE);
    let guest_64 = check.controls.long_mode_guest();
    let rule = "\"host address-space size\" must be as IA-32e mode is now";
    check.want(Field::VM_EXIT_CONTROLS, host_64 == check.cpu.long_mode, rule);
    let rule = "\"IA-32e mode guest\" needs a host in IA-32e mode";
    check.want(Field::VM_ENTRY_CONTROLS, !guest_64 || host_64 && check.cpu.long_mode, rule);
    let cr4 = check.get(Field::HOST_CR4);
    if host_64 {
        check.want_no(Field::HOST_CR4, !cr4 & CR4_PAE, "a 64-bit host needs PAE");
        check.canonical(Field::HOST_RIP);
        if check.controls.exit.contains(ExitControls::LOAD_CET_STATE) {
            check.canonical(Field::HOST_SSP);
        }
    } else {
        check.want_no(Field::HOST_CR4, cr4 & CR4_PCIDE, "a 32-bit host has no PCIDE");
        check.zero(Field::HOST_RIP, u64::MAX << 32, "a 32-bit host needs bits 63:32 to be 0");
        if check.controls.exit.contains(ExitControls::LOAD_CET_STATE) {
            check.zero(Field::HOST_SSP, u64::MAX << 32, "a 32-bit host needs bits 63:32 to be 0");
        }
    }
}
