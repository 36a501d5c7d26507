//! A run of sectors through XTS, eight registers at a time.
//!
//! Ciphertext stealing (IEEE Std 1619-2018, s. 5.3.2) has no use here: a sector is a whole number of groups.

use crate::keys::{self, RoundKeys};
use crate::lanes::Lanes;
use core::arch::x86_64::{__m128i, _mm_set_epi64x, _mm_setzero_si128};
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use core::ptr;
use xts::KEY_BYTES;

/// Registers that are worked on together: enough to hide the latency of AESENC, with half of the 16 registers left for
/// keys and masks.
pub const GROUP: usize = 8;
/// Sectors whose tweaks are encrypted together.
const TWEAKS: NonZeroUsize = NonZeroUsize::new(GROUP).unwrap();
const BLOCK_BYTES: usize = 16;

/// AES-256-XTS under one key.
pub struct Xts {
    encrypt: RoundKeys,
    decrypt: RoundKeys,
    tweak: RoundKeys,
    sector_bytes: NonZeroUsize,
}

const _: () = assert!(size_of::<Xts>() <= xts::STATE_BYTES);
const _: () = assert!(align_of::<Xts>() <= xts::STATE_ALIGN);

impl Xts {
    /// `None`: see [`xts::check`].
    #[target_feature(enable = "aes")]
    pub fn new(key: &[u8; KEY_BYTES], sector_bytes: usize) -> Option<Self> {
        xts::check(key, sector_bytes).ok()?;
        let (data, tweak) = (key.first_chunk()?, key.last_chunk()?);
        let encrypt = keys::expand(data);
        let (decrypt, tweak) = (keys::inverse(&encrypt), keys::expand(tweak));
        Some(Self { encrypt, decrypt, tweak, sector_bytes: NonZeroUsize::new(sector_bytes)? })
    }

    /// Transforms whole sectors in place.
    ///
    /// # Safety
    /// See [`Lanes`].
    #[inline(always)]
    pub unsafe fn transform<L: Lanes, const DECRYPT: bool>(&self, first_sector: u64, sectors: &mut [u8]) {
        let sector_bytes = self.sector_bytes;
        let mut number = first_sector;
        for batch in sectors.chunks_mut(sector_bytes.saturating_mul(TWEAKS).get()) {
            // SAFETY: this function's promise; so below.
            let tweaks = unsafe { self.tweaks(number, batch.len() <= sector_bytes.get()) };
            // SAFETY: as above.
            unsafe { self.batch::<L, DECRYPT>(&tweaks, batch) };
            number = number.wrapping_add(TWEAKS.get() as u64);
        }
    }

    /// The encrypted tweaks of this sector and, unless it is the only one, those that follow.
    #[inline(always)]
    unsafe fn tweaks(&self, first_sector: u64, only: bool) -> [__m128i; TWEAKS.get()] {
        let plain = |i: usize| {
            let number = xts::tweak(first_sector.wrapping_add(i as u64), self.sector_bytes.get());
            // SAFETY: SSE2 is part of every x86-64 CPU.
            unsafe { _mm_set_epi64x(0, number.cast_signed()) }
        };
        // SAFETY: this function's promise.
        unsafe {
            if only {
                let mut tweaks = [_mm_setzero_si128(); TWEAKS.get()];
                [tweaks[0]] = encrypt(&self.tweak, [plain(0)]);
                tweaks
            } else {
                encrypt(&self.tweak, core::array::from_fn(plain))
            }
        }
    }

    /// As many sectors as there are tweaks, or fewer.
    #[inline(always)]
    unsafe fn batch<L: Lanes, const DECRYPT: bool>(&self, tweaks: &[__m128i; TWEAKS.get()], sectors: &mut [u8]) {
        let group_bytes = GROUP * L::BLOCKS * BLOCK_BYTES;
        let (mut masks, mut next) = (&mut Masks::<L>::unset(), &mut Masks::<L>::unset());
        // SAFETY: this function's promise.
        unsafe { masks.fill(L::first_masks(tweaks[0])) };
        let mut tweaks = tweaks.iter().skip(1);
        let mut left = self.sector_bytes.get();
        let mut groups = sectors.chunks_exact_mut(group_bytes);
        for group in &mut groups {
            left -= group_bytes;
            // SAFETY: this function's promise; a group is as long as GROUP registers.
            unsafe {
                let mut following = masks.following();
                if left == 0 {
                    left = self.sector_bytes.get();
                    following = tweaks.next().map_or(following, |tweak| L::first_masks(*tweak));
                }
                self.group::<L, DECRYPT>(masks, next, following, group.as_mut_ptr());
            }
            (masks, next) = (next, masks);
        }
        let rest = groups.into_remainder();
        if !rest.is_empty() {
            // Not reached while the caller keeps to whole sectors. Should it not, nothing may stay in plain.
            rest.fill(0);
        }
    }

