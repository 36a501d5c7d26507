//! Guest segment registers (27.3.1.2).

use super::{Check, Stage};
use crate::vmx::{AccessRights, Field};

/// The four fields of a segment register.
#[derive(Clone, Copy)]
struct Register {
    selector: Field,
    base: Field,
    limit: Field,
    rights: Field,
}

macro_rules! register {
    ($selector:ident, $base:ident, $limit:ident, $rights:ident) => {
        Register { selector: Field::$selector, base: Field::$base, limit: Field::$limit, rights: Field::$rights }
    };
}

const CS: Register = register!(GUEST_CS_SELECTOR, GUEST_CS_BASE, GUEST_CS_LIMIT, GUEST_CS_ACCESS_RIGHTS);
const SS: Register = register!(GUEST_SS_SELECTOR, GUEST_SS_BASE, GUEST_SS_LIMIT, GUEST_SS_ACCESS_RIGHTS);
const DS: Register = register!(GUEST_DS_SELECTOR, GUEST_DS_BASE, GUEST_DS_LIMIT, GUEST_DS_ACCESS_RIGHTS);
const ES: Register = register!(GUEST_ES_SELECTOR, GUEST_ES_BASE, GUEST_ES_LIMIT, GUEST_ES_ACCESS_RIGHTS);
const FS: Register = register!(GUEST_FS_SELECTOR, GUEST_FS_BASE, GUEST_FS_LIMIT, GUEST_FS_ACCESS_RIGHTS);
const GS: Register = register!(GUEST_GS_SELECTOR, GUEST_GS_BASE, GUEST_GS_LIMIT, GUEST_GS_ACCESS_RIGHTS);
const LDTR: Register = register!(GUEST_LDTR_SELECTOR, GUEST_LDTR_BASE, GUEST_LDTR_LIMIT, GUEST_LDTR_ACCESS_RIGHTS);
const TR: Register = register!(GUEST_TR_SELECTOR, GUEST_TR_BASE, GUEST_TR_LIMIT, GUEST_TR_ACCESS_RIGHTS);

const TI: u64 = 1 << 2;
const RPL: u64 = 3;
const CR0_PE: u64 = 1 << 0;
const RFLAGS_VM: u64 = 1 << 17;

pub(super) fn check(check: &mut Check<'_>) {
    check.section(Stage::GuestState, "27.3.1.2");
    let virtual_8086 = check.get(Field::GUEST_RFLAGS) & RFLAGS_VM != 0;
    bases(check);
    if virtual_8086 {
        [CS, SS, DS, ES, FS, GS].into_iter().for_each(|register| virtual_8086_segment(check, register));
    } else {
        code(check);
        stack(check);
        [DS, ES, FS, GS].into_iter().for_each(|register| data(check, register));
    }
    tr(check);
    ldtr(check);
}

impl Check<'_> {
    fn rights(&self, register: Register) -> AccessRights {
        AccessRights::from_bits_retain(self.get(register.rights) as u32)
    }

    fn selector_rpl(&self, register: Register) -> u8 {
        (self.get(register.selector) & RPL) as u8
    }

    /// What holds for every usable segment: S, P, reserved bits, granularity and limit.
    fn descriptor(&mut self, register: Register, code_or_data: bool) {
        let rights = self.rights(register);
        let s = rights.contains(AccessRights::S) == code_or_data;
        self.want(register.rights, s, "S (bit 4) must be 1 for code and data, 0 for LDTR and TR");
        self.want(register.rights, rights.contains(AccessRights::PRESENT), "P (bit 7) must be 1");
        self.zero(register.rights, u64::from(AccessRights::RESERVED), "reserved bits 11:8 and 31:17 must be 0");
        let limit = self.get(register.limit);
        if rights.contains(AccessRights::GRANULARITY) {
            self.want(register.limit, limit & 0xFFF == 0xFFF, "bits 11:0 must be 1 with G");
        } else {
            self.zero(register.limit, 0xFFF0_0000, "bits 31:20 must be 0 without G");
        }
    }
}

