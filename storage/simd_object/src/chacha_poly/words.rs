//! Registers that hold one word of 4, 8 or 16 blocks, and what ChaCha20 does with them.
//!
//! Source: SDM Vol. 2 (PADDD, PSHUFB, VPROLD, VPERM2I128, VSHUFI32X4).

use super::stream::BLOCK_BYTES;
use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_add_epi32, _mm_loadu_si128, _mm_or_si128, _mm_set1_epi32, _mm_setr_epi32,
    _mm_shufflehi_epi16, _mm_shufflelo_epi16, _mm_slli_epi32, _mm_srli_epi32, _mm_storeu_si128, _mm_unpackhi_epi32,
    _mm_unpackhi_epi64, _mm_unpacklo_epi32, _mm_unpacklo_epi64, _mm_xor_si128, _mm256_add_epi32, _mm256_loadu_si256,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setr_epi32,
    _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256, _mm512_add_epi32,
    _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_shuffle_i32x4,
    _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};

/// A register of words.
///
/// # Safety
/// All functions want the CPU features of the implementing type, and are inlined into a function that enables them.
/// Pointers need no alignment.
pub trait Words: Copy {
    /// Words of a register, and so the blocks that are made at a time.
    const LANES: usize;
    unsafe fn load(at: *const u8) -> Self;
    unsafe fn store(self, at: *mut u8);
    /// The same word in all lanes.
    unsafe fn splat(word: u32) -> Self;
    /// 0, 1, 2 and so on.
    unsafe fn counters() -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// Each word to the left by `LEFT`; `RIGHT` is what that lacks of 32.
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    /// Four rows of words, each 128 bits by themselves: register `i` gets what four successive words of the blocks `i`, `4 + i`
    /// and so on are.
    unsafe fn transpose(rows: [Self; 4]) -> [Self; 4];
    /// Puts the blocks `i`, `4 + i` and so on where they belong among all blocks, of their quarters.
    unsafe fn store_blocks(quarters: [Self; 4], i: usize, blocks: *mut u8);
    /// No instruction, but here the rows are in the registers up to 15 for the compiler, and nothing is in any other.
    unsafe fn pin(rows: &mut [Self; 16]);
}

/// SSE2, legacy-encoded unless the function around it has AVX.
impl Words for __m128i {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_loadu_si128(at.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut u8) {
        // SAFETY: see the trait.
        unsafe { _mm_storeu_si128(at.cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn counters() -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_setr_epi32(0, 1, 2, 3) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm_xor_si128(self, other) }
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see the trait.
        unsafe {
            if LEFT == 16 {
                return _mm_shufflehi_epi16::<0b10_11_00_01>(_mm_shufflelo_epi16::<0b10_11_00_01>(self));
            }
            _mm_or_si128(_mm_slli_epi32::<LEFT>(self), _mm_srli_epi32::<RIGHT>(self))
        }
    }

    #[inline(always)]
    unsafe fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: see the trait.
        unsafe {
            let [low, high] = [
                (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d)),
                (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d)),
            ];
            [
                _mm_unpacklo_epi64(low.0, low.1),
                _mm_unpackhi_epi64(low.0, low.1),
                _mm_unpacklo_epi64(high.0, high.1),
                _mm_unpackhi_epi64(high.0, high.1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store_blocks(quarters: [Self; 4], i: usize, blocks: *mut u8) {
        // SAFETY: see the trait.
        unsafe {
            for (quarter, words) in quarters.into_iter().enumerate() {
                words.store(blocks.add(i * BLOCK_BYTES + quarter * size_of::<Self>()));
            }
        }
    }
    #[inline(always)]
    unsafe fn pin(_: &mut [Self; 16]) {}
}

/// AVX2.
impl Words for __m256i {
    const LANES: usize = 8;

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
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn counters() -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm256_xor_si256(self, other) }
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see the trait.
        unsafe {
            match LEFT {
                16 => _mm256_shuffle_epi8(
                    self,
                    _mm256_setr_epi8(
                        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14,
                        15, 12, 13,
                    ),
                ),
                8 => _mm256_shuffle_epi8(
                    self,
                    _mm256_setr_epi8(
                        3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15,
                        12, 13, 14,
                    ),
                ),
                _ => _mm256_or_si256(_mm256_slli_epi32::<LEFT>(self), _mm256_srli_epi32::<RIGHT>(self)),
            }
        }
    }

