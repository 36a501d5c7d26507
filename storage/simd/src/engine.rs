//! What the CPU gives for AES.
//!
//! Source: SDM Vol. 2A, CPUID, leaves 01H, 07H and 0DH.

use crate::guest::{AVX_512, SSE_AVX};
use crate::object::SimdXts;
use alloc::sync::Arc;
use core::arch::x86_64::CpuidResult;
use mediator::disk::SectorTransform;
use xts::{Aes256Xts, KEY_BYTES, XtsError};

/// Which AES the CPU gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    Software,
    AesNi,
    /// Two blocks to a register, for runs of sectors for which it pays; AES-NI for the others.
    Vaes256,
    /// Four blocks.
    Vaes512,
}

impl core::fmt::Display for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Software => "software, constant-time",
            Self::AesNi => "AES-NI",
            Self::Vaes256 => "VAES-256",
            Self::Vaes512 => "VAES-512",
        })
    }
}

impl Engine {
    /// The best that this CPU has. All CPUs of the machine are taken to be alike.
    pub fn of_this_cpu() -> Self {
        Self::by(core::arch::x86_64::__cpuid_count)
    }

    pub(crate) fn by(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Self {
        let has = |register: u32, bits: &[u32]| bits.iter().all(|bit| register & (1 << bit) != 0);
        let (basic, highest) = (cpuid(1, 0).ecx, cpuid(0, 0).eax);
        if !has(basic, &[AES]) {
            return Self::Software;
        }
        if !has(basic, &[OSXSAVE, AVX]) || highest < 0xd {
            return Self::AesNi;
        }
        let extended = cpuid(7, 0);
        let components = u64::from(cpuid(0xd, 0).eax);
        let enables = |all: u64| components & all == all;
        // Without XGETBV with ECX = 1 it would not be known which registers are in use.
        if !has(extended.ebx, &[AVX2])
            || !has(extended.ecx, &[VAES, VPCLMULQDQ])
            || !has(cpuid(0xd, 1).eax, &[XGETBV_1])
            || !enables(SSE_AVX)
        {
            return Self::AesNi;
        }
        if has(extended.ebx, &[AVX512F]) && enables(AVX_512) { Self::Vaes512 } else { Self::Vaes256 }
    }

    /// AES-256-XTS under a key (data key, then tweak key), with the tweak `plain64`. The caller wipes its `key`.
    ///
    /// # Errors
    /// [`XtsError`] when the key or the sector size cannot be used.
    pub fn aes_xts(self, key: &[u8; KEY_BYTES], sector_bytes: usize) -> Result<Arc<dyn SectorTransform>, XtsError> {
        Ok(match self {
            Self::Software => Arc::new(Aes256Xts::new(key, sector_bytes)?),
            _ => Arc::new(SimdXts::new(key, sector_bytes, self)?),
        })
    }
}

/// Bits of leaf 1, ECX.
const AES: u32 = 25;
const OSXSAVE: u32 = 27;
const AVX: u32 = 28;
/// Bits of leaf 7, EBX.
const AVX2: u32 = 5;
const AVX512F: u32 = 16;
/// Bits of leaf 7, ECX.
const VAES: u32 = 9;
const VPCLMULQDQ: u32 = 10;
/// Bit of leaf 0DH, subleaf 1, EAX.
const XGETBV_1: u32 = 2;
