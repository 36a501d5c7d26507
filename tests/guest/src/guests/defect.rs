//! Defects of Shoji, provoked by hypercall, one after each reset of the machine; Shoji then stops and is to tell what it knows.
//! Who resets the machine and reads Shoji's log is outside: `tests/emu/src/cases/defect.rs`.

use super::shoji;
use crate::machine::hypercall::hypercall;
use crate::machine::memory::{buffer, buffer_address};
use crate::machine::{cmos, cpu};
use abi::hypercall::defect::{CODE_WRITE, NULL_READ, PANIC, STACK_OVERFLOW};
use abi::hypercall::{DEBUG_PROVOKE_DEFECT, Error, LOOKUP, name};
use core::arch::asm;

/// One after another.
pub fn run() {
    let stage = cmos::read(cmos::STAGE);
    cmos::write(cmos::STAGE, stage + 1);
    previous(stage);
    if let Some(defect) = [PANIC, NULL_READ, CODE_WRITE].get(usize::from(stage)) {
        provoke(*defect);
    }
}

/// The guest is told of the defect before, and of none at first.
fn previous(stage: u8) {
    // A postcard of `abi::log::Request::Previous` from the beginning.
    const PREVIOUS: [u8; 2] = [1, 0];
    let answer = |number, parameters: &[u8]| {
        buffer(0)[..parameters.len()].copy_from_slice(parameters);
        let from = (buffer_address(0), parameters.len() as u64);
        match hypercall(number, from, (buffer_address(1), 4096)).map(Error::result) {
            Ok(Ok(result)) => result,
            other => crate::report::fail(format_args!("call {number:#x}: {other:x?}")),
        }
    };
    let log = answer(LOOKUP, name::LOG.as_bytes());
    let len = answer(log, &PREVIOUS) as usize;
    check_eq!(len > 0, stage > 0, "there is a record of a defect");
    let text = &buffer(1)[..len];
    check!(len == 0 || text.starts_with(b"Shoji: defect in the VMM: "), "the record of the defect begins otherwise");
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
