//! The log and the verdict.

use crate::boot;
use crate::machine::{com2, cpu, port};
use core::fmt;

/// isa-debug-exit: QEMU ends with status `2 * value + 1`.
const EXIT_PORT: u16 = 0xf4;
const PASS: u8 = 0x10;
const FAIL: u8 = 0x11;

/// Writes a line to the log.
macro_rules! say {
    ($($arg:tt)*) => { $crate::machine::com2::line(format_args!($($arg)*)) };
}

/// Ends the guest with a FAIL and this reason unless the condition holds.
macro_rules! check {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            $crate::report::fail(format_args!($($reason)+))
        }
    };
}

/// Ends the guest with a FAIL that shows both values unless they are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr, $($reason:tt)+) => {{
        let (left, right) = ($left, $right);
        if left != right {
            $crate::report::fail(format_args!("{}: {:x?}, not {:x?} (hexadecimal)", format_args!($($reason)+), left, right))
        }
    }};
}

pub fn pass() -> ! {
    say!("PASS {}", boot::name());
    end(PASS)
}

pub fn fail(reason: fmt::Arguments<'_>) -> ! {
    say!("FAIL {}: {reason}", boot::name());
    end(FAIL)
}

fn end(verdict: u8) -> ! {
    com2::drain();
    port::out8(EXIT_PORT, verdict);
    loop {
        cpu::halt_forever();
    }
}
