//! Program: the tunnels of network cards. Outer network, protocol and keys are here; ring 0 moves frames between it and the cards.
//!
//! Service `vpn`: see `abi::vpn`.
#![cfg_attr(target_os = "none", no_std)]
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

use spin::Mutex;
use userlib::{Error, Leases, Port, Service};
use vpn_server::Server;

struct Vpn(Mutex<Server>);

impl Service<Port> for Vpn {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        self.0.try_lock().ok_or(Error::Busy)?.handle(op, leases)
    }
}

fn main() {
    userlib::serve(&[(abi::vpn::NAME, &Vpn(Mutex::new(Server::new())))]);
}
