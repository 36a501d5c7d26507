//! Ways to reset the machine: a triple fault, the keyboard controller, port 92h, port CF9h, and the latter as ACPI names it (FADT,
//! RESET_REG and RESET_VALUE of QEMU's Q35). Where there are other CPUs they are in the midst of exits, HLT or a jump to itself.
//!
//! After each the machine must come back through its firmware, with all its CPUs, under Shoji if it was. A CMOS byte, which survives
//! resets and is zero when the machine is switched on, tells how far the guest has come.

use super::shoji;
use crate::boot;
use crate::machine::cmos::{self, STAGE, UNDER_SHOJI};
use crate::machine::cpu;
use crate::machine::port::{in8, out8};
use crate::machine::smp;
use core::arch::asm;

const WAYS: [(&str, fn()); 5] = [
    ("a triple fault", triple_fault),
    ("the keyboard controller", || out8(0x64, 0xfe)),
    ("port 92h", || out8(0x92, in8(0x92) & !1 | 1)),
    ("port CF9h", || {
        out8(0xcf9, 2);
        out8(0xcf9, 6);
    }),
    ("ACPI's reset register", || out8(0xcf9, 0xf)),
];

/// What another CPU does meanwhile, for ever.
const DOINGS: [fn(); 3] = [
    || _ = in8(0x92),
    || _ = cpu::cpuid(1),
    // SAFETY: nothing ends it but the reset.
    || unsafe { asm!("cli", "hlt") },
];

pub fn run() {
    let stage = cmos::read(STAGE);
    if stage == 0 {
        cmos::write(UNDER_SHOJI, u8::from(shoji()));
    }
    check_eq!(cmos::read(UNDER_SHOJI), u8::from(shoji()), "under Shoji at stage {stage}");
    let cpus = smp::start();
    if usize::from(stage) == WAYS.len() * boot::rounds() as usize {
        return;
    }
    cmos::write(STAGE, stage + 1);
    let (way, reset) = WAYS[usize::from(stage) % WAYS.len()];
    say!("stage {stage}: reset by {way}");
    crate::machine::com2::drain();
    let doing = DOINGS[usize::from(stage) % DOINGS.len()];
    let work = || {
        loop {
            doing();
        }
    };
    match cpus {
        1 => until_reset(reset),
        _ => smp::beside_forever(1, &work, || until_reset(reset)),
    }
    crate::report::fail(format_args!("no reset by {way}"))
}

fn until_reset(reset: fn()) {
    reset();
    for _ in 0..1_000_000 {
        in8(0x80);
    }
}

fn triple_fault() {
    let empty = [0u16; 5];
    // SAFETY: ends the program.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &empty) };
}
