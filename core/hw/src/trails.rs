//! The trails of all CPUs.

use crate::cpus;
use alloc::boxed::Box;
use alloc::vec::Vec;
use lock::{Ranked, rank::TRAILS as RANK};
use record::Trail;

static TRAILS: Ranked<Vec<&'static Trail>, RANK> = Ranked::new(Vec::new());

/// The trail of this CPU, to be written by it alone. It lives as long as the VMM.
pub fn of_this_cpu() -> &'static Trail {
    let number = cpus::this().number();
    let mut trails = TRAILS.lock();
    while trails.len() <= number {
        trails.push(Box::leak(Box::default()));
    }
    trails[number]
}

/// Hands the trails to `look`, none while a CPU is being added. Takes no lock that may be held for good.
pub fn look<R>(look: impl FnOnce(&[&'static Trail]) -> R) -> R {
    match TRAILS.try_lock() {
        Some(trails) => look(&trails),
        None => look(&[]),
    }
}
