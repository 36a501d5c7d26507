//! COM2, 115200 8N1, polled. (National Semiconductor PC16550D data sheet, s. 8)

use super::port::{in8, out8};
use core::fmt::{self, Write};
use core::hint::spin_loop;
use core::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

const BASE: u16 = 0x2f8;
const LINE_STATUS: u16 = BASE + 5;
const TRANSMIT_HOLDING_EMPTY: u8 = 1 << 5;
const TRANSMITTER_EMPTY: u8 = 1 << 6;

pub fn init() {
    out8(BASE + 1, 0); // no interrupts
    out8(BASE + 3, 0x80); // divisor latch
    out8(BASE, 1);
    out8(BASE + 1, 0);
    out8(BASE + 3, 3); // 8N1
    out8(BASE + 2, 7); // FIFOs on and empty
    out8(BASE + 4, 3); // DTR, RTS
}

struct Com2;

impl Write for Com2 {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            while in8(LINE_STATUS) & TRANSMIT_HOLDING_EMPTY == 0 {}
            out8(BASE, byte);
        }
        Ok(())
    }
}

/// Held while a line is written; see [`line`].
static BUSY: AtomicBool = AtomicBool::new(false);
/// Looks at it before a CPU writes in spite of it: the other one may never come back.
const PATIENCE: u32 = 50_000_000;

/// Writes a line; those of several CPUs come one after the other.
pub fn line(text: fmt::Arguments<'_>) {
    let free = |_: &u32| BUSY.compare_exchange(false, true, Acquire, Relaxed).is_ok();
    (0..PATIENCE).find(|i| {
        free(i) || {
            spin_loop();
            false
        }
    });
    let _ = Com2.write_fmt(text); // cannot fail: write_str does not
    let _ = Com2.write_str("\n");
    BUSY.store(false, Release);
}

/// Waits until the last byte has left.
pub fn drain() {
    while in8(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {}
}
