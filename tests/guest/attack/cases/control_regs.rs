//! Illegal combinations in CR0, CR3, CR4, CR8 and EFER, and each bit alone. AMD64 APM Vol. 2 (24593) 3.1; Intel SDM Vol.
//! 3A (325384) 2.5, 4.1.3.
//!
//! Safe: #GP(0), or as the bare CPU does (emulators take more than CPUs); the guest goes on or the machine is reset.

use crate::frame::{How, qemu, steps};
use tiny::machine::cpu::{self, EFER, cr0, cr3, cr4, rdmsr, wrmsr};
use tiny::machine::exceptions::{Fault, GP, catch};
use tiny::machine::hypervisor;

const CR0_PE: u64 = 1 << 0;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
/// SMEP and SMAP: this program's pages are user pages, so it could not run on.
const CR4_FATAL: u64 = 1 << 20 | 1 << 21;
/// VME to OSXMMEXCPT, FSGSBASE, OSXSAVE: what CPUs of twenty years have.
const CR4_USUAL: u64 = 0x7ff | 1 << 16 | 1 << 18;
const LME: u64 = 1 << 8;

pub fn run() {
    let (cr0, cr4, efer) = (cr0(), cr4(), rdmsr(EFER).unwrap_or(0));
    // QEMU's CPU takes it, and decodes 64-bit code as 32-bit code from there on.
    let no_paging = |name, value| {
        move || match qemu() {
            true => seen!("CR0, {name}: left out"),
            false => write_cr0(name, value),
        }
    };
    let reserved = |name, value| {
        move || match bare_qemu() {
            true => seen!("CR4, {name}: left out"),
            false => write_cr4(name, value),
        }
    };
    let to_cr0 = |name, value| move || write_cr0(name, value);
    let to_cr4 = |name, value| move || write_cr4(name, value);
    steps::run(&[
        ("CR0: PG without PE", &to_cr0("PG without PE", cr0 & !CR0_PE)),
        ("CR0: NW without CD", &to_cr0("NW without CD", cr0 & !CR0_CD | CR0_NW)),
        ("CR0: bit 63", &to_cr0("bit 63", cr0 | 1 << 63)),
        ("CR0: bit 32", &to_cr0("bit 32", cr0 | 1 << 32)),
        ("CR0: NW without CD and PG without PE", &to_cr0("both", cr0 & !(CR0_PE | CR0_CD) | CR0_NW)),
        ("CR0: all ones", &to_cr0("all ones", !0)),
        ("CR0: single bits", &cr0_bits),
        ("CR4: single bits", &cr4_bits),
        ("CR4: bit 63", &reserved("bit 63", cr4 | 1 << 63)),
        ("CR4: VMXE", &reserved("VMXE", cr4 | 1 << 13)),
        ("CR4: LA57 in long mode", &reserved("LA57", cr4 | 1 << 12)),
        ("CR4: all ones", &reserved("all ones", !CR4_FATAL)),
        ("CR3: low bits", &|| cr3_bits(0..12)),
        ("CR3: high bits", &|| match bare_qemu() {
            // Masked by nobody, they lead to nowhere.
            true => seen!("CR3, high bits: left out"),
            false => cr3_bits(40..64),
        }),
        ("CR8", &cr8),
        ("EFER: single bits", &efer_bits),
        ("EFER: all ones", &|| write_efer("all ones", !0)),
        // What QEMU takes: it leaves long mode in the middle of 64-bit code.
        ("EFER: no LME while paging", &|| write_efer("no LME while paging", efer & !LME)),
        ("CR4: no PAE in long mode", &to_cr4("no PAE in long mode", cr4 & !CR4_PAE)),
        ("CR0: no PG in 64-bit code", &no_paging("no PG in 64-bit code", cr0 & !CR0_PG)),
        ("CR0: 0", &no_paging("0", 0)),
    ]);
}

/// QEMU's emulation answers a reserved bit of CR4 by leaving the virtual machine that it is not in, and runs wild. In one it
/// ends in a VM exit that nobody asked for.
fn bare_qemu() -> bool {
    qemu() && hypervisor::current().0.is_none()
}

fn gp_or_done(what: &str, name: &str, result: Result<(), Fault>) {
    check!(
        matches!(result, Ok(()) | Err(Fault { vector: GP, error: 0, .. })),
        "{what}, {name}: {result:x?}, not #GP(0)"
    );
    seen!("{what}, {name}: {}", How(result));
}

