//! SDM and APM definitions that the x86_64 crate lacks: numbers and layouts, no instructions.
//!
//! Manuals: *AMD64 Architecture Programmer's Manual (APM)*, Vol. 2, publication 24593, revision 3.42: sections cited
//! in the files of [`svm`] are of that volume. *Intel 64 and IA-32 Architectures Software Developer's Manual (SDM)*,
//! order number 325462, revision 083: sections cited in the files of [`vmx`] are of its Vol. 3C and 3D.
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

mod memory_type;
pub mod msr;
pub mod mtrr;
mod permission;
pub mod svm;
pub mod vmx;

pub use memory_type::MemoryType;
pub use permission::{IOPM_BYTES, IoPermissionMap, iopm_bit};