fn bases(check: &mut Check<'_>) {
    check.zero(TR.selector, TI, "TI must be 0");
    check.canonical(TR.base);
    check.canonical(FS.base);
    check.canonical(GS.base);
    if check.rights(LDTR).is_usable() {
        check.zero(LDTR.selector, TI, "TI must be 0");
        check.canonical(LDTR.base);
    }
    check.zero(CS.base, u64::MAX << 32, "bits 63:32 must be 0");
    for register in [SS, DS, ES] {
        if check.rights(register).is_usable() {
            check.zero(register.base, u64::MAX << 32, "bits 63:32 must be 0");
        }
    }
}

fn virtual_8086_segment(check: &mut Check<'_>, register: Register) {
    let base = check.get(register.selector) << 4;
    check.want(
        register.base,
        check.get(register.base) == base,
        "in virtual-8086 mode the base is 16 times the selector",
    );
    check.want(register.limit, check.get(register.limit) == 0xFFFF, "in virtual-8086 mode the limit is 0xffff");
    let rights = check.rights(register) == AccessRights::VIRTUAL_8086;
    check.want(register.rights, rights, "in virtual-8086 mode the access rights are 0xf3");
}

fn code(check: &mut Check<'_>) {
    let rights = check.rights(CS);
    let stack_dpl = check.rights(SS).dpl();
    match rights.segment_type() {
        3 => {
            let unrestricted = check.controls.unrestricted();
            check.want(CS.rights, unrestricted, "type 3 (data) in CS needs \"unrestricted guest\"");
            check.want(CS.rights, rights.dpl() == 0, "type 3 (data) in CS needs DPL 0");
        }
        9 | 11 => check.want(CS.rights, rights.dpl() == stack_dpl, "DPL of non-conforming code must be that of SS"),
        13 | 15 => {
            check.want(CS.rights, rights.dpl() <= stack_dpl, "DPL of conforming code must not be above that of SS")
        }
        _ => check.want(CS.rights, false, "the type of CS must be 9, 11, 13, 15 (accessed code) or 3"),
    }
    check.descriptor(CS, true);
    let both = rights.contains(AccessRights::LONG | AccessRights::DEFAULT_32);
    check.want(CS.rights, !(both && check.controls.long_mode_guest()), "D must be 0 with L in IA-32e mode");
}

fn stack(check: &mut Check<'_>) {
    let rights = check.rights(SS);
    if !check.controls.unrestricted() {
        let rpl = check.selector_rpl(SS);
        check.want(SS.selector, rpl == check.selector_rpl(CS), "RPL must be that of CS");
        check.want(SS.rights, rights.dpl() == rpl, "DPL must be RPL of the selector");
    }
    let ring_0 = check.rights(CS).segment_type() == 3 || check.get(Field::GUEST_CR0) & CR0_PE == 0;
    check.want(SS.rights, !ring_0 || rights.dpl() == 0, "DPL must be 0 in real mode and with type 3 in CS");
    if rights.is_usable() {
        check.want(SS.rights, matches!(rights.segment_type(), 3 | 7), "the type of SS must be 3 or 7 (writable data)");
        check.descriptor(SS, true);
    }
}

fn data(check: &mut Check<'_>, register: Register) {
    let rights = check.rights(register);
    if !rights.is_usable() {
        return;
    }
    check.want(register.rights, rights.contains(AccessRights::ACCESSED), "the type must be accessed");
    let readable = !rights.contains(AccessRights::CODE) || rights.contains(AccessRights::WRITABLE_OR_READABLE);
    check.want(register.rights, readable, "code in a data segment register must be readable");
    let conforming = rights.segment_type() > 11;
    let holds = check.controls.unrestricted() || conforming || rights.dpl() >= check.selector_rpl(register);
    check.want(register.rights, holds, "DPL must not be below RPL of the selector");
    check.descriptor(register, true);
}

fn tr(check: &mut Check<'_>) {
    let rights = check.rights(TR);
    let busy_16 = rights.segment_type() == 3 && !check.controls.long_mode_guest();
    let rule = "the type of TR must be 11 (busy TSS), or 3 outside of IA-32e mode";
    check.want(TR.rights, busy_16 || rights.segment_type() == 11, rule);
    check.want(TR.rights, rights.is_usable(), "TR must be usable (bit 16)");
    check.descriptor(TR, false);
}

fn ldtr(check: &mut Check<'_>) {
    let rights = check.rights(LDTR);
    if rights.is_usable() {
        check.want(LDTR.rights, rights.segment_type() == 2, "the type of LDTR must be 2 (LDT)");
        check.descriptor(LDTR, false);
    }
}
