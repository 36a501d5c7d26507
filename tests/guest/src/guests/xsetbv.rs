//! XSETBV and XGETBV: what they take, what they refuse, and that the states stay while instructions exit.
//! Intel SDM Vol. 1 (325462) 13.3; Vol. 2D, XSETBV.

use crate::machine::cpu::{self, CR4_OSFXSR, CR4_OSXSAVE, EFER, cpuid_count, rdmsr};
use crate::machine::exceptions::{Fault, GP, UD, catch, catch_user};
use crate::machine::port::in8;
use core::arch::{asm, global_asm};

const XSAVE: u32 = 1 << 26; // leaf 1 ECX
const OSXSAVE: u32 = 1 << 27;
const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const SYSTEM_CONTROL_A: u16 = 0x92;

global_asm!("xsetbv_at_cpl3:", "xor ecx, ecx", "xgetbv", "xsetbv_itself:", "xsetbv", "ud2",);

unsafe extern "C" {
    fn xsetbv_at_cpl3();
    fn xsetbv_itself();
}

/// # Safety
/// No code must need a state that the value switches off.
unsafe fn xsetbv(register: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller's promise.
    catch(&mut || unsafe {
        asm!("xsetbv", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    })
}

fn xgetbv() -> Result<u64, Fault> {
    let mut value = 0;
    // SAFETY: reads a register.
    catch(&mut || unsafe {
        let (low, high): (u32, u32);
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        value = u64::from(high) << 32 | u64::from(low);
    })?;
    Ok(value)
}

pub fn run() {
    let cr4 = cpu::cr4();
    // SAFETY: this program uses no FPU state.
    unsafe { cpu::set_cr4(cr4 & !CR4_OSXSAVE | CR4_OSFXSR) };
    check_eq!(cpu::cpuid(1).ecx & OSXSAVE, 0, "OSXSAVE in CPUID without CR4.OSXSAVE");
    // SAFETY: it is refused.
    // SAFETY: x87 state alone, which is always enabled, if it is carried out at all.
    is_ud(unsafe { xsetbv(0, 1) }, "XSETBV without CR4.OSXSAVE");
    is_ud(xgetbv().map(drop), "XGETBV without CR4.OSXSAVE");
    if cpu::cpuid(1).ecx & XSAVE == 0 {
        say!("this CPU has no XSAVE");
        return;
    }
    // SAFETY: as above.
    unsafe { cpu::set_cr4(cr4 | CR4_OSXSAVE | CR4_OSFXSR) };
    check_eq!(cpu::cpuid(1).ecx & OSXSAVE, OSXSAVE, "OSXSAVE in CPUID");
    let leaf = cpuid_count(0xd, 0);
    let all = u64::from(leaf.edx) << 32 | u64::from(leaf.eax);
    say!("states {all:#x}");
    let before = xgetbv();
    check_eq!(before, Ok(X87), "XCR0 as reset leaves it");
    accepted(all);
    refused(all);
    at_cpl_3();
    if all & AVX != 0 {
        states_survive();
    }
    // SAFETY: as above.
    unsafe {
        check_eq!(xsetbv(0, X87), Ok(()), "XCR0 as it was");
        cpu::set_cr4(cr4);
    }
}

fn is_ud(result: Result<(), Fault>, what: &str) {
    check!(matches!(result, Err(f) if f.vector == UD), "{what}: {result:x?}, not #UD");
}

fn is_gp(result: Result<(), Fault>, what: &str) {
    check!(matches!(result, Err(f) if f.vector == GP && f.error == 0), "{what}: {result:x?}, not #GP(0)");
}

/// Every value is read back, also after an exit, and CPUID tells the size that it needs.
fn accepted(all: u64) {
    let values = [X87, X87 | SSE, X87 | SSE | AVX, all, X87 | SSE, all, X87];
    for value in values.into_iter().filter(|value| value & !all == 0) {
        // SAFETY: this program uses no FPU state.
        check_eq!(unsafe { xsetbv(0, value) }, Ok(()), "XSETBV of {value:#x}");
        check_eq!(xgetbv(), Ok(value), "XGETBV");
        let size = cpuid_count(0xd, 0).ebx;
        let expected = match value {
            v if v & !(X87 | SSE) == 0 => 576,
            v if v == X87 | SSE | AVX => 832,
            _ => cpuid_count(0xd, 0).ecx,
        };
        check_eq!(size, expected, "size for {value:#x} (CPUID leaf 0Dh EBX)");
        in8(SYSTEM_CONTROL_A);
        check_eq!(xgetbv(), Ok(value), "XGETBV after exits");
    }
}

fn refused(all: u64) {
    let before = xgetbv();
    // SAFETY: all of it is refused.
    unsafe {
        for value in [0, SSE, SSE | AVX, all & !X87, AVX | X87, 1 << 63 | X87, 1 << 62 | X87] {
            is_gp(xsetbv(0, value), "XSETBV of an invalid value");
        }
        for bit in (0..64).filter(|bit| all & 1 << bit == 0) {
            is_gp(xsetbv(0, all | 1 << bit), "XSETBV of a reserved bit");
        }
        // MPX and AVX-512 come in whole or not at all (SDM Vol. 1 13.3).
        for part in [1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 3 << 5, 3 << 6].into_iter().filter(|part| all & part != 0)
        {
            is_gp(xsetbv(0, X87 | SSE | AVX | part), "XSETBV of a part of MPX or AVX-512");
        }
        is_gp(xsetbv(0, X87 | 1 << 5 | 1 << 6 | 1 << 7), "XSETBV of AVX-512 without AVX");
        for register in [1, 2, 0x8000_0000, u32::MAX] {
            is_gp(xsetbv(register, X87), "XSETBV of another register");
        }
    }
    check_eq!(xgetbv(), before, "XCR0 after all that");
}

fn at_cpl_3() {
    let f = catch_user(xsetbv_at_cpl3 as *const () as u64);
    let expected = (GP, 0, xsetbv_itself as *const () as u64);
    check_eq!((f.vector, f.error, f.rip), expected, "XSETBV at CPL 3");
}

/// YMM0 and XMM1 stay while instructions exit and XCR0 changes around them.
fn states_survive() {
    let pattern: [u8; 32] = core::array::from_fn(|i| i as u8 ^ 0x5a);
    let (mut ymm, mut xmm) = ([0u8; 32], [0u8; 16]);
    // SAFETY: this program uses no FPU state; OSFXSR and OSXSAVE are on, and XCR0 lets AVX through where it is used.
    unsafe {
        check_eq!(xsetbv(0, X87 | SSE | AVX), Ok(()), "XCR0 = 7");
        asm!("vmovdqu ymm0, [{0}]", "movdqu xmm1, [{0} + 8]", in(reg) &pattern);
        for round in 0..100 {
            check_eq!(xsetbv(0, if round % 2 == 0 { X87 | SSE } else { X87 | SSE | AVX }), Ok(()), "XSETBV");
            in8(SYSTEM_CONTROL_A);
            cpu::cpuid(0xd);
            check!(rdmsr(EFER).is_ok(), "EFER cannot be read");
        }
        check_eq!(xsetbv(0, X87 | SSE | AVX), Ok(()), "XCR0 = 7");
        asm!("vmovdqu [{0}], ymm0", "movdqu [{1}], xmm1", in(reg) &mut ymm, in(reg) &mut xmm);
    }
    check_eq!(ymm, pattern, "YMM0");
    check!(xmm[..] == pattern[8..24], "XMM1: {xmm:x?}");
}
