//! Chance and time of day, made of what comes with the calls.

use alloc::sync::Arc;
use chacha20::ChaCha20Rng;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use mediator::Instant;
use rand_core::{Rng, SeedableRng};
use wireguard::{Platform, Tai64n, Unavailable};

const NS_PER_S: u64 = 1_000_000_000;
/// Stamps run slower than time, by one part of so many. Time is the CPU's, measured within some thousandths at Shoji's start; the
/// next start begins with the machine's real-time clock again, and must not find that the last one was ahead of it.
const SLOWER_BY: u64 = 64;

/// The time of the last call, shared by a tunnel and its platform.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn now(&self) -> Instant {
        Instant(self.0.load(Relaxed))
    }

    /// It is `now_ns`; time never goes back.
    pub fn advance(&self, now_ns: u64) -> Instant {
        Instant(self.0.fetch_max(now_ns, Relaxed).max(now_ns))
    }
}

/// The platform of a tunnel.
pub struct Chance {
    generator: ChaCha20Rng,
    clock: Clock,
    /// The time of day at the clock's zero, in nanoseconds since 1970.
    unix_ns: u64,
}

impl Chance {
    pub fn new(seed: &[u8; 32], clock: Clock, unix_ns: u64) -> Self {
        Self { generator: ChaCha20Rng::from_seed(*seed), clock, unix_ns }
    }

    pub fn draw(&mut self) -> u64 {
        self.generator.next_u64()
    }
}

impl Platform for Chance {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Unavailable> {
        self.generator.fill_bytes(bytes);
        Ok(())
    }

    fn tai64n(&mut self) -> Result<Tai64n, Unavailable> {
        let now = self.clock.now().0;
        let unix_ns = self.unix_ns.saturating_add(now.saturating_sub(now / SLOWER_BY));
        let nanos = u32::try_from(unix_ns % NS_PER_S).map_err(|_| Unavailable)?;
        Ok(Tai64n::from_unix(unix_ns / NS_PER_S, nanos))
    }
}
