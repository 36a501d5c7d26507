//! Locks with an order.
//!
//! Each lock has a rank, and a CPU takes only locks of a higher rank than all that it holds; so no circle of CPUs ever
//! waits for one another. The locks are fair: whoever waits comes next, after at most one turn of each other CPU. Nobody
//! holds a lock while it waits for anything but a lock.
//!
//! With debug assertions the order is checked at every lock, once [`set_held`] has told where a CPU notes what it holds.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

mod held;
pub mod rank;
#[cfg(test)]
mod tests;

use core::ops::{Deref, DerefMut};
use held::Mark;
use spin::mutex::{TicketMutex, TicketMutexGuard};

/// What a CPU does while it waits.
#[cfg(not(feature = "threads"))]
type Wait = spin::relax::Spin;
#[cfg(feature = "threads")]
type Wait = spin::relax::Yield;

pub use held::set_held;

/// A value behind a lock of this rank, one of [`rank`].
pub struct Ranked<T, const RANK: u8>(TicketMutex<T, Wait>);

impl<T, const RANK: u8> Ranked<T, RANK> {
    const RANK_FITS: () = assert!(RANK < rank::END);

    pub const fn new(value: T) -> Self {
        let () = Self::RANK_FITS;
        Self(TicketMutex::new(value))
    }

    /// Waits until it is this CPU's turn.
    ///
    /// # Panics
    /// With debug assertions: this CPU holds a lock of this rank or a higher one.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, RANK> {
        // Before it waits: what is wrong here may never come to an end.
        let mark = Mark::in_order(RANK);
        Guard { value: self.0.lock(), _mark: mark }
    }

    /// Does not wait, so that the order does not matter. `None`: somebody holds it, maybe this CPU.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK>> {
        self.0.try_lock().map(|value| Guard { value, _mark: Mark::in_any_order(RANK) })
    }

    /// Nobody else has it, so that there is nothing to lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: Default, const RANK: u8> Default for Ranked<T, RANK> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// The value, as long as the lock is held.
pub struct Guard<'a, T, const RANK: u8> {
    value: TicketMutexGuard<'a, T, Wait>,
    _mark: Mark,
}

impl<T, const RANK: u8> Deref for Guard<'_, T, RANK> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T, const RANK: u8> DerefMut for Guard<'_, T, RANK> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
