//! The last exits of a CPU.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// As many as a `u8` counts, so that its overflow closes the ring: a note then takes no instruction to wrap.
const STEPS: usize = 256;
/// Exits that are told of a CPU.
pub const SHOWN: usize = 64;
/// A code that neither vendor's hardware gives.
const NONE: u32 = 0x7fff_ffff;

/// One exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The hardware's exit code or reason, its low half.
    pub code: u32,
    /// The guest's RIP.
    pub rip: u64,
}

/// A ring that one CPU writes, at each of its exits, and any may read. A reader may find the step in hand half written; it is
/// told what was there, never anything of another place.
///
/// One array for each field: their elements are addressed by the counter alone.
pub struct Trail {
    next: AtomicU8,
    codes: [AtomicU32; STEPS],
    rips: [AtomicU64; STEPS],
}

impl Trail {
    pub const fn new() -> Self {
        Self {
            next: AtomicU8::new(0),
            codes: [const { AtomicU32::new(NONE) }; STEPS],
            rips: [const { AtomicU64::new(0) }; STEPS],
        }
    }

    /// Notes an exit. No time: RDTSC would cost as much as all the rest.
    #[inline(always)]
    #[allow(clippy::indexing_slicing, reason = "a u8 is below STEPS")]
    pub fn note(&self, code: u32, rip: u64) {
        let next = self.next.load(Relaxed);
        let at = usize::from(next);
        self.codes[at].store(code, Relaxed);
        self.rips[at].store(rip, Relaxed);
        // One writer: no read-modify-write, whose lock would cost more than all the rest.
        self.next.store(next.wrapping_add(1), Relaxed);
    }

    /// The last exits, newest first; no more than [`SHOWN`], and none where there was none.
    pub fn newest_first(&self) -> impl Iterator<Item = Step> {
        let next = self.next.load(Relaxed);
        let steps = (1..=SHOWN as u8).map(move |back| self.step(next.wrapping_sub(back)));
        steps.take_while(|step| step.code != NONE)
    }

    #[allow(clippy::indexing_slicing, reason = "a u8 is below STEPS")]
    fn step(&self, at: u8) -> Step {
        let at = usize::from(at);
        Step { code: self.codes[at].load(Relaxed), rip: self.rips[at].load(Relaxed) }
    }
}

impl Default for Trail {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn trail(exits: u64) -> Trail {
        let trail = Trail::new();
        (1..=exits).for_each(|n| trail.note(n as u32, n << 4));
        trail
    }

    #[test]
    fn no_exit_leaves_no_step() {
        assert_eq!(trail(0).newest_first().count(), 0);
    }

    #[test]
    fn the_first_exits_are_told_newest_first() {
        let told: Vec<Step> = trail(3).newest_first().collect();
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], Step { code: 3, rip: 0x30 });
        assert_eq!(told[2].code, 1);
    }

    #[test]
    fn exit_zero_at_address_zero_is_an_exit_too() {
        let trail = Trail::new();
        trail.note(0, 0);
        assert_eq!(trail.newest_first().collect::<Vec<_>>(), [Step { code: 0, rip: 0 }]);
    }

    #[test]
    fn the_ring_keeps_the_last_exits_however_many_there_were() {
        for exits in [64, 65, 255, 256, 257, 300, 1000] {
            let codes: Vec<u32> = trail(exits).newest_first().map(|step| step.code).collect();
            let expected: Vec<u32> = (exits as u32 - 63..=exits as u32).rev().collect();
            assert_eq!(codes, expected, "{exits}");
        }
    }
}
