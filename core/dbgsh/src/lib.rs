//! dbgsh: who may use the shell in the VMM. The protocol is `abi::shell`'s; here are the VMM's side of it and the client's.
//!
//! The client shows that it knows the key of the configuration by a proof over a challenge that is good once; each of its lines is
//! authenticated under a key of its session, so that no other program of the guest can use it. What nobody has proven costs the
//! VMM no memory: a challenge is computed again from what comes back.
//!
//! Specification: RFC 2104 (HMAC), FIPS 180-4 (SHA-256).
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

mod client;
mod mac;
mod server;
#[cfg(test)]
mod tests;
mod throttle;

pub use client::{Client, Hello};
pub use mac::{BootNonce, SharedKey};
pub use server::{Server, Step};