    /// Masks, transforms and masks again. Sets the masks of the next group, the first of which are `following`: they are
    /// computed here, where the cipher leaves the units for it idle.
    #[inline(always)]
    unsafe fn group<L: Lanes, const DECRYPT: bool>(
        &self,
        masks: &Masks<L>,
        next: &mut Masks<L>,
        mut following: L,
        data: *mut u8,
    ) {
        let [first, middle @ .., last] = if DECRYPT { &self.decrypt } else { &self.encrypt };
        let (with_masks, middle) = middle.split_at(GROUP);
        // SAFETY: the caller's promise.
        unsafe {
            let key = L::broadcast(first);
            let mut blocks: [L; GROUP] =
                core::array::from_fn(|i| L::load(data.add(i * L::BLOCKS * BLOCK_BYTES)).xor(key).xor(masks.get(i)));
            for (key, mask) in with_masks.iter().zip(&mut next.0) {
                round::<L, DECRYPT>(&mut blocks, key);
                ptr::write_volatile(mask.as_mut_ptr(), following);
                following = following.next_masks();
            }
            for key in middle {
                round::<L, DECRYPT>(&mut blocks, key);
            }
            let key = L::broadcast(last);
            for (i, block) in blocks.into_iter().enumerate() {
                let block = if DECRYPT { block.decrypt_last(key) } else { block.encrypt_last(key) };
                block.xor(masks.get(i)).store(data.add(i * L::BLOCKS * BLOCK_BYTES));
            }
        }
    }
}

/// One of the rounds in the middle.
#[inline(always)]
unsafe fn round<L: Lanes, const DECRYPT: bool>(blocks: &mut [L; GROUP], key: &__m128i) {
    // SAFETY: the caller's promise.
    unsafe {
        let key = L::broadcast(key);
        for block in &mut *blocks {
            *block = if DECRYPT { block.decrypt_round(key) } else { block.encrypt_round(key) };
        }
        L::in_step(blocks);
    }
}

/// The masks of a group. In memory, so that the data, a round key and the masks need no more than 16 registers: hence
/// the volatile accesses.
struct Masks<L>([MaybeUninit<L>; GROUP]);

impl<L: Lanes> Masks<L> {
    /// To be filled.
    #[inline(always)]
    fn unset() -> Self {
        Self([const { MaybeUninit::uninit() }; GROUP])
    }

    #[inline(always)]
    unsafe fn fill(&mut self, first: L) {
        let mut mask = first;
        for i in 0..GROUP {
            self.set(i, mask);
            // SAFETY: the caller's promise.
            mask = unsafe { mask.next_masks() };
        }
    }

    #[inline(always)]
    fn set(&mut self, i: usize, mask: L) {
        // SAFETY: a reference's place.
        unsafe { ptr::write_volatile(self.0[i].as_mut_ptr(), mask) };
    }

    /// All have been set.
    #[inline(always)]
    unsafe fn get(&self, i: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { ptr::read_volatile(self.0[i].as_ptr()) }
    }

    /// The masks after these.
    #[inline(always)]
    unsafe fn following(&self) -> L {
        // SAFETY: the caller's promise.
        unsafe { self.get(GROUP - 1).next_masks() }
    }
}

/// Single blocks, several at a time.
#[inline(always)]
unsafe fn encrypt<const N: usize>(keys: &RoundKeys, mut blocks: [__m128i; N]) -> [__m128i; N] {
    let [first, middle @ .., last] = keys;
    // SAFETY: the caller's promise.
    unsafe {
        blocks = blocks.map(|block| block.xor(*first));
        for key in middle {
            blocks = blocks.map(|block| block.encrypt_round(*key));
        }
        blocks.map(|block| block.encrypt_last(*last))
    }
}