    #[inline(always)]
    unsafe fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: see the trait.
        unsafe {
            let [low, high] = [
                (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d)),
                (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d)),
            ];
            [
                _mm256_unpacklo_epi64(low.0, low.1),
                _mm256_unpackhi_epi64(low.0, low.1),
                _mm256_unpacklo_epi64(high.0, high.1),
                _mm256_unpackhi_epi64(high.0, high.1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store_blocks([a, b, c, d]: [Self; 4], i: usize, blocks: *mut u8) {
        // SAFETY: see the trait.
        unsafe {
            let blocks = blocks.add(i * BLOCK_BYTES);
            _mm256_permute2x128_si256::<0x20>(a, b).store(blocks);
            _mm256_permute2x128_si256::<0x20>(c, d).store(blocks.add(size_of::<Self>()));
            let blocks = blocks.add(4 * BLOCK_BYTES);
            _mm256_permute2x128_si256::<0x31>(a, b).store(blocks);
            _mm256_permute2x128_si256::<0x31>(c, d).store(blocks.add(size_of::<Self>()));
        }
    }
    #[inline(always)]
    unsafe fn pin(_: &mut [Self; 16]) {}
}

/// AVX-512F.
impl Words for __m512i {
    const LANES: usize = 16;

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
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_set1_epi32(word.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn counters() -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_add_epi32(self, other) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_xor_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see the trait.
        unsafe { _mm512_rol_epi32::<LEFT>(self) }
    }

    #[inline(always)]
    unsafe fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        // SAFETY: see the trait.
        unsafe {
            let [low, high] = [
                (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)),
                (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)),
            ];
            [
                _mm512_unpacklo_epi64(low.0, low.1),
                _mm512_unpackhi_epi64(low.0, low.1),
                _mm512_unpacklo_epi64(high.0, high.1),
                _mm512_unpackhi_epi64(high.0, high.1),
            ]
        }
    }

    #[inline(always)]
    unsafe fn store_blocks([a, b, c, d]: [Self; 4], i: usize, blocks: *mut u8) {
        // SAFETY: see the trait.
        unsafe {
            // Of two registers their lower, then their upper halves; of those the even, then the odd quarters.
            let low = (_mm512_shuffle_i32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d));
            let high = (_mm512_shuffle_i32x4::<0b11_10_11_10>(a, b), _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d));
            _mm512_shuffle_i32x4::<0b10_00_10_00>(low.0, low.1).store(blocks.add(i * BLOCK_BYTES));
            _mm512_shuffle_i32x4::<0b11_01_11_01>(low.0, low.1).store(blocks.add((4 + i) * BLOCK_BYTES));
            _mm512_shuffle_i32x4::<0b10_00_10_00>(high.0, high.1).store(blocks.add((8 + i) * BLOCK_BYTES));
            _mm512_shuffle_i32x4::<0b11_01_11_01>(high.0, high.1).store(blocks.add((12 + i) * BLOCK_BYTES));
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn pin(rows: &mut [Self; 16]) {
        // SAFETY: there is nothing in it.
        unsafe {
            asm!(
                "",
                inout("zmm0") rows[0],
                inout("zmm1") rows[1],
                inout("zmm2") rows[2],
                inout("zmm3") rows[3],
                inout("zmm4") rows[4],
                inout("zmm5") rows[5],
                inout("zmm6") rows[6],
                inout("zmm7") rows[7],
                inout("zmm8") rows[8],
                inout("zmm9") rows[9],
                inout("zmm10") rows[10],
                inout("zmm11") rows[11],
                inout("zmm12") rows[12],
                inout("zmm13") rows[13],
                inout("zmm14") rows[14],
                inout("zmm15") rows[15],
                out("zmm16") _,
                out("zmm17") _,
                out("zmm18") _,
                out("zmm19") _,
                out("zmm20") _,
                out("zmm21") _,
                out("zmm22") _,
                out("zmm23") _,
                out("zmm24") _,
                out("zmm25") _,
                out("zmm26") _,
                out("zmm27") _,
                out("zmm28") _,
                out("zmm29") _,
                out("zmm30") _,
                out("zmm31") _,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}
