//! What an exit is and who answers it: dispatcher, bus, one file per kind of exit.
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

mod vcpu;

pub use vcpu::{ControlRegisters, Exception, Exit, Gpr, IoExit, NestedFault, Segment, SegmentName, Vcpu};
