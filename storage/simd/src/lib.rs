//! The sector transform as the VMM uses it: on VAES or AES-NI where the CPU has them, else in software. And the cipher of packets, on
//! AVX-512, AVX2 or SSE2.
//!
//! The VMM itself is compiled without SIMD. Both live in the SIMD object (crate `simd_object`), and [`guest`]
//! keeps the guest's registers over each call into it. A call does a whole run of sectors, or a packet.
//!
//! What the machine must give while a transform runs, all of it in the *host's* control registers: CR0.EM = 0,
//! CR0.TS = 0, CR4.OSFXSR = 1 and, where the CPU has XSAVE, CR4.OSXSAVE = 1 on every CPU. Nothing that uses vector
//! registers or looks at XCR0 may interrupt (the VMM runs with GIF = 0 or interrupts off). XCR0 is the guest's and may
//! hold anything: AES-NI and SSE2 do not care, for the others it is widened during the call where it must be.
//!
//! Amber: `unsafe` in [`guest`], [`object`] and [`packets`], for calling the object.
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
#[allow(unsafe_code, reason = "calls into the object across a C interface")]
mod packets;

pub use engine::{Engine, PacketEngine};
pub use object::SimdXts;
pub use packets::PacketCipher;

#[cfg(test)]
#[allow(unsafe_code, reason = "fills registers and looks at them")]
mod tests;
