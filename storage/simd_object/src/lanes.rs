//! Registers that hold one, two or four AES blocks, and what XTS does with them.
//!
//! Sources: SDM Vol. 2 (AESENC, AESDEC, PCLMULQDQ and their VEX and EVEX forms); IEEE Std 1619-2018, s. 5.2.

use crate::run::GROUP;
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_add_epi64, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128,
    _mm_aesenclast_si128, _mm_loadu_si128, _mm_mul_epu32, _mm_set_epi64x, _mm_shuffle_epi32, _mm_srli_epi64,
    _mm_storeu_si128, _mm_xor_si128, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_clmulepi64_epi128, _mm256_loadu_si256,
    _mm256_set_m128i, _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_unpacklo_epi64, _mm256_xor_si256, _mm512_aesdec_epi128, _mm512_aesdeclast_epi128, _mm512_aesenc_epi128,
    _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_castsi256_si512, _mm512_clmulepi64_epi128,
    _mm512_inserti64x4, _mm512_loadu_si512, _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

/// A register of blocks. A mask is what XTS XORs a block with before and after the cipher: an element of GF(2^128).
///
/// # Safety
/// All functions want the CPU features of the implementing type, and are inlined into a function that enables them.
/// Pointers are to [`Lanes::BLOCKS`] blocks and need no alignment.
pub trait Lanes: Copy {
    const BLOCKS: usize;
    unsafe fn load(at: *const u8) -> Self;
    unsafe fn store(self, at: *mut u8);
    /// The same block in all lanes.
    unsafe fn broadcast(block: &__m128i) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn encrypt_round(self, key: Self) -> Self;
    unsafe fn encrypt_last(self, key: Self) -> Self;
    unsafe fn decrypt_round(self, key: Self) -> Self;
    unsafe fn decrypt_last(self, key: Self) -> Self;
    /// The masks of a data unit's first blocks. `tweak` is that of the very first: the encrypted tweak.
    unsafe fn first_masks(tweak: __m128i) -> Self;
    /// The masks of the [`Lanes::BLOCKS`] blocks that follow, in constant time.
    unsafe fn next_masks(self) -> Self;
    /// No instruction, but for the compiler all of the registers change here: it keeps the rounds apart, where it would
    /// else work on one register after the other.
    unsafe fn in_step(group: &mut [Self; GROUP]);
}

/// x^128 in GF(2^128), below x^128.
const POLYNOMIAL: i64 = 0x87;

/// AES-NI and SSE2, legacy-encoded unless the function around it has AVX.
impl Lanes for __m128i {
    const BLOCKS: usize = 1;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: see the trait; so in all that follow.
        unsafe { _mm_loadu_si128(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        // SAFETY: see the trait.
        unsafe { _mm_storeu_si128(at.cast(), self) }
    }

    #[inline(always)]
    unsafe fn broadcast(block: &__m128i) -> Self {
        *block
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_xor_si128(self, other) }
    }

