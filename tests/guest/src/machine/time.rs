//! Waiting by the timer chip, which counts whatever else the CPU does. (Intel 8254 data sheet, 231164; it runs as the BIOS has
//! set it up.)

use super::port::{in8, out8};

/// Counts of the timer in a millisecond. In mode 3, which the BIOS may have chosen, it counts by two.
const PER_MS: u32 = 2 * 1193;

fn count() -> u16 {
    out8(0x43, 0); // latch channel 0
    u16::from(in8(0x40)) | u16::from(in8(0x40)) << 8
}

/// A device that has not answered by then never will.
const TIMEOUT_MS: u32 = 10_000;

/// A point in time, to be asked how long ago it was.
pub struct Since {
    last: u16,
    counts: u32,
}

impl Since {
    pub fn now() -> Self {
        Self { last: count(), counts: 0 }
    }

    /// Milliseconds since then. It must be asked once in 20 ms at least, or time gets lost.
    pub fn ms(&mut self) -> u32 {
        let now = count();
        // Asked often enough, it has gone on by one: what is below a millisecond must not be rounded away.
        self.counts += u32::from(self.last.wrapping_sub(now));
        self.last = now;
        self.counts / PER_MS
    }
}

/// Waits at least that long.
pub fn delay_ms(ms: u32) {
    let mut since = Since::now();
    while since.ms() <= ms {}
}

/// Waits until it is so, for seconds at most, and then ends the guest.
pub fn wait_until(mut is_so: impl FnMut() -> bool, complaint: &str) {
    let mut since = Since::now();
    while !is_so() {
        check!(since.ms() < TIMEOUT_MS, "{complaint}");
    }
}

/// Seconds of the clock chip (0 to 59), in its own way to write them. (Motorola MC146818A)
pub fn clock_seconds() -> u8 {
    out8(0x70, 0);
    in8(0x71)
}

/// Runs code again and again for so many seconds of the clock chip.
pub fn for_seconds(seconds: u32, mut code: impl FnMut()) {
    let (mut last, mut changes) = (clock_seconds(), 0);
    // The first change begins the first second.
    while changes <= seconds {
        code();
        let now = clock_seconds();
        changes += u32::from(now != last);
        last = now;
    }
}
