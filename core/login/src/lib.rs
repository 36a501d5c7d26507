//! The login before the guest's boot: from scan codes and bytes of a serial port to a pass phrase or recovery key, and how often and
//! how fast it may be tried.
//!
//! Everything is a state machine over a [`Terminal`]; [`run`] is the whole dialogue. Scan codes are those of set 1, as the BIOS
//! hands them to INT 15h AH=4Fh, before it has made characters of them: so no key of any layout is lost.
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

mod dialogue;
mod keyboard;
mod layout;
mod line;
mod serial;
#[cfg(test)]
mod tests;

pub use dialogue::{Answer, Input, MAX_PAUSE_MS, Outcome, Secret, Terminal, run};
pub use keyboard::{Key, Keyboard, Locks};
pub use layout::Layout;
pub use line::MAX_SECRET_BYTES;
