//! PCI configuration space: mechanism 1, where it lies in memory, headers, the scan at boot, what
//! a guard of a function needs, and the registers of chipsets that guards rely on.
//!
//! PCI Local Bus Specification, revision 3.0. Nothing here touches a port: the VMM gives a [`ConfigSpace`], and asks
//! [`Address::decode`] what an access of the guest to CFCh-CFFh means.
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

mod bar;
mod capability;
pub mod chipset;
mod ecam;
pub mod header;
mod hidden;
mod mechanism1;
mod memory_guard;
mod merge;
pub mod message;
mod scan;

pub use bar::{io_base, is_io};
pub use capability::{Capabilities, Capability, id};
pub use ecam::{PCIEXBAR, VENDOR_INTEL, mmio_config_base, read_pciexbar};
pub use hidden::HIDE;
pub use mechanism1::{Address, CONFIG_ADDRESS, CONFIG_DATA};
pub use memory_guard::{Block, MemoryGuard, memory_regions};
pub use merge::merge;
pub use scan::{ConfigSpace, function, scan};

#[cfg(test)]
mod hidden_tests;
#[cfg(test)]
mod memory_guard_tests;
#[cfg(test)]
mod tests;
