//! Defects of Shoji, provoked by hypercall, one after each reset of the machine; Shoji then stops and is to tell what it knows.
//! Who resets the machine and reads Shoji's log is outside: `tests/emu/src/cases/defect.rs`.

use super::shoji;
use crate::machine::{cmos, cpu};
use abi::hypercall::DEBUG_PROVOKE_DEFECT;
use abi::hypercall::defect::{CODE_WRITE, NULL_READ, PANIC, STACK_OVERFLOW};
use core::arch::asm;

/// One after another.
pub fn run() {
    let stage = cmos::read(cmos::STAGE);
    cmos::write(cmos::STAGE, stage + 1);
    if let Some(defect) = [PANIC, NULL_READ, CODE_WRITE].get(usize::from(stage)) {
        provoke(*defect);
    }
}

/// A stack that is full. Only VT-x leaves the VMM a stack to tell of it.
pub fn overflow() {
    provoke(STACK_OVERFLOW);
}

fn provoke(defect: u64) {
    check!(shoji(), "there is no Shoji");
    say!("defect {defect}");
    crate::machine::com2::drain();
    // SAFETY: RBX is kept, and the program may end here.
    unsafe {
        asm!("xchg rbx, rdi", "cmp {vmcall}, 0", "jne 2f", "vmmcall", "jmp 3f", "2:", "vmcall", "3:", "xchg rbx, rdi",
            vmcall = in(reg_byte) u8::from(cpu::is_intel()), inout("rax") DEBUG_PROVOKE_DEFECT => _, in("rdi") defect)
    };
    crate::report::fail(format_args!("Shoji goes on after defect {defect}"))
}
