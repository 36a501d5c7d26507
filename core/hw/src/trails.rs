//! The trails of all CPUs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use lock::{Ranked, rank::TRAILS as RANK};
use record::Trail;

static TRAILS: Ranked<Vec<&'static Trail>, RANK> = Ranked::new(Vec::new());

/// A trail for one more CPU, to be written by it alone. It lives as long as the VMM.
pub fn add() -> &'static Trail {
    let trail: &Trail = Box::leak(Box::default());
    TRAILS.lock().push(trail);
    trail
}

/// Hands the trails to `look`, none while a CPU is being added. Takes no lock that may be held for good.
pub fn look<R>(look: impl FnOnce(&[&'static Trail]) -> R) -> R {
    match TRAILS.try_lock() {
        Some(trails) => look(&trails),
        None => look(&[]),
    }
}
