//! Prefixes in every number up to one too many before instructions that exit: the same one again and again, and salads.
//! AMD64 APM Vol. 3 (24594) 1.2.1; Intel SDM Vol. 2A (325383) 2.3.11.
//!
//! Safe: carried out with the whole length, or #UD or #GP at its first byte; #GP when it is longer than 15 bytes.

use crate::frame::How;
use crate::frame::code::{self, Registers};
use crate::frame::random::Random;
use tiny::machine::cpu;
use tiny::machine::exceptions::{GP, UD};
use tiny::machine::memory::buffer_address;

const PREFIXES: [u8; 11] = [0x66, 0x67, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0xf2, 0xf3, 0xf0];
const SALADS: usize = 4000;

/// All are harmless with the registers of [`run_one`].
const INSTRUCTIONS: [(&str, &[u8]); 12] = [
    ("CPUID", &[0x0f, 0xa2]),
    ("RDMSR", &[0x0f, 0x32]),
    ("IN AL, 92h", &[0xe4, 0x92]),
    ("IN AL, DX", &[0xec]),
    ("INSB", &[0x6c]),
    ("OUTSB", &[0x6e]),
    ("VMCALL", &[0x0f, 0x01, 0xc1]),
    ("VMMCALL", &[0x0f, 0x01, 0xd9]),
    ("VMRUN", &[0x0f, 0x01, 0xd8]),
    ("XGETBV", &[0x0f, 0x01, 0xd0]),
    ("INVD", &[0x0f, 0x08]),
    ("MOV from CR0", &[0x0f, 0x20, 0xc0]),
];

pub fn run() {
    for (name, instruction) in INSTRUCTIONS {
        for prefix in PREFIXES {
            // 1, as many as fit, one too many.
            for count in [1, 15 - instruction.len(), 16 - instruction.len()] {
                let mut bytes = [prefix; 16];
                bytes[count..][..instruction.len()].copy_from_slice(instruction);
                let how = run_one(name, &bytes[..count + instruction.len()]);
                seen!("{count} times {prefix:#x} before {name}: {how}");
            }
        }
    }
    let mut random = Random::new(0x5a1ad);
    for _ in 0..SALADS {
        let (name, instruction) = INSTRUCTIONS[random.below(INSTRUCTIONS.len())];
        let count = random.below(17 - instruction.len());
        let mut bytes = [0u8; 16];
        bytes[..count].fill_with(|| PREFIXES[random.below(PREFIXES.len())]);
        bytes[count..][..instruction.len()].copy_from_slice(instruction);
        // A REX counts at the last place only, and hides no prefix elsewhere.
        if count > 0 && random.below(3) == 0 {
            bytes[random.below(count)] = 0x40 | random.below(16) as u8;
        }
        run_one(name, &bytes[..count + instruction.len()]);
    }
    seen!("{SALADS} salads");
}

fn run_one(name: &str, bytes: &[u8]) -> impl core::fmt::Display {
    let memory = buffer_address(23);
    // MSR 10h; one time round for a repeated string instruction, or sixteen; port 80h or 92h for OUTSB and INSB.
    let port = if name == "OUTSB" { 0x80 } else { 0x92 };
    let registers = Registers { rcx: 0x10, rdx: port, rsi: memory, rdi: memory, ..Registers::default() };
    // FS and GS have a base of 0, and XGETBV takes no index but 0 and 1: it raises #GP, as without OSXSAVE #UD.
    let cr4 = cpu::cr4();
    let ended = code::run(bytes, registers);
    check_eq!(cpu::cr4(), cr4, "CR4");
    let done = ended.fault.vector == UD && ended.distance == bytes.len() as i64;
    check!(
        done || (ended.distance == 0 && matches!(ended.fault.vector, UD | GP)),
        "{name} as {bytes:x?}: {:x?} at {}",
        ended.fault,
        ended.distance
    );
    check!(!done || bytes.len() <= 15, "{name} of 16 bytes is carried out");
    How(if done { Ok(()) } else { Err(ended.fault) })
}
