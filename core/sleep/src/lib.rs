//! Sleep states of ACPI: what the firmware calls them ([`Types`]), how the guest asks for one ([`control`]), and where the
//! firmware goes on after it ([`Facs`]).
//!
//! Source: ACPI Specification 6.5, cited as "ACPI".
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

#[cfg(test)]
extern crate std;

mod aml;
pub mod control;
mod facs;
#[cfg(test)]
mod tests;
mod types;

pub use facs::{FACS_BYTES, Facs, Unwakeable, WakingVector};
pub use types::{State, Types};
