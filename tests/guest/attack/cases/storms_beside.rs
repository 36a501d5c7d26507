//! Storms of #DB and #AC on one CPU, those included that never end by themselves (breakpoints on the stack that the delivery of
//! #DB writes, always the same one), while another CPU lives. (CVE-2015-8104, CVE-2015-5307.)
//!
//! Safe: the other CPU lives on, and INIT ends the storm: the CPU starts again.

use super::debug_storm;
use crate::frame::{check_life, qemu};
use core::arch::{asm, global_asm};
use tiny::machine::exceptions::with_stack_entry;
use tiny::machine::smp;
use tiny::machine::time::delay_ms;

const DB: u8 = 1;

global_asm!(
    ".section .text.storms_beside, \"ax\"",
    ".code64",
    "endless_entry:",
    "inc qword ptr [endless_count]",
    "iretq",
    ".balign 8",
    "endless_count: .quad 0",
);

unsafe extern "C" {
    fn endless_entry();
}

pub fn run() {
    let cpus = smp::start();
    for (name, storm) in [("#DB", debug_storm::debug_exceptions as fn()), ("#AC", debug_storm::alignment_checks)] {
        // The storm is here; the last CPU watches.
        let ((), life) = smp::watched_by(cpus - 1, || (0..3).for_each(|_| storm()));
        check_life(name, life);
    }
    // QEMU 7.2 does not look at breakpoints while it delivers an exception.
    if !qemu() {
        endless(cpus);
    }
    seen!("the CPU beside the storms lives");
}

/// The delivery of #DB on the stack for exceptions writes where a breakpoint is: the next #DB, before the handler's first
/// instruction.
fn endless(cpus: usize) {
    with_stack_entry(DB, endless_entry, || {
        let theirs = || {
            let top = tiny::machine::area::this().exception_stack() & !15;
            // SAFETY: what follows never ends but by INIT.
            unsafe {
                asm!("mov dr0, {0}", "mov dr7, {1}", ".byte 0xf1", in(reg) top - 8, in(reg) 0x400u64 | 2 | 0b1101 << 16)
            };
        };
        if cpus > 2 {
            let ((), life) = smp::watched_by(cpus - 1, || smp::beside_forever(1, &theirs, || delay_ms(200)));
            check_life("endless #DB", life);
        } else {
            smp::beside_forever(1, &theirs, || delay_ms(200));
        }
    });
    smp::on_cpu(1, &|| ());
    seen!("INIT ends a storm of #DB that nothing else ends");
}
