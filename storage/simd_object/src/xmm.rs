//! XTS masks in XMM registers: two 64-bit lanes, the low one first.

use core::arch::x86_64::{
    __m128i, _mm_add_epi64, _mm_loadu_si128, _mm_mul_epu32, _mm_set_epi64x, _mm_shuffle_epi32, _mm_srli_epi64,
    _mm_storeu_si128, _mm_xor_si128,
};
use xts::{Block, Mask};

#[derive(Clone, Copy)]
pub struct Xmm(__m128i);

// SSE2 is part of every x86-64 CPU.
impl Mask for Xmm {
    #[inline(always)]
    fn new(encrypted_tweak: Block) -> Self {
        // SAFETY: a block has 16 bytes; the load wants no alignment.
        Self(unsafe { _mm_loadu_si128(encrypted_tweak.as_ptr().cast()) })
    }

    #[inline(always)]
    fn times_alpha(&self) -> Self {
        // SAFETY: register arithmetic.
        Self(unsafe {
            // Each lane is doubled. The bit that is lost at its top comes back in the other lane: bit 127 as the
            // polynomial 87h in the low lane, bit 63 as bit 0 of the high lane.
            let top_bits = _mm_srli_epi64::<63>(_mm_shuffle_epi32::<0b01_00_11_10>(self.0));
            let carry = _mm_mul_epu32(top_bits, _mm_set_epi64x(1, 0x87));
            _mm_xor_si128(_mm_add_epi64(self.0, self.0), carry)
        })
    }

    #[inline(always)]
    fn xor(&self, block: &mut Block) {
        let at = block.as_mut_ptr().cast();
        // SAFETY: a block has 16 bytes; load and store want no alignment.
        unsafe { _mm_storeu_si128(at, _mm_xor_si128(_mm_loadu_si128(at), self.0)) };
    }
}
