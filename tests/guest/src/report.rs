//! The log and the verdict.

use crate::boot;
use crate::machine::{com2, port, smp};
use core::fmt;

/// isa-debug-exit: QEMU ends with status `2 * value + 1`.
const QEMU_EXIT: u16 = 0xf4;
/// Bochs stops in its debugger at `D`, and panics at `Shutdown`. (Bochs 2.7, iodev/unmapped.cc)
const BOCHS_EXIT: u16 = 0x8900;

/// What ends the emulator: the byte for QEMU, the word for Bochs. Nobody is at the other's port.
struct End(u8, &'static [u8]);
const PASS: End = End(0x10, b"D");
const FAIL: End = End(0x11, b"Shutdown");

/// Writes a line to the log.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::machine::com2::line(format_args!($($arg)*)) };
}

/// Ends the guest with a FAIL and this reason unless the condition holds.
#[macro_export]
macro_rules! check {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            $crate::report::fail(format_args!($($reason)+))
        }
    };
}

/// Ends the guest with a FAIL that shows both values unless they are equal.
#[macro_export]
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
    if boot::cpus() > 1 {
        say!("CPU {}:", smp::number());
    }
    say!("FAIL {}: {reason}", boot::name());
    end(FAIL)
}

fn end(End(for_qemu, for_bochs): End) -> ! {
    com2::drain();
    port::out8(QEMU_EXIT, for_qemu);
    // Again and again: Bochs' debugger may have commands left.
    loop {
        for_bochs.iter().for_each(|&byte| port::out8(BOCHS_EXIT, byte));
    }
}

/// Ends the guest unless it went well.
pub fn must<T, E: fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(e) => fail(format_args!("{what}: {e:x?}")),
    }
}
