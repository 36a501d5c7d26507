//! Code that is made at run time.

use super::exceptions::{Fault, catch};
use super::memory::{buffer, buffer_address};
use core::arch::asm;

const BUFFER: usize = 20;
const UD2: [u8; 2] = [0x0f, 0x0b];

/// What an instruction did that stands alone before a UD2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    pub fault: Fault,
    /// From the first byte of the code to where the exception was.
    pub distance: i64,
}

/// Registers that code starts with.
#[derive(Clone, Copy, Default)]
pub struct Registers {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
}

/// Puts code into a page of RAM, a UD2 behind it; where it lies. The CPU's next call overwrites it.
pub fn place(code: &[u8]) -> u64 {
    let offset = 4096 * super::smp::number();
    let page = &mut buffer(BUFFER)[offset..][..4096];
    page.fill(0xcc);
    page[..code.len()].copy_from_slice(code);
    page[code.len()..][..2].copy_from_slice(&UD2);
    buffer_address(BUFFER) + offset as u64
}

/// Calls code, which may change all registers but RSP. RBX and RBP are what RDI is, so that code that nobody meant does no harm.
pub fn call(at: u64, r: Registers) -> Result<(), Fault> {
    // SAFETY: what the code does is the attack; the stack and the callee's registers come back after an exception too.
    catch(&mut || unsafe {
        asm!("push rbx", "push rbp", "mov rbx, rdi", "mov rbp, rdi", "call r10", "pop rbp", "pop rbx", in("r10") at, inout("rax") r.rax => _,
            inout("rcx") r.rcx => _, inout("rdx") r.rdx => _, inout("rsi") r.rsi => _, inout("rdi") r.rdi => _,
            out("r8") _, out("r9") _, out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _)
    })
}

/// Runs code with a UD2 behind it at CPL 0.
pub fn run(code: &[u8], registers: Registers) -> Ended {
    let at = place(code);
    ended(at, call(at, registers))
}

/// The same at CPL 3; the registers are whatever they are.
pub fn run_user(code: &[u8]) -> Ended {
    let at = place(code);
    ended(at, Err(super::exceptions::catch_user(at)))
}

fn ended(at: u64, result: Result<(), Fault>) -> Ended {
    match result {
        Err(fault) => Ended { fault, distance: fault.rip.wrapping_sub(at) as i64 },
        Ok(()) => crate::report::fail(format_args!("code came back over its UD2")),
    }
}

/// Runs 32-bit code with a UD2 behind it in compatibility mode at CPL 0, with this selector in DS.
pub fn run_compatible(code: &[u8], data: u32, r: Registers) -> Ended {
    const CODE32: u64 = 0x08;
    let at = place(code);
    // SAFETY: DS is not used by 64-bit code; the far return enters 32-bit code, which ends in an exception.
    let result = catch(&mut || unsafe {
        asm!("push {segment}", "push {at}", "mov ds, {data:e}", ".byte 0x48, 0xcb", segment = in(reg) CODE32, at = in(reg) at,
            data = in(reg) data, in("rax") r.rax, in("rcx") r.rcx, in("rdx") r.rdx, in("rsi") r.rsi, in("rdi") r.rdi)
    });
    // SAFETY: flat data.
    unsafe { asm!("mov ds, {:e}", in(reg) 0x10u32) };
    ended(at, result)
}
