//! The sector transform as the VMM uses it: on VAES or AES-NI where the CPU has them, else in software.
//!
//! The VMM itself is compiled without SIMD. AES-NI and VAES live in the SIMD object (crate `simd_object`), and [`guest`]
//! keeps the guest's registers over each call into it. A call does a whole run of sectors.
//!
//! What the machine must give while a transform runs, all of it in the *host's* control registers: CR0.EM = 0,
//! CR0.TS = 0, CR4.OSFXSR = 1 and, where the CPU has XSAVE, CR4.OSXSAVE = 1 on every CPU. Nothing that uses vector
//! registers or looks at XCR0 may interrupt (the VMM runs with GIF = 0 or interrupts off). XCR0 is the guest's and may
//! hold anything: AES-NI does not care, for VAES it is widened during the call where it must be.
//!
//! Amber: `unsafe` in [`guest`] and [`object`], for calling the object.
#![no_std]
#![deny(unsafe_code)]
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

mod engine;
#[allow(unsafe_code, reason = "calls into the object across a C interface")]
mod guest;
#[allow(unsafe_code, reason = "calls into the object across a C interface")]
mod object;

pub use engine::Engine;
pub use object::SimdXts;

#[cfg(test)]
#[allow(unsafe_code, reason = "fills registers and looks at them")]
mod tests;
