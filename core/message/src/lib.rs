//! Messages: services have names, and whoever opens one gets a port to it. A service is the same in ring 0 and in ring 3.
//!
//! A call waits for its answer. It lends buffers ([`Leases`]), which the service reads and writes through copies only, as long as
//! the call lasts. Integers and ports are sent without an answer: a service in ring 3 keeps those that it cannot take yet in a
//! queue of bounded length. The end of a service is an error of whoever has a port to it ([`Error::Dead`]); it is opened anew.
//!
//! A call may last as long as the service's time budget, in which the CPU does nothing else: whoever calls holds no lock.
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

mod error;
mod leases;
mod name;
mod registry;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use leases::{Lease, Leases, NoLeases, Writer};
pub use name::Name;
pub use registry::{Entry, Port, Registration, list, open, register, set_starter};

/// Who answers calls. `P` is what a port is to it: [`Port`] in ring 0, a descriptor in ring 3.
pub trait Service<P>: Send + Sync {
    /// Answers a call; what `op` and the leases mean is the service's own matter, but 0 with one lease to be written is a text
    /// for people, whose length is the answer.
    ///
    /// # Errors
    /// [`Error::Refused`] for an `op` that the service does not know; others as they fit.
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error>;

    /// An integer was sent.
    ///
    /// # Errors
    /// [`Error::Refused`]: it takes none.
    fn on_int(&self, _value: u64) -> Result<(), Error> {
        Err(Error::Refused)
    }

    /// A port to another service was sent.
    ///
    /// # Errors
    /// [`Error::Refused`]: it takes none.
    fn on_port(&self, _port: P) -> Result<(), Error> {
        Err(Error::Refused)
    }
}
