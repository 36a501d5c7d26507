//! The sector transform as the VMM uses it: on AES-NI where the CPU has it, else in software.
//!
//! The VMM itself is compiled without SIMD. AES-NI lives in the SIMD object (crate `simd_object`), and [`guest`] keeps
//! the guest's registers over each call into it.
//!
//! What the machine must give while a transform runs: CR0.EM = 0, CR0.TS = 0 and CR4.OSFXSR = 1 in the *host's*
//! control registers, and nothing that uses XMM registers may interrupt (the VMM runs with GIF = 0 or interrupts
//! off). XCR0 may hold anything.
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

#[allow(unsafe_code, reason = "calls into the object across a C interface")]
mod guest;
#[allow(unsafe_code, reason = "calls into the object across a C interface")]
mod object;

use alloc::sync::Arc;
use mediator::disk::SectorTransform;
use xts::{Aes256Xts, KEY_BYTES, XtsError};

pub use object::SimdXts;

/// Which AES the CPU gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    AesNi,
    Software,
}

impl core::fmt::Display for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::AesNi => "AES-NI",
            Self::Software => "software, constant-time",
        })
    }
}

impl Engine {
    /// Asks CPUID (SDM Vol. 2A, CPUID leaf 01H, ECX bit 25).
    pub fn of_this_cpu() -> Self {
        if core::arch::x86_64::__cpuid(1).ecx & (1 << 25) != 0 { Self::AesNi } else { Self::Software }
    }

    /// AES-256-XTS under a key (data key, then tweak key), with the tweak `plain64`. The caller wipes its `key`.
    ///
    /// # Errors
    /// [`XtsError`] when the key or the sector size cannot be used.
    pub fn aes_xts(self, key: &[u8; KEY_BYTES], sector_bytes: usize) -> Result<Arc<dyn SectorTransform>, XtsError> {
        Ok(match self {
            Self::AesNi => Arc::new(SimdXts::new(key, sector_bytes)?),
            Self::Software => Arc::new(<Aes256Xts>::new(key, sector_bytes)?),
        })
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "fills registers and looks at them")]
mod tests;
