//! Hypercalls by name: `abi::hypercall`.

use super::cpu;
use super::exceptions::{Fault, catch};
use core::arch::asm;

/// A buffer: address and length.
pub type Buffer = (u64, u64);

/// Makes a hypercall at CPL 0; gives RAX, or what the instruction raised.
pub fn hypercall(number: u64, parameters: Buffer, answer: Buffer) -> Result<u64, Fault> {
    let mut rax = number;
    // SAFETY: RBX is kept; what is read and written is what the caller names.
    catch(&mut || unsafe {
        asm!("xchg rbx, rdi", "cmp {vmcall}, 0", "jne 2f", "vmmcall", "jmp 3f", "2:", "vmcall", "3:", "xchg rbx, rdi",
            vmcall = in(reg_byte) u8::from(cpu::is_intel()), inout("rax") rax, in("rdi") parameters.0,
            in("rcx") parameters.1, in("rdx") answer.0, in("rsi") answer.1)
    })?;
    Ok(rax)
}
