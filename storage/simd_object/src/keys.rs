//! AES-256 round keys by AES-NI.
//!
//! The crate `aes` expands keys too, but keeps them to itself, and its own VAES code is chosen at compile time where
//! there is no operating system.
//!
//! Sources: FIPS 197, s. 5.2 and 5.3.5; SDM Vol. 2A, AESKEYGENASSIST and AESIMC.

use core::arch::x86_64::{
    __m128i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_setzero_si128, _mm_shuffle_epi32,
    _mm_slli_si128, _mm_xor_si128,
};

/// One for each round, and the first.
pub const ROUND_KEYS: usize = 15;

/// In the order of use.
pub type RoundKeys = [__m128i; ROUND_KEYS];

/// The round keys of encryption.
#[target_feature(enable = "aes")]
pub fn expand(key: &[u8; 32]) -> RoundKeys {
    let mut keys = [_mm_setzero_si128(); ROUND_KEYS];
    let at: *const __m128i = key.as_ptr().cast();
    // SAFETY: a key is two blocks; the loads want no alignment.
    unsafe { [keys[0], keys[1]] = [_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))] };
    // Round constants are immediate operands.
    pair::<0x01>(&mut keys, 2);
    pair::<0x02>(&mut keys, 4);
    pair::<0x04>(&mut keys, 6);
    pair::<0x08>(&mut keys, 8);
    pair::<0x10>(&mut keys, 10);
    pair::<0x20>(&mut keys, 12);
    keys[14] = rotated::<0x40>(keys[12], keys[13]);
    keys
}

/// The keys `at` and `at + 1`.
#[inline]
#[target_feature(enable = "aes")]
fn pair<const CONSTANT: i32>(keys: &mut RoundKeys, at: usize) {
    keys[at] = rotated::<CONSTANT>(keys[at - 2], keys[at - 1]);
    // SubWord without rotation and constant, as Nk is 8.
    let word = _mm_shuffle_epi32::<0b10_10_10_10>(_mm_aeskeygenassist_si128::<0>(keys[at]));
    keys[at + 1] = _mm_xor_si128(running_xor(keys[at - 1]), word);
}

/// A key that begins with SubWord(RotWord) of the one before it.
#[inline]
#[target_feature(enable = "aes")]
fn rotated<const CONSTANT: i32>(two_before: __m128i, before: __m128i) -> __m128i {
    let word = _mm_shuffle_epi32::<0b11_11_11_11>(_mm_aeskeygenassist_si128::<CONSTANT>(before));
    _mm_xor_si128(running_xor(two_before), word)
}

/// Each word becomes the XOR of itself and all words before it.
#[inline]
#[target_feature(enable = "aes")]
fn running_xor(key: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    _mm_xor_si128(key, _mm_slli_si128::<8>(key))
}

/// The round keys of decryption by the equivalent inverse cipher, which AESDEC is.
#[target_feature(enable = "aes")]
pub fn inverse(keys: &RoundKeys) -> RoundKeys {
    let mut inverse = *keys;
    inverse.reverse();
    for key in &mut inverse[1..ROUND_KEYS - 1] {
        *key = _mm_aesimc_si128(*key);
    }
    inverse
}
