//! What the CPU gives for AES, and for ChaCha20-Poly1305.
//!
//! Source: SDM Vol. 2A, CPUID, leaves 01H, 07H and 0DH.

use crate::guest::{AVX_512, SSE_AVX};
use crate::object::SimdXts;
use crate::packets::PacketCipher;
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
        if !has(cpuid(1, 0).ecx, &[AES]) {
            return Self::Software;
        }
        match vectors(&cpuid) {
            Some((width, extended)) if has(extended.ecx, &[VAES, VPCLMULQDQ]) => match width {
                Width::Ymm => Self::Vaes256,
                Width::Zmm => Self::Vaes512,
            },
            _ => Self::AesNi,
        }
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

/// What the CPU gives for ChaCha20-Poly1305.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketEngine {
    /// Every CPU has it.
    Sse2,
    Avx2,
    /// AVX-512F and AVX-512 IFMA.
    Avx512,
}

impl core::fmt::Display for PacketEngine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Sse2 => "SSE2",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

impl PacketEngine {
    /// The best that this CPU has. All CPUs of the machine are taken to be alike.
    pub fn of_this_cpu() -> Self {
        Self::by(core::arch::x86_64::__cpuid_count)
    }

    pub(crate) fn by(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Self {
        match vectors(&cpuid) {
            Some((Width::Zmm, extended)) if has(extended.ebx, &[AVX512IFMA]) => Self::Avx512,
            Some(_) => Self::Avx2,
            None => Self::Sse2,
        }
    }

    /// ChaCha20-Poly1305 on it.
    pub fn chacha_poly(self) -> PacketCipher {
        PacketCipher::new(self)
    }
}

/// Vector registers that can be kept for the guest.
enum Width {
    Ymm,
    Zmm,
}

/// The widest, with integer instructions for them, and leaf 7, where more is said. `None`: nothing beyond SSE.
fn vectors(cpuid: &impl Fn(u32, u32) -> CpuidResult) -> Option<(Width, CpuidResult)> {
    if !has(cpuid(1, 0).ecx, &[OSXSAVE, AVX]) || cpuid(0, 0).eax < 0xd {
        return None;
    }
    let extended = cpuid(7, 0);
    let components = u64::from(cpuid(0xd, 0).eax);
    let enables = |all: u64| components & all == all;
    // Without XGETBV with ECX = 1 it would not be known which registers are in use.
    if !has(extended.ebx, &[AVX2]) || !has(cpuid(0xd, 1).eax, &[XGETBV_1]) || !enables(SSE_AVX) {
        return None;
    }
    let zmm = has(extended.ebx, &[AVX512F]) && enables(AVX_512);
    Some((if zmm { Width::Zmm } else { Width::Ymm }, extended))
}

fn has(register: u32, bits: &[u32]) -> bool {
    bits.iter().all(|bit| register & (1 << bit) != 0)
}

/// Bits of leaf 1, ECX.
const AES: u32 = 25;
const OSXSAVE: u32 = 27;
const AVX: u32 = 28;
/// Bits of leaf 7, EBX.
const AVX2: u32 = 5;
const AVX512F: u32 = 16;
const AVX512IFMA: u32 = 21;
/// Bits of leaf 7, ECX.
const VAES: u32 = 9;
const VPCLMULQDQ: u32 = 10;
/// Bit of leaf 0DH, subleaf 1, EAX.
const XGETBV_1: u32 = 2;
