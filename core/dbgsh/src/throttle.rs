//! How often wrong proofs may come, from whomever.

const FIRST_PAUSE_NS: u64 = 1_000_000_000;
/// 1 s doubled six times: about a minute.
const MOST_DOUBLINGS: u32 = 6;

/// Counts wrong proofs. One after another they cost 1, 2, 4, ... up to 64 seconds in which none is looked at, of anybody; only a right one
/// ends the series. It has one state for all, so that a new session, another program or another CPU is no way round.
#[derive(Default)]
pub(crate) struct Throttle {
    failures: u32,
    closed_until_ns: u64,
}

impl Throttle {
    /// Nanoseconds until a proof is looked at.
    pub fn pause_ns(&self, now_ns: u64) -> Option<u64> {
        self.closed_until_ns.checked_sub(now_ns).filter(|left| *left > 0)
    }

    pub fn failed(&mut self, now_ns: u64) {
        let pause = FIRST_PAUSE_NS.wrapping_shl(self.failures.min(MOST_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        self.closed_until_ns = now_ns.saturating_add(pause);
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }
}
