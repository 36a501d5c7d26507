//! RDMSR of every number in the ranges that exist, at CPL 0, and of some at CPL 3.
//!
//! Safe: a value or #GP(0), whatever the number; #GP at CPL 3.

use crate::frame::code;
use tiny::machine::cpu::rdmsr;
use tiny::machine::exceptions::{Fault, GP};

/// The ranges of the permission maps, those of hypervisors, and the borders around them.
pub const RANGES: [core::ops::RangeInclusive<u32>; 7] = [
    0..=0x2001,
    0x3fff_fff0..=0x4000_1fff,
    0x4b56_4d00..=0x4b56_4d0f,
    0xbfff_fff0..=0xc000_2001,
    0xc001_0000..=0xc001_2001,
    0x7fff_fff8..=0x8000_0007,
    0xffff_fff8..=0xffff_ffff,
];

pub fn run() {
    for range in RANGES {
        let mut readable = Runs::default();
        for msr in range {
            match rdmsr(msr) {
                Ok(_) => readable.add(msr),
                Err(Fault { vector: GP, error: 0, .. }) => {}
                Err(f) => tiny::report::fail(format_args!("RDMSR of {msr:#x}: {f:x?}, not #GP(0)")),
            }
        }
        readable.end();
    }
    at_cpl_3();
}

fn at_cpl_3() {
    for msr in [0x10u32, 0x1b, 0xc000_0080, 0x4000_0000] {
        let [a, b, c, d] = msr.to_le_bytes();
        for (name, opcode) in [("RDMSR", 0x32), ("WRMSR", 0x30)] {
            let ended = code::run_user(&[0xb9, a, b, c, d, 0x0f, opcode]);
            check_eq!((ended.fault.vector, ended.distance), (GP, 5), "{name} of {msr:#x} at CPL 3");
        }
    }
    seen!("RDMSR and WRMSR at CPL 3: #GP");
}

/// Consecutive numbers, told as ranges.
#[derive(Default)]
struct Runs(Option<(u32, u32)>);

impl Runs {
    fn add(&mut self, msr: u32) {
        self.0 = match self.0 {
            Some((first, last)) if last.wrapping_add(1) == msr => Some((first, msr)),
            old => {
                Self(old).end();
                Some((msr, msr))
            }
        };
    }

    fn end(&mut self) {
        match self.0.take() {
            Some((first, last)) if first == last => seen!("MSR {first:#x} can be read"),
            Some((first, last)) => seen!("MSRs {first:#x} to {last:#x} can be read"),
            None => {}
        }
    }
}
