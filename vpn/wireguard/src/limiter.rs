//! Under load, how often one source may begin a handshake (the paper, 5.3): a bucket for each, and a bounded number of them.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// What one message costs: a source has 20 of them a second.
const COST_MS: u64 = 50;
/// What a source can save up: a burst of 5.
const MAX_SAVED_MS: u64 = 250;
/// A source that was silent for so long has nothing to be remembered.
const FORGET_AFTER_MS: u64 = 1000;
/// Sources at a time; others wait.
const MAX_SOURCES: usize = 1024;

/// How many handshake messages come, and from whom.
pub struct Limiter {
    /// Handshake messages a second that are no load.
    max_per_second: u32,
    second: u64,
    in_second: u32,
    /// Until when load is assumed.
    load_until_ms: u64,
    sources: BTreeMap<Source, Bucket>,
    cleaned_ms: u64,
}

/// An IPv4 address, or what a customer gets of IPv6: a /64.
type Source = (bool, u64);

struct Bucket {
    saved_ms: u64,
    filled_ms: u64,
}

impl Limiter {
    pub const fn new(max_per_second: u32) -> Self {
        Self { max_per_second, second: 0, in_second: 0, load_until_ms: 0, sources: BTreeMap::new(), cleaned_ms: 0 }
    }

    pub const fn set_max_per_second(&mut self, max_per_second: u32) {
        self.max_per_second = max_per_second;
    }

    /// Counts a message; are we under load? Load lasts for a second after its last sign.
    pub fn is_under_load(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        if self.in_second > self.max_per_second {
            self.load_until_ms = now_ms.saturating_add(1000);
        }
        now_ms < self.load_until_ms
    }

    /// May this source have one more message looked at?
    pub fn allows(&mut self, now_ms: u64, source: IpAddr) -> bool {
        self.forget_silent(now_ms);
        let source = match source {
            IpAddr::V4(address) => (false, address.to_bits().into()),
            IpAddr::V6(address) => (true, address.to_bits().wrapping_shr(64) as u64),
        };
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            return false;
        }
        let full = Bucket { saved_ms: MAX_SAVED_MS, filled_ms: now_ms };
        let bucket = self.sources.entry(source).or_insert(full);
        let since_ms = now_ms.saturating_sub(bucket.filled_ms);
        bucket.saved_ms = bucket.saved_ms.saturating_add(since_ms).min(MAX_SAVED_MS);
        bucket.filled_ms = now_ms;
        let rest = bucket.saved_ms.checked_sub(COST_MS);
        bucket.saved_ms = rest.unwrap_or(bucket.saved_ms);
        rest.is_some()
    }

    fn forget_silent(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.cleaned_ms) >= FORGET_AFTER_MS {
            self.cleaned_ms = now_ms;
            self.sources.retain(|_, bucket| now_ms.saturating_sub(bucket.filled_ms) < FORGET_AFTER_MS);
        }
    }
}
