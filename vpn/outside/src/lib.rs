//! Shoji's own stack on the wire, under a tunnel.
//!
//! It has the card's hardware address, gets its addresses (DHCP, static, SLAAC), knows its neighbours, asks for names, and sends and takes
//! datagrams of the tunnel's ports. smoltcp does most of it, between two filters that stand on lists:
//!
//! | way | what passes |
//! |---|---|
//! | to the wire (`egress.rs`) | UDP from the tunnel's ports; ARP and neighbour discovery; DHCP and DNS if configured |
//! | from the wire (`ingress.rs`) | the answers to these, to our own addresses, reassembled (`reassembly.rs`) |
//!
//! Everything else, smoltcp's own errors and refusals included, is dropped and counted. The egress filter sits in the device that smoltcp
//! writes to: no frame reaches the wire's queue without it.
//!
//! Sources: RFC 791, 8200 (IP), 826 (ARP), 4861, 4862 (NDP, SLAAC), 7559 (solicitations that are lost), 8106 (DNS by routers), 2131 (DHCP).
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

mod addresses;
mod config;
mod counters;
mod device;
mod dhcp;
mod discovery;
mod egress;
mod ingress;
mod lanes;
mod names;
mod reassembly;
mod slaac;
mod stack;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Ipv4, Ipv6, MAX_DNS_SERVERS, MAX_PORTS};
pub use counters::{Counters, Refused, Unwanted};
pub use names::Resolved;
pub use stack::{Outside, SendError};
