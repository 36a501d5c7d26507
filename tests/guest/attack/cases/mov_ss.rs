//! MOV SS and POP SS with a pending data breakpoint or a single step, followed by INT n, INT3, ICEBP, SYSCALL, VMCALL,
//! VMMCALL, CPUID, IN, RDMSR and XSETBV; SYSCALL with TF; ICEBP alone, at both privilege levels. (CVE-2018-8897,
//! CVE-2018-1087.) Intel SDM Vol. 3A (325384) 6.8.3; Vol. 3B (325462) 19.3.1.1.
//!
//! Safe: an exception in the guest at one of the two instructions, or at the handler; never one in the hypervisor, and no
//! refused VM entry.

use crate::frame::{How, code};
use code::Registers;
use core::arch::asm;
use tiny::machine::cpu::{EFER, rdmsr, wrmsr};
use tiny::machine::memory::{buffer_address, poke};

const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;
const SCE: u64 = 1;

const FOLLOWERS: [(&str, &[u8]); 12] = [
    ("INT 80h", &[0xcd, 0x80]),
    ("INT 3", &[0xcd, 0x03]),
    ("INT3", &[0xcc]),
    ("ICEBP", &[0xf1]),
    ("SYSCALL", &[0x0f, 0x05]),
    ("VMCALL", &[0x0f, 0x01, 0xc1]),
    ("VMMCALL", &[0x0f, 0x01, 0xd9]),
    ("CPUID", &[0x0f, 0xa2]),
    ("IN from 92h", &[0xe4, 0x92]),
    ("RDMSR of APIC_BASE", &[0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32]),
    ("XSETBV", &[0x0f, 0x01, 0xd1]),
    ("VMRUN", &[0x0f, 0x01, 0xd8]),
];

/// The word that the breakpoint watches: a selector.
const WORD: usize = 21;

pub fn run() {
    let word = buffer_address(WORD);
    poke(word, 0x10u64);
    // A SYSCALL lands on a UD2.
    let landing = code::place(&[]) + 0x800;
    for (msr, value) in [(STAR, 0x0018_u64 << 32), (LSTAR, landing), (FMASK, 0), (EFER, rdmsr(EFER).unwrap_or(0) | SCE)]
    {
        // SAFETY: nothing else uses SYSCALL.
        check_eq!(unsafe { wrmsr(msr, value) }, Ok(()), "MSR {msr:#x}");
    }
    for (name, follower) in FOLLOWERS {
        for trap in [Trap::None, Trap::Breakpoint, Trap::Step, Trap::Both] {
            pair("MOV SS", &[0x8e, 0x16], name, follower, trap);
            // POP SS is no instruction of 64-bit mode: #UD, with the traps on their way.
            pair("POP SS", &[0x17], name, follower, trap);
        }
        single(name, follower);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trap {
    None,
    Breakpoint,
    Step,
    Both,
}

/// Sets the traps up, then runs the load of SS (RSI: the word) and its follower.
fn pair(load_name: &str, load: &[u8], name: &str, follower: &[u8], trap: Trap) {
    let mut bytes = [0x90u8; 40];
    let mut len = 0;
    let mut put = |part: &[u8]| {
        bytes[len..][..part.len()].copy_from_slice(part);
        len += part.len();
    };
    if matches!(trap, Trap::Step | Trap::Both) {
        put(&[0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d]); // PUSHFQ; OR [RSP], TF; POPFQ
    }
    put(load);
    put(follower);
    put(&[0x0f, 0x0b]);
    let armed = matches!(trap, Trap::Breakpoint | Trap::Both);
    debug_registers(buffer_address(WORD), if armed { 0x703 | 3 << 16 | 1 << 18 } else { 0x400 });
    let ended = code::run(&bytes[..len], Registers { rsi: buffer_address(WORD), ..Registers::default() });
    debug_registers(0, 0x400);
    seen!("{load_name}, {name}, {trap:?}: {} at {}", How(Err(ended.fault)), place(ended.distance));
}

fn single(name: &str, code: &[u8]) {
    let user = code::run_user(code);
    seen!("{name} at CPL 3: {} at {}", How(Err(user.fault)), place(user.distance));
    let kernel = code::run(code, Registers::default());
    seen!("{name} at CPL 0: {} at {}", How(Err(kernel.fault)), place(kernel.distance));
}

/// A distance, unless it is one to another place.
fn place(distance: i64) -> i64 {
    if (0..0x1000).contains(&distance) { distance } else { -1 }
}

fn debug_registers(address: u64, control: u64) {
    // SAFETY: a breakpoint on data of this case.
    unsafe {
        asm!("mov dr0, {}", "mov dr6, {}", "mov dr7, {}", in(reg) address, in(reg) 0xffff_0ff0u64, in(reg) control)
    };
}
