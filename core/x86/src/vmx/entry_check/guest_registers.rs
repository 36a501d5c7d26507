//! Guest control registers, debug registers and MSRs, descriptor-table registers and PDPTEs (27.3.1.1, 27.3.1.3, 27.3.1.6).

use super::host::EFER_BITS;
use super::{Check, Stage};
use crate::msr::Efer;
use crate::vmx::{EntryControls, Field, SecondaryControls};

const CR0_PE: u64 = 1 << 0;
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_CET: u64 = 1 << 23;
/// IA32_DEBUGCTL: bits 5:3 and 63:16; bit 2 is bus-lock detection (SDM Vol. 4, table 2-2).
const DEBUGCTL_RESERVED: u64 = !0xFFC7;
const DEBUGCTL_BUS_LOCK: u64 = 1 << 2;

pub(super) fn check(check: &mut Check<'_>) {
    check.section(Stage::GuestState, "27.3.1.1");
    control_registers(check);
    debug(check);
    check.canonical(Field::GUEST_SYSENTER_ESP);
    check.canonical(Field::GUEST_SYSENTER_EIP);
    loaded_msrs(check);
    efer(check);
    check.section(Stage::GuestState, "27.3.1.3");
    for base in [Field::GUEST_GDTR_BASE, Field::GUEST_IDTR_BASE] {
        check.canonical(base);
    }
    for limit in [Field::GUEST_GDTR_LIMIT, Field::GUEST_IDTR_LIMIT] {
        check.zero(limit, 0xFFFF_0000, "bits 31:16 must be 0");
    }
    pdptes(check);
}

fn control_registers(check: &mut Check<'_>) {
    let (cr0, cr4) = (check.get(Field::GUEST_CR0), check.get(Field::GUEST_CR4));
    let mut fixed = check.cpu.capabilities.cr0;
    if check.controls.unrestricted() {
        fixed.ones &= !(CR0_PE | CR0_PG);
    }
    check.want_no(Field::GUEST_CR0, fixed.broken(cr0), "VMX operation fixes these bits otherwise");
    check.want(Field::GUEST_CR0, cr0 & CR0_PG == 0 || cr0 & CR0_PE != 0, "PG needs PE");
    let fixed = check.cpu.capabilities.cr4;
    check.want_no(Field::GUEST_CR4, fixed.broken(cr4), "VMX operation fixes these bits otherwise");
    check.want(Field::GUEST_CR4, cr4 & CR4_CET == 0 || cr0 & CR0_WP != 0, "CET needs CR0.WP");
    if check.controls.long_mode_guest() {
        check.want_no(Field::GUEST_CR0, !cr0 & CR0_PG, "an IA-32e mode guest needs PG");
        check.want_no(Field::GUEST_CR4, !cr4 & CR4_PAE, "an IA-32e mode guest needs PAE");
    } else {
        check.want_no(Field::GUEST_CR4, cr4 & CR4_PCIDE, "PCIDE needs an IA-32e mode guest");
    }
    check.cr3(Field::GUEST_CR3);
}

fn debug(check: &mut Check<'_>) {
    if !check.controls.entry.contains(EntryControls::LOAD_DEBUG_CONTROLS) {
        return;
    }
    let bus_lock = if check.cpu.bus_lock_detection { 0 } else { DEBUGCTL_BUS_LOCK };
    check.zero(Field::GUEST_DEBUGCTL, DEBUGCTL_RESERVED | bus_lock, "reserved bits must be 0");
    check.zero(Field::GUEST_DR7, u64::MAX << 32, "bits 63:32 must be 0");
}

fn loaded_msrs(check: &mut Check<'_>) {
    let entry = check.controls.entry;
    if entry.contains(EntryControls::LOAD_PAT) {
        check.pat(Field::GUEST_PAT);
    }
    if entry.contains(EntryControls::LOAD_BNDCFGS) {
        check.zero(Field::GUEST_BNDCFGS, 0xFFC, "reserved bits 11:2 must be 0");
        check.canonical(Field::GUEST_BNDCFGS);
    }
    if entry.contains(EntryControls::LOAD_CET_STATE) {
        check.cet(Field::GUEST_S_CET, Field::GUEST_INTERRUPT_SSP_TABLE_ADDR);
    }
    if entry.contains(EntryControls::LOAD_PKRS) {
        check.zero(Field::GUEST_PKRS, u64::MAX << 32, "bits 63:32 must be 0");
    }
    if entry.contains(EntryControls::LOAD_UINV) {
        check.zero(Field::GUEST_UINV, 0xFF00, "bits 15:8 must be 0");
    }
}

fn efer(check: &mut Check<'_>) {
    if !check.controls.entry.contains(EntryControls::LOAD_EFER) {
        return;
    }
    check.zero(Field::GUEST_EFER, !EFER_BITS, "reserved bits must be 0");
    let efer = Efer::from_bits_retain(check.get(Field::GUEST_EFER));
    let lma = efer.contains(Efer::LMA);
    check.want(Field::GUEST_EFER, lma == check.controls.long_mode_guest(), "LMA must be as \"IA-32e mode guest\"");
    let paging = check.get(Field::GUEST_CR0) & CR0_PG != 0;
    check.want(Field::GUEST_EFER, !paging || lma == efer.contains(Efer::LME), "with PG, LMA must be as LME");
}

/// With EPT they are fields of the VMCS.
fn pdptes(check: &mut Check<'_>) {
    check.section(Stage::GuestState, "27.3.1.6");
    let paging = check.get(Field::GUEST_CR0) & CR0_PG != 0;
    let pae = check.get(Field::GUEST_CR4) & CR4_PAE != 0 && !check.controls.long_mode_guest();
    if !(paging && pae && check.controls.secondary.contains(SecondaryControls::ENABLE_EPT)) {
        return;
    }
    let reserved = u64::MAX.checked_shl(u32::from(check.cpu.physical_bits)).unwrap_or(0) | 0x1E6;
    for entry in [Field::GUEST_PDPTE0, Field::GUEST_PDPTE1, Field::GUEST_PDPTE2, Field::GUEST_PDPTE3] {
        if check.get(entry) & 1 != 0 {
            check.zero(entry, reserved, "reserved bits of a present entry must be 0");
        }
    }
}
