//! How often something may be done.

use mediator::Instant;

const NS_PER_S: u64 = 1_000_000_000;
/// Pauses before a program is set up again: doubling from one to the other.
const FIRST_PAUSE_NS: u64 = 10_000_000;
const MAX_PAUSE_NS: u64 = NS_PER_S;
/// A program that has served so long has not failed in a row.
const HEALTHY_NS: u64 = 60 * NS_PER_S;

pub fn after(now: Instant, ns: u64) -> Instant {
    Instant(now.0.saturating_add(ns))
}

/// Pauses between failures.
pub struct Pauses(u64);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE_NS)
    }
}

impl Pauses {
    /// When to try again after a failure; `served_since`: since when all was well, if it was.
    pub fn next(&mut self, now: Instant, served_since: Option<Instant>) -> Instant {
        if served_since.is_some_and(|since| now.0.saturating_sub(since.0) >= HEALTHY_NS) {
            *self = Self::default();
        }
        let until = after(now, self.0);
        self.0 = self.0.saturating_mul(2).min(MAX_PAUSE_NS);
        until
    }
}

/// Lines of the log: some at once, then one a second.
pub struct Lines {
    left: u64,
    filled: Instant,
}

const MOST_LINES: u64 = 16;

impl Default for Lines {
    fn default() -> Self {
        Self { left: MOST_LINES, filled: Instant(0) }
    }
}

impl Lines {
    /// May one more be written?
    pub fn take(&mut self, now: Instant) -> bool {
        let seconds = now.0.saturating_sub(self.filled.0) / NS_PER_S;
        if seconds > 0 {
            self.left = self.left.saturating_add(seconds).min(MOST_LINES);
            self.filled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}
