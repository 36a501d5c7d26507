//! SDM and APM definitions that the x86_64 crate lacks: numbers and layouts, no instructions.
//!
//! Manual: *AMD64 Architecture Programmer's Manual (APM)*, Vol. 2, publication 24593, revision 3.42; sections cited
//! in the files of [`svm`] are of that volume.
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

pub mod msr;
pub mod svm;
