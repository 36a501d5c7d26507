//! Ways to reset the machine: a triple fault, the keyboard controller, port 92h, port CF9h.
//!
//! After each the machine must come back through its firmware, under Shoji if it was. A CMOS byte, which survives
//! resets and is zero when the machine is switched on, tells how far the guest has come.

use super::shoji;
use crate::machine::cmos::{self, STAGE, UNDER_SHOJI};
use crate::machine::port::{in8, out8};
use core::arch::asm;

pub fn run() {
    let stage = cmos::read(STAGE);
    if stage == 0 {
        cmos::write(UNDER_SHOJI, u8::from(shoji()));
    }
    check_eq!(cmos::read(UNDER_SHOJI), u8::from(shoji()), "under Shoji at stage {stage}");
    cmos::write(STAGE, stage + 1);
    let way = match stage {
        0 => "a triple fault",
        1 => "the keyboard controller",
        2 => "port 92h",
        3 => "port CF9h",
        _ => return,
    };
    say!("stage {stage}: reset by {way}");
    crate::machine::com2::drain();
    match stage {
        0 => triple_fault(),
        1 => out8(0x64, 0xfe),
        2 => out8(0x92, in8(0x92) & !1 | 1),
        _ => {
            out8(0xcf9, 2);
            out8(0xcf9, 6);
        }
    }
    for _ in 0..1_000_000 {
        in8(0x80);
    }
    crate::report::fail(format_args!("no reset by {way}"))
}

fn triple_fault() {
    let empty = [0u16; 5];
    // SAFETY: ends the program.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &empty) };
}
