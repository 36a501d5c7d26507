//! A card's mandatory tunnel: the guest's side, a protocol, the wire's side, and no way round.
//!
//! ```text
//! guest's frame -> inside -> packet -> Protocol -> datagram -> outside -> frame to the wire
//! wire's frame -> outside -> datagram -> Protocol -> packet -> inside -> frame to the guest
//! ```
//!
//! [`Tunnel`] implements the contract of network mediators. No byte of the guest's goes to `outside` but through a [`Protocol`], whose
//! datagrams are all that `outside` is given to send. While the wire has no address, or the protocol no session that it could get,
//! packets are dropped and counted; each change is told once, as an [`Event`].
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

mod event;
mod glue;
mod names;
mod protocol;
mod setup;
#[cfg(test)]
mod tests;
mod wg;

pub use event::Event;
pub use glue::{Counters, Tunnel};
pub use names::Name;
pub use protocol::{Protocol, Step};
pub use setup::{GATEWAY_MAC, SetupError, Wire, wireguard};
pub use wg::WireGuard;
