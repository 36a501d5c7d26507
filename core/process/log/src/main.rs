//! The smallest program: it greets.
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

use userlib::{Error, Leases, Port, Service, open};

struct Hello;

impl Service<Port> for Hello {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        match op {
            0 => Ok(leases.write(0, 0, b"Hello from ring 3.\n")? as u64),
            // Nothing but the way here and back.
            1 => Ok(1),
            // Another program's answer; for tests one that does not come.
            op => open("crash")?.call(op >> 8, &mut []),
        }
    }
}

fn main() {
    userlib::serve(&[("logs", &Hello)]);
}
