//! CPUID: what the guest is told, in every mode and encoding.
//! AMD64 APM Vol. 3 (publication 24594), appendix E.

use super::shoji;
use crate::machine::cpu::{self, CpuidResult, cpuid};
use crate::machine::modes::{run16, run32};
use core::arch::{asm, global_asm};

const HYPERVISOR: u32 = 1 << 31; // leaf 1 ECX
const OSXSAVE: u32 = 1 << 27; // leaf 1 ECX
const SVM: u32 = 1 << 2; // leaf 8000_0001h ECX

pub fn run() {
    policy();
    os_xsave_follows_cr4();
    every_encoding();
    other_modes();
}

fn policy() {
    let base = cpuid(0x4000_0000);
    say!("hypervisor leaves to {:#x}, basic to {:#x}, extended to {:#x}", base.eax, cpuid(0).eax, cpuid(1 << 31).eax);
    if !shoji() {
        return;
    }
    check!(cpuid(1).ecx & HYPERVISOR != 0, "leaf 1 does not tell of a hypervisor");
    check!(base.eax >= 0x4000_0000 && base.eax < 0x4000_0100, "highest hypervisor leaf {:#x}", base.eax);
    check!(cpuid(0x8000_0001).ecx & SVM == 0, "SVM is not hidden");
    let leaf = cpuid(0x8000_000a);
    check_eq!([leaf.eax, leaf.ebx, leaf.ecx, leaf.edx], [0; 4], "leaf 8000_000Ah");
}

fn os_xsave_follows_cr4() {
    let cr4 = cpu::cr4();
    for set in [true, false, true] {
        let value = if set { cr4 | cpu::CR4_OSXSAVE } else { cr4 & !cpu::CR4_OSXSAVE };
        // SAFETY: XSAVE is not used here.
        unsafe { cpu::set_cr4(value) };
        check_eq!(cpuid(1).ecx & OSXSAVE != 0, set, "OSXSAVE in leaf 1");
    }
    // SAFETY: the value of before.
    unsafe { cpu::set_cr4(cr4) };
}

/// CPUID behind prefixes, with the upper halves of the registers set before.
macro_rules! encoded {
    ($leaf:expr, $($byte:literal),+) => {{
        let (eax, ebx, ecx, edx): (u64, u64, u64, u64);
        let marker: u32;
        // SAFETY: CPUID changes its four registers only.
        unsafe {
            asm!(
                "xchg r8, rbx",
                concat!(".byte ", $(stringify!($byte), ","),+ , "0x0f, 0xa2"),
                "inc r9d", // reached once only if the instruction's length was taken right
                "xchg r8, rbx",
                inout("rax") 0xffff_ffff_0000_0000u64 | u64::from($leaf) => eax,
                inout("rcx") 0xffff_ffff_0000_0000u64 => ecx,
                inout("rdx") u64::MAX => edx,
                inout("r8") u64::MAX => ebx,
                inout("r9d") 0u32 => marker,
                options(nomem, nostack),
            )
        };
        check_eq!(marker, 1, "instructions behind the encoding {}", stringify!($($byte),+));
        ([eax, ebx, ecx, edx], stringify!($($byte),+))
    }};
}

fn every_encoding() {
    let leaf = 0x8000_0001u32;
    let CpuidResult { eax, ebx, ecx, edx } = cpuid(leaf);
    let expected = [eax, ebx, ecx, edx].map(u64::from);
    let all = [
        encoded!(leaf, 0x66),
        encoded!(leaf, 0x67),
        encoded!(leaf, 0xf2),
        encoded!(leaf, 0xf3),
        encoded!(leaf, 0x2e),
        encoded!(leaf, 0x64),
        encoded!(leaf, 0x48),
        encoded!(leaf, 0x66, 0x67, 0x2e, 0xf3, 0x4f),
        encoded!(leaf, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66),
    ];
    for (got, prefixes) in all {
        check_eq!(got, expected, "CPUID behind the prefixes {prefixes}");
    }
}

global_asm!(
    ".section .text16, \"ax\"",
    ".balign 4",
    "cpuid_values: .space 16",
    ".code16",
    "cpuid_in_real_mode:",
    "mov eax, 0x40000000",
    "xor ecx, ecx",
    ".byte 0x66, 0x0f, 0xa2",
    "jmp 2f",
    ".code32",
    "cpuid_in_protected_mode:",
    "mov eax, 0x40000000",
    "xor ecx, ecx",
    ".byte 0x2e, 0x0f, 0xa2",
    "mov [cpuid_values], eax",
    "mov [cpuid_values + 4], ebx",
    "mov [cpuid_values + 8], ecx",
    "mov [cpuid_values + 12], edx",
    "ret",
    ".code16",
    "2: mov [cpuid_values], eax",
    "mov [cpuid_values + 4], ebx",
    "mov [cpuid_values + 8], ecx",
    "mov [cpuid_values + 12], edx",
    ".byte 0xc3",
    ".code64",
);

unsafe extern "C" {
    fn cpuid_in_real_mode();
    fn cpuid_in_protected_mode();
    static mut cpuid_values: [u32; 4];
}

fn other_modes() {
    let CpuidResult { eax, ebx, ecx, edx } = cpuid(0x4000_0000);
    for (mode, run) in [("real", run16 as unsafe extern "C" fn(_)), ("protected", run32)] {
        let routine = if mode == "real" { cpuid_in_real_mode } else { cpuid_in_protected_mode };
        // SAFETY: the routines write `cpuid_values` only, which is read when they have ended.
        let values = unsafe {
            (&raw mut cpuid_values).write_volatile([0; 4]);
            run(routine);
            (&raw const cpuid_values).read_volatile()
        };
        check_eq!(values, [eax, ebx, ecx, edx], "leaf 4000_0000h in {mode} mode");
    }
}
