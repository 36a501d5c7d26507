//! Reads the file of wg-quick(8), as it is, into the configuration of a tunnel.
//!
//! Everything that is wrong or without effect is told at once, each with line, column and remedy. Nothing of the file is ever
//! quoted: a key may stand where nobody expects it. What wg-quick(8) would do to the machine it runs on (routes, commands, firewall
//! marks) has no effect here and gives a warning.
//!
//! Sources: the manual pages wg-quick(8) and wg(8), wireguard-tools 1.0. As there, white space counts nowhere, names of sections and keys are
//! read in any case, and `#` begins a comment anywhere in a line.
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

mod config;
mod finding;
mod interface;
mod keys;
mod lines;
mod peer;
mod read;
mod value;
mod wire;

#[cfg(test)]
mod tests;

pub use config::{Address, Endpoint, MTU, NotAnAddress, Peer, TunnelConfig};
pub use finding::{Finding, Severity};
pub use read::{MAX_FILE_BYTES, read};
