//! AES-256-XTS with the `plain64` tweak: the transform of protected sectors.
//!
//! The result is that of dm-crypt's `aes-xts-plain64` with a 512-bit key, as LUKS2 and `cryptsetup --type plain` set it
//! up: each sector is one data unit, its tweak ([`tweak`]) a 128-bit little-endian integer. AES comes from the crate
//! `aes` in constant-time bit slicing; where the CPU has AES instructions, the SIMD object (crate `simd_object`) takes
//! the place of this code. No branch, index or length here depends on a key or on data.
//!
//! Sources: IEEE Std 1619-2018; Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst (`sector_size`,
//! `iv_large_sectors`).
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

mod unit;

use aes::cipher::array::Array;
use aes::cipher::consts::U64;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Aes256Enc, Block};
use core::num::NonZeroUsize;
use mediator::disk::SectorTransform;
use subtle::ConstantTimeEq;
use unit::Unit;

/// Bytes of a key: data key, then tweak key.
pub const KEY_BYTES: usize = 64;

/// Memory for what the SIMD object keeps per key, which its caller reserves.
pub const STATE_BYTES: usize = 768;
/// Alignment of that memory.
pub const STATE_ALIGN: usize = 16;

/// What tweaks count, whatever the sector size: dm-crypt's own sectors.
const TWEAK_UNIT_BYTES: usize = 512;

/// Sectors whose tweaks are encrypted together: two batches of the bit-sliced cipher.
const TWEAKS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// A key or sector size that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XtsError {
    /// Data key and tweak key are the same, which voids XTS's security proof (FIPS 140-3 IG C.I).
    EqualKeys,
    /// Sector size in bytes; it must be a power of two from 512 to 4096, as in dm-crypt.
    SectorBytes(usize),
}

impl core::fmt::Display for XtsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::EqualKeys => f.write_str("the first and the second half of the key are equal; take 64 random bytes"),
            Self::SectorBytes(n) => {
                write!(f, "sectors of {n} bytes cannot be encrypted; 512, 1024, 2048 and 4096 bytes can")
            }
        }
    }
}

impl core::error::Error for XtsError {}

/// May this key and sector size be used? Compares the two halves of the key in constant time.
///
/// # Errors
/// See [`XtsError`].
pub fn check(key: &[u8; KEY_BYTES], sector_bytes: usize) -> Result<(), XtsError> {
    if !(512..=4096).contains(&sector_bytes) || !sector_bytes.is_power_of_two() {
        return Err(XtsError::SectorBytes(sector_bytes));
    }
    let (data, tweak) = key.split_at(32);
    if data.ct_eq(tweak).into() { Err(XtsError::EqualKeys) } else { Ok(()) }
}

/// The tweak of a sector by its number. It counts units of 512 bytes, so that it goes up by 8 from one sector of 4096
/// bytes to the next. That is dm-crypt without `iv_large_sectors`, and neither LUKS2 nor, unless asked to, a plain
/// mapping of cryptsetup sets that flag.
pub const fn tweak(sector: u64, sector_bytes: usize) -> u64 {
    sector.wrapping_mul((sector_bytes / TWEAK_UNIT_BYTES) as u64)
}

/// AES-256-XTS under one key. The round keys are wiped when it is dropped (by the crate `aes`, feature `zeroize`).
pub struct Aes256Xts {
    data: Aes256,
    tweak: Aes256Enc,
    sector_bytes: NonZeroUsize,
}

impl Aes256Xts {
    /// `key` is the data key, then the tweak key; the caller wipes it.
    ///
    /// # Errors
    /// See [`XtsError`].
    pub fn new(key: &[u8; KEY_BYTES], sector_bytes: usize) -> Result<Self, XtsError> {
        check(key, sector_bytes)?;
        let sector_bytes = NonZeroUsize::new(sector_bytes).ok_or(XtsError::SectorBytes(sector_bytes))?;
        let (data, tweak) = <&Array<u8, U64>>::from(key).split_ref();
        Ok(Self { data: Aes256::new(data), tweak: Aes256Enc::new(tweak), sector_bytes })
    }

    /// Hands each sector to `apply` as a data unit with its tweak already encrypted.
    fn each_unit(&self, first_sector: u64, sectors: &mut [u8], apply: impl Fn(Unit<'_>)) {
        let mut number = first_sector;
        let sector_bytes = self.sector_bytes.get();
        for batch in sectors.chunks_mut(self.sector_bytes.saturating_mul(TWEAKS).get()) {
            let mut tweaks = [Block::default(); TWEAKS.get()];
            for tweak in &mut tweaks {
                *tweak = u128::from(self::tweak(number, sector_bytes)).to_le_bytes().into();
                number = number.wrapping_add(1);
            }
            let used = batch.len().div_ceil(sector_bytes);
            self.tweak.encrypt_blocks(tweaks.get_mut(..used).unwrap_or_default());
            for (tweak, sector) in tweaks.into_iter().zip(batch.chunks_mut(sector_bytes)) {
                let (blocks, rest) = Block::slice_as_chunks_mut(sector);
                if !rest.is_empty() {
                    // Not reached while the caller keeps to whole sectors. Should it not, nothing may stay in plain.
                    rest.fill(0);
                }
                apply(Unit { mask: u128::from_le_bytes(tweak.into()), blocks });
            }
        }
    }
}

impl SectorTransform for Aes256Xts {
    fn sector_bytes(&self) -> usize {
        self.sector_bytes.get()
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.each_unit(first_sector, sectors, |unit| self.data.encrypt_with_backend(unit));
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.each_unit(first_sector, sectors, |unit| self.data.decrypt_with_backend(unit));
    }
}

#[cfg(test)]
mod tests;
