//! SYSCALL with TF set, at both privilege levels, with FMASK that clears TF and one that does not; POPFQ and IRETQ that
//! set TF right before instructions that exit. AMD64 APM Vol. 2 (24593) 13.1.4; Vol. 3 (24594), SYSCALL.
//!
//! Safe: #DB in the guest behind the instruction or at the target, as on the bare CPU; RIP never lies elsewhere.

use crate::frame::How;
use crate::frame::code::{self, Registers};
use tiny::machine::cpu::{EFER, rdmsr, wrmsr};

const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;
const SCE: u64 = 1;
const TF: u64 = 1 << 8;
/// PUSHFQ; OR [RSP], TF; POPFQ.
const SET_TF: [u8; 9] = [0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d];

const EXITING: [(&str, &[u8]); 10] = [
    ("SYSCALL", &[0x0f, 0x05]),
    ("CPUID", &[0x0f, 0xa2]),
    ("RDMSR of EFER", &[0x0f, 0x32]),
    ("IN from 92h", &[0xe4, 0x92]),
    ("REP INSB from 92h", &[0xf3, 0x6c]),
    ("INVD", &[0x0f, 0x08]),
    ("VMCALL", &[0x0f, 0x01, 0xc1]),
    ("VMMCALL", &[0x0f, 0x01, 0xd9]),
    ("XSETBV", &[0x0f, 0x01, 0xd1]),
    ("WRMSR of EFER", &[0x0f, 0x32, 0x0f, 0x30]),
];

pub fn run() {
    let page = code::place(&[]);
    for mask in [0, TF, !0xffu64 & 0xffff_ffff] {
        // SYSCALL lands on INT3s.
        for (msr, value) in
            [(STAR, 0x0018 << 32), (LSTAR, page + 0x800), (FMASK, mask), (EFER, rdmsr(EFER).unwrap_or(0) | SCE)]
        {
            // SAFETY: nothing else uses SYSCALL.
            check_eq!(unsafe { wrmsr(msr, value) }, Ok(()), "MSR {msr:#x}");
        }
        for (name, instruction) in EXITING {
            let mut bytes = [0u8; 16];
            bytes[..9].copy_from_slice(&SET_TF);
            bytes[9..][..instruction.len()].copy_from_slice(instruction);
            let bytes = &bytes[..9 + instruction.len()];
            let registers = Registers { rcx: EFER.into(), rdx: 0x92, rdi: page + 0x1_0000, ..Registers::default() };
            for (level, ended) in [(0, code::run(bytes, registers)), (3, code::run_user(bytes))] {
                check!((0..=0x801).contains(&ended.distance), "{name} at CPL {level}: {ended:x?}");
                seen!("{name} with TF, FMASK {mask:#x}, CPL {level}: {} at {}", How(Err(ended.fault)), ended.distance);
            }
        }
    }
}
