//! XSETBV with every single bit, random values, other registers, at CPL 3, and without CR4.OSXSAVE. Intel SDM Vol. 1
//! (325462) 13.3.
//!
//! Safe: taken when the CPU has the states, else #GP(0); #UD without OSXSAVE. XCR0 is never what was refused.

use crate::frame::code::{self, Registers};
use crate::frame::random::Random;
use tiny::machine::cpu::{self, CR4_OSXSAVE, cpuid};
use tiny::machine::exceptions::{GP, UD};

const XSETBV: [u8; 3] = [0x0f, 0x01, 0xd1];
const XSAVE: u32 = 1 << 26; // leaf 1 ECX

/// `None`: carried out.
fn xsetbv(register: u32, value: u64) -> Option<u64> {
    let registers =
        Registers { rcx: register.into(), rax: value & 0xffff_ffff, rdx: value >> 32, ..Registers::default() };
    let ended = code::run(&XSETBV, registers);
    match (ended.fault.vector, ended.distance) {
        (UD, 3) => None,
        (vector, 0) => Some(vector),
        other => tiny::report::fail(format_args!("XSETBV({register:#x}) of {value:#x}: {other:?}")),
    }
}

pub fn run() {
    let before = cpu::cr4();
    // SAFETY: this program uses no XSAVE state.
    unsafe { cpu::set_cr4(before & !CR4_OSXSAVE) };
    check_eq!(xsetbv(0, 1), Some(UD), "XSETBV without OSXSAVE");
    check_eq!(code::run_user(&XSETBV).distance, 0, "XSETBV at CPL 3 without OSXSAVE");
    if cpuid(1).ecx & XSAVE == 0 {
        return seen!("this CPU has no XSAVE");
    }
    // SAFETY: as before.
    unsafe { cpu::set_cr4(before | CR4_OSXSAVE) };
    for bit in 0..64 {
        let result = xsetbv(0, 1 | 1 << bit);
        check!(matches!(result, None | Some(GP)), "XSETBV of bit {bit}: {result:?}");
        seen!("XCR0 = 1 and bit {bit}: {}", if result.is_none() { "done" } else { "#GP" });
    }
    let mut random = Random::new(0x5e7b);
    for _ in 0..5000 {
        let (register, value) = (if random.below(4) == 0 { random.value() as u32 } else { 0 }, random.value());
        let result = xsetbv(register, value);
        check!(matches!(result, None | Some(GP)), "XSETBV({register:#x}) of {value:#x}: {result:?}");
        check!(result.is_some() || value & 1 == 1 || register != 0, "XCR0 without x87: {value:#x}");
    }
    check_eq!(code::run_user(&XSETBV).fault.vector, GP, "XSETBV at CPL 3");
    check_eq!(xsetbv(0, 1), None, "XCR0 as it was");
    // SAFETY: as before.
    unsafe { cpu::set_cr4(before) };
    seen!("5000 random values");
}