fn write_cr0(name: &str, value: u64) {
    let before = cr0();
    // SAFETY: refused, or the case ends in a reset, which it is ready for.
    let result = catch(&mut || unsafe { cpu::set_cr0(value) });
    cpu::cpuid(0); // an exit with that value
    // SAFETY: as before.
    unsafe { cpu::set_cr0(before) };
    gp_or_done("CR0", name, result);
}

fn write_cr4(name: &str, value: u64) {
    let before = cr4();
    // SAFETY: as in `write_cr0`.
    let result = catch(&mut || unsafe { cpu::set_cr4(value) });
    cpu::cpuid(0);
    // SAFETY: as before.
    unsafe { cpu::set_cr4(before) };
    gp_or_done("CR4", name, result);
}

fn write_efer(name: &str, value: u64) {
    let before = rdmsr(EFER).unwrap_or(0);
    // SAFETY: as in `write_cr0`.
    let (result, back) = unsafe {
        let result = wrmsr(EFER, value);
        cpu::cpuid(0);
        (result, wrmsr(EFER, before))
    };
    check_eq!(back, Ok(()), "EFER as it was, after {name}");
    check_eq!(rdmsr(EFER), Ok(before), "EFER after {name}");
    gp_or_done("EFER", name, result);
}

fn cr0_bits() {
    // Not PE, NW and PG, which have steps of their own.
    for bit in (1..32).filter(|bit| ![29, 31].contains(bit)) {
        let before = cr0();
        // SAFETY: as in `write_cr0`.
        let result = catch(&mut || unsafe { cpu::set_cr0(before ^ 1 << bit) });
        cpu::cpuid(0);
        // SAFETY: as before.
        unsafe { cpu::set_cr0(before) };
        check!(matches!(result, Ok(()) | Err(Fault { vector: GP, .. })), "CR0 with bit {bit} changed: {result:x?}");
        seen!("CR0, bit {bit} changed: {}", How(result));
    }
}

fn cr4_bits() {
    // Reserved ones have steps of their own on QEMU.
    let tried = if qemu() { CR4_USUAL } else { !CR4_FATAL } & !CR4_PAE;
    for bit in (0..64).filter(|bit| 1 << bit & tried != 0) {
        let before = cr4();
        // SAFETY: as in `write_cr0`.
        let result = catch(&mut || unsafe { cpu::set_cr4(before ^ 1 << bit) });
        let then = cr4();
        cpu::cpuid(0);
        // SAFETY: as before.
        unsafe { cpu::set_cr4(before) };
        check!(matches!(result, Ok(()) | Err(Fault { vector: GP, .. })), "CR4 with bit {bit} changed: {result:x?}");
        let shown = if result.is_ok() && then == before { ", and does not show" } else { "" };
        seen!("CR4, bit {bit} changed: {}{shown}", How(result));
    }
}

fn cr3_bits(bits: core::ops::Range<u64>) {
    for bit in bits {
        let before = cr3();
        // Address bits that the CPU has lead nowhere: this code would not run on. Its own limit comes from leaf 8000_0008h.
        if (12..u64::from(cpu::cpuid(0x8000_0008).eax & 0xff)).contains(&bit) {
            continue;
        }
        // SAFETY: the same tables with a reserved bit.
        let result = catch(&mut || unsafe { cpu::set_cr3(before | 1 << bit) });
        // SAFETY: as before.
        unsafe { cpu::set_cr3(before) };
        gp_or_done("CR3", "a reserved or cache bit", result);
    }
}

fn cr8() {
    for value in [15, 16, 1 << 32, !0] {
        // SAFETY: masks interrupts, which are off.
        let result = catch(&mut || unsafe { cpu::set_cr8(value) });
        gp_or_done("CR8", "a priority", result);
    }
    // SAFETY: as before.
    unsafe { cpu::set_cr8(0) };
}

fn efer_bits() {
    for bit in (0..64).filter(|&bit| bit != 8) {
        let before = rdmsr(EFER).unwrap_or(0);
        // SAFETY: no bit but LME changes how this code runs.
        let (result, back) = unsafe { (wrmsr(EFER, before ^ 1 << bit), wrmsr(EFER, before)) };
        check_eq!(back, Ok(()), "EFER as it was, after bit {bit}");
        check!(matches!(result, Ok(()) | Err(Fault { vector: GP, .. })), "EFER with bit {bit} changed: {result:x?}");
        seen!("EFER, bit {bit} changed: {}", How(result));
    }
}