    #[inline(always)]
    unsafe fn encrypt_round(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_aesenc_si128(self, key) }
    }

    #[inline(always)]
    unsafe fn encrypt_last(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_aesenclast_si128(self, key) }
    }

    #[inline(always)]
    unsafe fn decrypt_round(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_aesdec_si128(self, key) }
    }

    #[inline(always)]
    unsafe fn decrypt_last(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_aesdeclast_si128(self, key) }
    }

    #[inline(always)]
    unsafe fn first_masks(tweak: __m128i) -> Self {
        tweak
    }

    #[inline(always)]
    unsafe fn next_masks(self) -> Self {
        // SAFETY: see the trait.
        unsafe {
            // Each half is doubled. The bit that is lost at its top comes back in the other one: bit 127 as the
            // polynomial in the low half, bit 63 as bit 0 of the high half.
            let top_bits = _mm_srli_epi64::<63>(_mm_shuffle_epi32::<0b01_00_11_10>(self));
            let carry = _mm_mul_epu32(top_bits, _mm_set_epi64x(1, POLYNOMIAL));
            _mm_xor_si128(_mm_add_epi64(self, self), carry)
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn in_step([a, b, c, d, e, f, g, h]: &mut [Self; GROUP]) {
        // SAFETY: there is nothing in it.
        unsafe {
            asm!(
                "/* {} {} {} {} {} {} {} {} */",
                inout(xmm_reg) * a,
                inout(xmm_reg) * b,
                inout(xmm_reg) * c,
                inout(xmm_reg) * d,
                inout(xmm_reg) * e,
                inout(xmm_reg) * f,
                inout(xmm_reg) * g,
                inout(xmm_reg) * h,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

/// VAES and VPCLMULQDQ on two blocks.
impl Lanes for __m256i {
    const BLOCKS: usize = 2;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_loadu_si256(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        // SAFETY: see the trait.
        unsafe { _mm256_storeu_si256(at.cast(), self) }
    }

    #[inline(always)]
    unsafe fn broadcast(block: &__m128i) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_broadcastsi128_si256(*block) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_xor_si256(self, other) }
    }

    #[inline(always)]
    unsafe fn encrypt_round(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_aesenc_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn encrypt_last(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_aesenclast_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn decrypt_round(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_aesdec_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn decrypt_last(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_aesdeclast_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn first_masks(tweak: __m128i) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_set_m128i(tweak.next_masks(), tweak) }
    }

    #[inline(always)]
    unsafe fn next_masks(self) -> Self {
        // SAFETY: see the trait.
        unsafe {
            // Each half goes up by two bits. Those that leave the low half enter the high one; those that leave the
            // high half are multiplied by the polynomial and enter the low one.
            let top_bits = _mm256_srli_epi64::<62>(self);
            let polynomial = _mm256_broadcastsi128_si256(_mm_set_epi64x(0, POLYNOMIAL));
            let reduced = _mm256_clmulepi64_epi128::<0x01>(top_bits, polynomial);
            let up = _mm256_unpacklo_epi64(_mm256_setzero_si256(), top_bits);
            _mm256_slli_epi64::<2>(self).xor(up).xor(reduced)
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn in_step([a, b, c, d, e, f, g, h]: &mut [Self; GROUP]) {
        // SAFETY: there is nothing in it.
        unsafe {
            asm!(
                "/* {} {} {} {} {} {} {} {} */",
                inout(ymm_reg) * a,
                inout(ymm_reg) * b,
                inout(ymm_reg) * c,
                inout(ymm_reg) * d,
                inout(ymm_reg) * e,
                inout(ymm_reg) * f,
                inout(ymm_reg) * g,
                inout(ymm_reg) * h,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

/// VAES and VPCLMULQDQ on four blocks, with AVX-512F.
impl Lanes for __m512i {
    const BLOCKS: usize = 4;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_loadu_si512(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        // SAFETY: see the trait.
        unsafe { _mm512_storeu_si512(at.cast(), self) }
    }

    #[inline(always)]
    unsafe fn broadcast(block: &__m128i) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_broadcast_i32x4(*block) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_xor_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn encrypt_round(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_aesenc_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn encrypt_last(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_aesenclast_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn decrypt_round(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_aesdec_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn decrypt_last(self, key: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_aesdeclast_epi128(self, key) }
    }

    #[inline(always)]
    unsafe fn first_masks(tweak: __m128i) -> Self {
        // SAFETY: see the trait.
        unsafe {
            let pair = __m256i::first_masks(tweak);
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(pair), pair.next_masks())
        }
    }

    #[inline(always)]
    unsafe fn next_masks(self) -> Self {
        // SAFETY: see the trait.
        unsafe {
            // As two blocks do it, by four bits.
            let top_bits = _mm512_srli_epi64::<60>(self);
            let polynomial = _mm512_broadcast_i32x4(_mm_set_epi64x(0, POLYNOMIAL));
            let reduced = _mm512_clmulepi64_epi128::<0x01>(top_bits, polynomial);
            let up = _mm512_unpacklo_epi64(_mm512_setzero_si512(), top_bits);
            _mm512_slli_epi64::<4>(self).xor(up).xor(reduced)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn in_step([a, b, c, d, e, f, g, h]: &mut [Self; GROUP]) {
        // SAFETY: there is nothing in it.
        unsafe {
            asm!(
                "/* {} {} {} {} {} {} {} {} */",
                inout(zmm_reg) * a,
                inout(zmm_reg) * b,
                inout(zmm_reg) * c,
                inout(zmm_reg) * d,
                inout(zmm_reg) * e,
                inout(zmm_reg) * f,
                inout(zmm_reg) * g,
                inout(zmm_reg) * h,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}
