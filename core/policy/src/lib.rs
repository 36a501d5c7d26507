//! What a guest reaches and sees of its CPU: which MSRs and which bits of CPUID, each with the reason. Tables only; what a
//! rule does is `exit`'s affair, and which MSRs leave the guest is told to the CPU by `svm` and `vmx`.
//!
//! Whatever is in no table is refused: RDMSR and WRMSR of it raise #GP, as on a CPU without it. `cargo xtask policy` writes
//! the tables as a document.
//!
//! Manuals: Intel SDM Vol. 4 (335592) and Vol. 2A (325383), revision 083; AMD64 APM Vol. 2 (24593) revision 3.42 and Vol. 3
//! (24594) revision 3.36; *BIOS and Kernel Developer's Guides* for families 10h (31116) to 16h (52740) and *Processor
//! Programming References* for families 17h (54945) to 1Ah (57254).
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

pub mod amd;
mod cpuid;
mod document;
pub mod intel;
mod msr;
#[cfg(test)]
mod tests;

pub use cpuid::{CpuidLeaf, HiddenBits, HiddenFeatures, bits_in_order};
pub use document::document;
pub use msr::{MsrRow, Rule, find, in_order};

use alloc::vec::Vec;

/// What a guest on one vendor's CPUs neither reaches nor sees.
#[derive(Clone, Default)]
pub struct Policy {
    /// As [`in_order`] wants it.
    pub msrs: Vec<MsrRow>,
    pub hidden: HiddenFeatures,
    /// CPUID tells of SYSCALL in 64-bit mode only.
    pub syscall_in_64_bit_mode_only: bool,
    /// The instruction that calls the VMM.
    pub hypercall: [u8; 3],
}
