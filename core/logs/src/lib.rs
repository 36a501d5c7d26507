//! The log: one ring of records a CPU, read as one, and handed to sinks.
//!
//! A record gets its number and its time in one step, so that numbers and times of all CPUs rise together: readers merge the rings
//! by number. A ring forgets its oldest records; a CPU that logs much does not push out what others have to say. A reader keeps the number that it has
//! come to, and is told how many records it has missed.
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

mod answer;
mod logs;
mod ring;
#[cfg(test)]
mod tests;
mod text;

pub use abi::log::{Level, Record};
pub use answer::answer;
pub use logs::{Logs, Progress, Sink};
pub use text::Text;
