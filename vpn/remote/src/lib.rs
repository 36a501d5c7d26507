//! A card's tunnel that runs elsewhere: in a program in ring 3, which a call reaches ([`abi::vpn`]).
//!
//! ```text
//! card's mediator -> Near -> bounded queues -> Far -> a call -> the program
//! card's mediator <- Near <- bounded queues <- Far <- its answer
//! ```
//!
//! [`Near`] is what the mediator is given. It never waits and calls nobody: the mediator holds its card's lock, under which no program may
//! run. [`Far`] belongs to a task, which is woken by [`Far::poll_rung`] and moves frames in batches. A frame that the program gave for one side
//! goes to that side; nothing else goes anywhere. A program that fails, or answers what cannot be, is not believed any more: what was
//! queued either way is dropped and counted, the tunnel is down, and the program is set up anew once it answers again.
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

extern crate alloc;
#[cfg(test)]
extern crate std;

mod far;
mod link;
mod near;
mod pace;
mod queue;
#[cfg(test)]
mod tests;

pub use far::{Far, Host, Next, Outcome};
pub use link::{Counters, Watch};
pub use near::Near;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// A tunnel's setup as `CONFIGURE` takes it: keys are in it.
pub type EncodedSetup = Zeroizing<Vec<u8>>;

/// Both ends of the tunnel with this number; `name` is for the log. Nothing passes before [`Far::begin`]. `None`: no memory.
#[must_use]
pub fn pair(number: usize, name: String, setup: EncodedSetup) -> Option<(Near, Far)> {
    let link = Arc::new(link::Link::new()?);
    Some((Near::new(Arc::clone(&link)), Far::new(link, number, name, setup)?))
}

/// Sides are the same ones everywhere.
fn side_for(side: mediator::net::Side) -> abi::vpn::Side {
    match side {
        mediator::net::Side::Guest => abi::vpn::Side::Guest,
        mediator::net::Side::Wire => abi::vpn::Side::Wire,
    }
}

const _: () = assert!(abi::vpn::MAX_FRAME_BYTES == mediator::net::MAX_FRAME_BYTES);
