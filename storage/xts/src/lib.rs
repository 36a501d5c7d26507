//! AES-256-XTS with the `plain64` tweak: the transform of protected sectors.
//!
//! The result is that of `aes-xts-plain64` with a 512-bit key: each sector is one data unit, its tweak is the
//! sector's number as a 128-bit little-endian integer. AES itself comes from the crate `aes`: constant-time bit slicing
//! on the VMM's own target, AES-NI in the SIMD object (crate `simd_object`). No branch, index or length here depends on
//! a key or on data.
//!
//! Source: IEEE Std 1619-2018.
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

mod mask;
mod unit;

use aes::cipher::array::Array;
use aes::cipher::consts::U64;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Aes256Enc};
use core::marker::PhantomData;
use core::num::NonZeroUsize;
use mediator::disk::SectorTransform;
use subtle::ConstantTimeEq;
use unit::Unit;

pub use aes::Block;
pub use mask::Mask;

/// Bytes of a key: data key, then tweak key.
pub const KEY_BYTES: usize = 64;

/// Memory that an [`Aes256Xts`] needs, on every target: who keeps one on behalf of a differently compiled object
/// reserves so much.
pub const STATE_BYTES: usize = 2048;
/// Alignment of that memory.
pub const STATE_ALIGN: usize = 16;

const _: () = assert!(size_of::<Aes256Xts>() <= STATE_BYTES);
const _: () = assert!(align_of::<Aes256Xts>() <= STATE_ALIGN);

/// Sectors whose tweaks are encrypted together: as many blocks as AES-NI takes at a time here, two batches in software.
const TWEAKS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// A key or sector size that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XtsError {
    /// Data key and tweak key are the same, which voids XTS's security proof (FIPS 140-3 IG C.I).
    EqualKeys,
    /// Sector size in bytes; it must be a multiple of 16 from 512 to 4096.
    SectorBytes(usize),
}

impl core::fmt::Display for XtsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::EqualKeys => f.write_str("the first and the second half of the key are equal; take 64 random bytes"),
            Self::SectorBytes(n) => {
                write!(f, "sectors of {n} bytes cannot be encrypted; multiples of 16 from 512 to 4096 can")
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
    if !(512..=4096).contains(&sector_bytes) || !sector_bytes.is_multiple_of(16) {
        return Err(XtsError::SectorBytes(sector_bytes));
    }
    let (data, tweak) = key.split_at(32);
    if data.ct_eq(tweak).into() { Err(XtsError::EqualKeys) } else { Ok(()) }
}

/// AES-256-XTS under one key. The round keys are wiped when it is dropped (by the crate `aes`, feature `zeroize`).
pub struct Aes256Xts<M = u128> {
    data: Aes256,
    tweak: Aes256Enc,
    sector_bytes: NonZeroUsize,
    mask: PhantomData<fn() -> M>,
}

impl<M: Mask> Aes256Xts<M> {
    /// `key` is the data key, then the tweak key; the caller wipes it.
    ///
    /// # Errors
    /// See [`XtsError`].
    pub fn new(key: &[u8; KEY_BYTES], sector_bytes: usize) -> Result<Self, XtsError> {
        check(key, sector_bytes)?;
        let sector_bytes = NonZeroUsize::new(sector_bytes).ok_or(XtsError::SectorBytes(sector_bytes))?;
        let (data, tweak) = <&Array<u8, U64>>::from(key).split_ref();
        Ok(Self { data: Aes256::new(data), tweak: Aes256Enc::new(tweak), sector_bytes, mask: PhantomData })
    }

    /// Hands each sector to `apply` as a data unit with its tweak already encrypted.
    fn each_unit(&self, first_sector: u64, sectors: &mut [u8], apply: impl Fn(Unit<'_, M>)) {
        let mut number = first_sector;
        let sector_bytes = self.sector_bytes.get();
        for batch in sectors.chunks_mut(self.sector_bytes.saturating_mul(TWEAKS).get()) {
            let mut tweaks = [Block::default(); TWEAKS.get()];
            for tweak in &mut tweaks {
                *tweak = u128::from(number).to_le_bytes().into();
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
                apply(Unit { mask: M::new(tweak), blocks });
            }
        }
    }
}

impl<M: Mask> SectorTransform for Aes256Xts<M> {
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
