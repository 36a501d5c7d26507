//! What is told of a defect of the VMM: the last exits of each CPU, a back trace, and a record of both that is found again
//! after a warm reboot.
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

mod backtrace;
mod page;
mod report;
mod trail;

pub use backtrace::Frames;
pub use page::{Page, RECORD_BYTES, take};
pub use report::{GprValues, Registers, Report};
pub use trail::{SHOWN, Step, Trail};
