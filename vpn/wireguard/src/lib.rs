//! WireGuard as a state machine: datagrams, packets and milliseconds go in; datagrams, packets and a deadline come out.
//!
//! Nothing here reads a clock, opens a socket or waits. The caller owns the UDP socket and the buffers; a packet is sealed and
//! opened where it lies. What is not authentic is dropped and counted by its reason ([`DropReason`]); nothing a datagram or a
//! packet holds makes this code panic, or take memory without bound.
//!
//! ```text
//! a packet to send       -> Tunnel::on_packet   -> sealed in place, or kept until there is a session
//! a datagram             -> Tunnel::on_datagram -> a packet opened in place, or nothing
//! whatever is to be sent <- Tunnel::poll_transmit (after each call of the others, until it has no more)
//! the clock              -> Tunnel::on_timeout, at Tunnel::poll_timeout at the latest
//! ```
//!
//! Source: J. A. Donenfeld, WireGuard: Next Generation Kernel Network Tunnel, 2020-06-01, "the paper" in what follows.
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
#[macro_use]
extern crate std;
#[cfg(test)]
extern crate self as wireguard;

mod aead;
mod allowed_ips;
mod cookie;
mod drops;
mod handshakes;
mod hash;
mod ip;
mod keys;
mod limiter;
mod messages;
mod noise;
mod outbox;
mod peer;
mod platform;
mod replay;
mod session;
mod shared;
mod staging;
mod timers;
mod tunnel;

#[cfg(test)]
mod tests;

pub use aead::{TAG_BYTES, open, seal};
pub use allowed_ips::{AllowedIps, IpPrefix, NotAPrefix};
pub use drops::{DropReason, Drops};
pub use keys::{CipherKey, KEY_BYTES, PresharedKey, PrivateKey, PublicKey};
pub use messages::{DATA_HEADER_BYTES, MAX_HANDSHAKE_BYTES};
pub use outbox::Transmit;
pub use peer::PeerConfig;
pub use platform::{Platform, Tai64n, Unavailable};
pub use timers::constants;
pub use tunnel::{AddPeerError, MAX_PEERS, Options, PeerId, PeerStatus, Received, Sent, Tunnel};

/// Bytes that a datagram has more than its packet, padding left out.
pub const OVERHEAD_BYTES: usize = DATA_HEADER_BYTES.saturating_add(TAG_BYTES);
