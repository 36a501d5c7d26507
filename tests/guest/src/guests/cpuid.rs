//! CPUID: what the guest is told, in every mode and encoding.
//! AMD64 APM Vol. 3 (publication 24594), appendix E; Intel SDM Vol. 2A (order number 253666), CPUID.

use super::shoji;
use crate::machine::cpu::{self, CpuidResult, cpuid, cpuid_count};
use crate::machine::exceptions::catch;
use crate::machine::memory::{buffer, buffer_address};
use crate::machine::modes::{run16, run32};
use core::arch::{asm, global_asm};

const HYPERVISOR: u32 = 1 << 31; // leaf 1 ECX
const OSXSAVE: u32 = 1 << 27; // leaf 1 ECX
const XSAVE: u32 = 1 << 26; // leaf 1 ECX

/// Leaf, subleaf, and the bits of EAX, EBX, ECX and EDX that Shoji's guest does not see.
type Hidden = (u32, u32, [u32; 4]);

/// SVM and SKINIT, SVM's features, encrypted memory.
const HIDDEN_AMD: [Hidden; 3] =
    [(0x8000_0001, 0, [0, 0, 1 << 2 | 1 << 12, 0]), (0x8000_000a, 0, [!0; 4]), (0x8000_001f, 0, [!0; 4])];
/// VMX and SMX, the debug store; Processor Trace with its leaf, PCONFIG.
const HIDDEN_INTEL: [Hidden; 3] =
    [(1, 0, [0, 0, 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6, 1 << 21]), (7, 0, [0, 1 << 25, 0, 1 << 18]), (0x14, 0, [!0; 4])];

pub fn run() {
    policy();
    shown_instructions_are_there();
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
    let hidden = if cpu::is_intel() { HIDDEN_INTEL } else { HIDDEN_AMD };
    for (leaf, subleaf, bits) in hidden {
        let CpuidResult { eax, ebx, ecx, edx } = cpuid_count(leaf, subleaf);
        let shown = [eax & bits[0], ebx & bits[1], ecx & bits[2], edx & bits[3]];
        check_eq!(shown, [0; 4], "what leaf {leaf:#x} should not show");
    }
}

/// An instruction, and whether CPUID tells of it. RAX is the address of a page of zeros, ECX is 2.
macro_rules! executes_if_shown {
    ($name:literal, $shown:expr, $($code:tt)*) => {
        let page = buffer_address(0);
        if $shown {
            // SAFETY: it writes to the page at most, and forgets translations.
            let result = catch(&mut || unsafe {
                asm!($($code)*, inout("rax") page => _, inout("rcx") 2u64 => _, out("rdx") _, out("r8") _)
            });
            check!(result.is_ok(), "{} is shown, but ends in {result:x?}", $name);
        }
        say!("{}: {}", $name, if $shown { "shown, and there" } else { "not shown" });
    };
}

/// Those that a virtual machine has only when the VMM lets it.
fn shown_instructions_are_there() {
    buffer(0)[..4096].fill(0);
    let (features, structured) = (cpuid(1), if cpuid(0).eax >= 7 { cpuid(7) } else { NOTHING });
    let saves = if features.ecx & XSAVE != 0 { cpuid_count(0xd, 1).eax & 1 << 3 } else { 0 };
    executes_if_shown!("RDTSCP", cpuid(0x8000_0001).edx & 1 << 27 != 0, "rdtscp");
    executes_if_shown!("RDPID", structured.ecx & 1 << 22 != 0, "rdpid r8");
    executes_if_shown!("INVPCID", structured.ebx & 1 << 10 != 0, "invpcid rcx, [rax]");
    executes_if_shown!(
        "TPAUSE",
        structured.ecx & 1 << 5 != 0,
        "xor ecx, ecx",
        "xor eax, eax",
        "xor edx, edx",
        "tpause ecx"
    );
    let cr4 = cpu::cr4();
    if saves != 0 {
        // SAFETY: as in the following.
        unsafe { cpu::set_cr4(cr4 | cpu::CR4_OSXSAVE) };
    }
    executes_if_shown!("XSAVES", saves != 0, "mov r8, rax", "xor eax, eax", "xor edx, edx", "xsaves64 [r8]");
    // SAFETY: the value of before.
    unsafe { cpu::set_cr4(cr4) };
}

const NOTHING: CpuidResult = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };

fn os_xsave_follows_cr4() {
    if cpuid(1).ecx & XSAVE == 0 {
        say!("the CPU has no XSAVE");
        return;
    }
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
