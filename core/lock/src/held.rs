//! What each CPU holds; without debug assertions nothing of it is there.

use core::sync::atomic::AtomicU64;
#[cfg(debug_assertions)]
use core::sync::atomic::Ordering::Relaxed;

#[cfg(debug_assertions)]
static HELD: spin::Once<fn() -> &'static AtomicU64> = spin::Once::new();

/// From now on the order is checked. `of_this_cpu` gives a word that this CPU alone changes, at first zero: bit n tells that
/// it holds a lock of rank n. Only the first call counts; without debug assertions none does.
pub fn set_held(of_this_cpu: fn() -> &'static AtomicU64) {
    #[cfg(debug_assertions)]
    HELD.call_once(|| of_this_cpu);
    #[cfg(not(debug_assertions))]
    let _ = of_this_cpu;
}

/// A lock is held as long as this lives.
pub(crate) struct Mark {
    #[cfg(debug_assertions)]
    noted: Option<(&'static AtomicU64, u64)>,
}

#[cfg(debug_assertions)]
impl Mark {
    pub fn in_order(rank: u8) -> Self {
        if let Some(held) = HELD.get() {
            let held = held().load(Relaxed);
            assert!(
                held.wrapping_shr(rank.into()) == 0,
                "a lock of rank {rank} is taken out of order: bits of the ranks held {held:#b}"
            );
        }
        Self::in_any_order(rank)
    }

    /// One of the same rank may be held already, and stays so afterwards.
    pub fn in_any_order(rank: u8) -> Self {
        let bit = 1_u64.wrapping_shl(rank.into());
        let noted = HELD.get().and_then(|held| {
            let held = held();
            (held.fetch_or(bit, Relaxed) & bit == 0).then_some((held, bit))
        });
        Self { noted }
    }
}

#[cfg(debug_assertions)]
impl Drop for Mark {
    fn drop(&mut self) {
        if let Some((held, bit)) = self.noted {
            held.fetch_and(!bit, Relaxed);
        }
    }
}

#[cfg(not(debug_assertions))]
impl Mark {
    #[inline(always)]
    pub fn in_order(_: u8) -> Self {
        Self {}
    }

    #[inline(always)]
    pub fn in_any_order(_: u8) -> Self {
        Self {}
    }
}
