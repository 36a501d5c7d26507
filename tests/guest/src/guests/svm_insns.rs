//! The guest's own SVM instructions are refused as on a CPU without SVM.
//! AMD64 APM Vol. 3 (publication 24594), "System Instruction Reference". At CPL 3 the CPU itself raises #GP before any
//! intercept, because EFER.SVME is set while a guest runs. A CPU of another vendor raises #UD.

use crate::machine::exceptions::{Fault, GP, UD, catch, catch_user};
use crate::machine::memory::buffer_address;
use core::arch::{asm, global_asm};

// Each on 16 bytes, with a UD2 behind it: an instruction that is carried out is told by where the exception comes.
global_asm!(
    ".section .text.svm_instructions, \"ax\"",
    ".balign 16",
    "svm_instructions:",
    ".irp opcode, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf",
    ".balign 16",
    ".byte 0x0f, 0x01, \\opcode",
    "ud2",
    ".endr",
);

unsafe extern "C" {
    static svm_instructions: u8;
}

const NAMES: [&str; 8] = ["VMRUN", "VMMCALL", "VMLOAD", "VMSAVE", "STGI", "CLGI", "SKINIT", "INVLPGA"];

pub fn run() {
    let code = (&raw const svm_instructions) as u64;
    for (i, name) in NAMES.into_iter().enumerate() {
        check_refused(name, code + 16 * i as u64, &[UD, GP]);
    }
}

/// The instruction at `at` raises #UD at CPL 0, however often, and one of the exceptions `at_cpl_3` there.
pub fn check_refused(name: &str, at: u64, at_cpl_3: &[u64]) {
    for round in 0..3 {
        match kernel(at) {
            Err(f) => check_eq!((f.vector, f.rip - at), (UD, 0), "{name} at CPL 0: vector and distance, round {round}"),
            Ok(()) => crate::report::fail(format_args!("{name} is carried out at CPL 0")),
        }
    }
    let f = catch_user(at);
    check_eq!(f.rip - at, 0, "{name} at CPL 3: distance of the exception");
    check!(at_cpl_3.contains(&f.vector), "{name} at CPL 3: {f:x?}");
    say!("{name}: #UD at CPL 0, vector {} at CPL 3", f.vector);
}

/// Goes to the instruction with RAX pointing at a page of RAM, as a control block would lie.
fn kernel(at: u64) -> Result<(), Fault> {
    let page = buffer_address(0);
    // SAFETY: the code there ends in an exception.
    catch(&mut || unsafe { asm!("jmp {}", in(reg) at, in("rax") page, in("ecx") 0) })
}
