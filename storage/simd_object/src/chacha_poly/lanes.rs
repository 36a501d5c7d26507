//! Poly1305 on 4 or 8 blocks at a time.
//!
//! Of blocks m1 to mn the sum m1 r^n + ... + mn r is wanted. In lanes it is that of n / LANES sums with the key r^LANES, each of which is
//! at last multiplied by the power of r that its last block has. D. J. Bernstein, The Poly1305-AES message-authentication code (FSE 2005);
//! M. Goll, S. Gueron, Vectorization of Poly1305 message authentication code (ITNG 2015); for limbs of 44 bits and VPMADD52: S. Gueron,
//! V. Krasnov, Software implementation of modular exponentiation, using advanced vector instructions architectures (WAIFI 2012).
//!
//! The multiplier is read from memory each time: the registers suffice for the rest, but not for it too.

use super::element::{BLOCK_BIT, BLOCK_BYTES, Element, LIMB, Poly1305, TOP};
use core::arch::asm;
use core::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi64, _mm256_and_si256, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_slli_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};
use core::ptr;

/// Elements of the field, one to a lane; in the order in which UNPCK puts the halves of blocks.
///
/// # Safety
/// All functions want the CPU features of the implementing type, and are inlined into a function that enables them.
/// Pointers need no alignment.
pub trait Lanes: Copy {
    const LANES: usize;
    /// What elements are multiplied by: its limbs, and what they are multiplied by where they exceed 2^130.
    type Multiplier;
    /// The element of block `i` in the lane of block `i`.
    unsafe fn new(elements: &[Element; 8]) -> Self;
    unsafe fn multiplier(self) -> Self::Multiplier;
    /// As many blocks as there are lanes.
    unsafe fn load(at: *const u8) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, by: &Self::Multiplier) -> Self;
    /// No instruction, but for the compiler nothing is in a register from 16 on here.
    unsafe fn pin();
    /// Of all lanes.
    unsafe fn sum(self) -> Element;
}

/// Takes bytes in as [`Poly1305::padded`] does.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn absorb<L: Lanes>(poly: &mut Poly1305, data: &[u8]) {
    let group_bytes = L::LANES * BLOCK_BYTES;
    let mut groups = data.chunks_exact(group_bytes);
    // For a group or two, the powers are not worth it.
    if data.len() >= 3 * group_bytes
        && let Some(first) = groups.next()
    {
        // SAFETY: the caller's promise; a group is as long as all lanes.
        unsafe {
            let mut powers = descending_powers::<L>(poly.r);
            let mut each = L::new(&powers).multiplier();
            let mut all = L::new(&[powers[0]; 8]).multiplier();
            let mut before = [Element::ZERO; 8];
            before[0] = poly.sum;
            let mut sum = L::new(&before).add(L::load(first.as_ptr()));
            for group in &mut groups {
                L::pin();
                sum = sum.mul(&all).add(L::load(group.as_ptr()));
            }
            poly.sum = sum.mul(&each).sum();
            ptr::write_volatile(&raw mut powers, [Element::ZERO; 8]);
            ptr::write_volatile(&raw mut each, L::new(&[Element::ZERO; 8]).multiplier());
            ptr::write_volatile(&raw mut all, L::new(&[Element::ZERO; 8]).multiplier());
        }
        poly.padded(groups.remainder());
    } else {
        poly.padded(data);
    }
}

/// From r^LANES down to r.
#[inline(always)]
fn descending_powers<L: Lanes>(r: Element) -> [Element; 8] {
    let mut powers = [r; 8];
    let [.., fourth, third, second, _] = &mut powers[..L::LANES] else { return powers };
    *second = r.mul(r);
    *third = second.mul(r);
    *fourth = second.mul(*second);
    let fourth = *fourth;
    let (high, low) = powers.split_at_mut(4);
    if L::LANES == 8 {
        for (high, low) in high.iter_mut().zip(low) {
            *high = low.mul(fourth);
        }
    }
    powers
}

/// AVX2: five limbs of 26 bits, in the lower halves of lanes of 64.
impl Lanes for [__m256i; 5] {
    const LANES: usize = 4;
    type Multiplier = ([__m256i; 5], [__m256i; 5]);

    #[inline(always)]
    unsafe fn new(elements: &[Element; 8]) -> Self {
        let mut limbs = [[0; Self::LANES]; 5];
        for (lane, from) in [0, 2, 1, 3].into_iter().enumerate() {
            for (i, limb) in in_five(elements[from]).into_iter().enumerate() {
                limbs[i][lane] = limb;
            }
        }
        // SAFETY: see the trait; so in all that follow.
        unsafe {
            let mut all = [_mm256_setzero_si256(); 5];
            for i in 0..5 {
                all[i] = _mm256_loadu_si256(limbs[i].as_ptr().cast());
            }
            all
        }
    }

    #[inline(always)]
    unsafe fn multiplier(self) -> Self::Multiplier {
        let mut by_5 = self;
        for limb in &mut by_5 {
            // SAFETY: see the trait.
            *limb = unsafe { _mm256_add_epi64(*limb, _mm256_slli_epi64::<2>(*limb)) };
        }
        (self, by_5)
    }

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: see the trait.
        unsafe {
            let (first, second) = (_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast()));
            let (low, high) = (_mm256_unpacklo_epi64(first, second), _mm256_unpackhi_epi64(first, second));
            let mask = _mm256_set1_epi64x(LIMB_26);
            [
                _mm256_and_si256(low, mask),
                _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
                _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high)), mask),
                _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
                _mm256_or_si256(_mm256_srli_epi64::<40>(high), _mm256_set1_epi64x(1 << 24)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut sums = self;
        for (sum, other) in sums.iter_mut().zip(other) {
            // SAFETY: see the trait.
            *sum = unsafe { _mm256_add_epi64(*sum, other) };
        }
        sums
    }

    #[inline(always)]
    unsafe fn mul(self, (r, r5): &Self::Multiplier) -> Self {
        // SAFETY: see the trait.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 5];
            for j in 0..5 {
                for i in 0..5 {
                    let by = if i >= j { r[i - j] } else { r5[i + 5 - j] };
                    sums[i] = _mm256_add_epi64(sums[i], _mm256_mul_epu32(self[j], by));
                }
            }
            let mask = _mm256_set1_epi64x(LIMB_26);
            let [mut a, mut b, mut c, mut d, mut e] = sums;
            macro_rules! carry {
                ($from:ident, $to:ident) => {
                    $to = _mm256_add_epi64($to, _mm256_srli_epi64::<26>($from));
                    $from = _mm256_and_si256($from, mask);
                };
            }
            // Two at a time, so that neither waits for the other.
            carry!(a, b);
            carry!(d, e);
            carry!(b, c);
            // 2^130 is 5.
            let over = _mm256_srli_epi64::<26>(e);
            e = _mm256_and_si256(e, mask);
            a = _mm256_add_epi64(a, _mm256_add_epi64(over, _mm256_slli_epi64::<2>(over)));
            carry!(c, d);
            carry!(a, b);
            carry!(d, e);
            [a, b, c, d, e]
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> Element {
        let mut sums = [0_u64; 5];
        for (sum, limb) in sums.iter_mut().zip(self) {
            let mut lanes = [0_u64; Self::LANES];
            // SAFETY: see the trait.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), limb) };
            for lane in lanes {
                *sum = sum.wrapping_add(lane);
            }
        }
        let [a, b, c, d, e] = sums;
        Element::carried([a.wrapping_add(b << 26), (c << 8).wrapping_add(d << 34), e << 16])
    }
    #[inline(always)]
    unsafe fn pin() {}
}

const LIMB_26: i64 = (1 << 26) - 1;

/// Its limbs of 26 bits, the topmost with what is left.
#[inline(always)]
const fn in_five(element: Element) -> [u64; 5] {
    const MASK: u64 = LIMB_26.cast_unsigned();
    let Element([a, b, c]) = Element::carried(element.0);
    let (c, b) = (c.wrapping_add(b >> 44), b & LIMB);
    [a & MASK, (a >> 26 | b << 18) & MASK, (b >> 8) & MASK, (b >> 34 | c << 10) & MASK, c >> 16]
}

/// AVX-512 IFMA: three limbs of 44, 44 and 42 bits.
impl Lanes for [__m512i; 3] {
    const LANES: usize = 8;
    type Multiplier = ([__m512i; 3], [__m512i; 3]);

    #[inline(always)]
    unsafe fn new(elements: &[Element; 8]) -> Self {
        let mut limbs = [[0; Self::LANES]; 3];
        for (lane, from) in [0, 4, 1, 5, 2, 6, 3, 7].into_iter().enumerate() {
            for (i, limb) in elements[from].0.into_iter().enumerate() {
                limbs[i][lane] = limb;
            }
        }
        // SAFETY: see the trait; so in all that follow.
        unsafe {
            let mut all = [_mm512_setzero_si512(); 3];
            for i in 0..3 {
                all[i] = _mm512_loadu_si512(limbs[i].as_ptr().cast());
            }
            all
        }
    }

    #[inline(always)]
    unsafe fn multiplier(self) -> Self::Multiplier {
        let mut by_20 = self;
        for limb in &mut by_20 {
            // SAFETY: see the trait.
            *limb = unsafe { _mm512_add_epi64(_mm512_slli_epi64::<4>(*limb), _mm512_slli_epi64::<2>(*limb)) };
        }
        (self, by_20)
    }

    #[inline(always)]
    unsafe fn load(at: *const u8) -> Self {
        // SAFETY: see the trait.
        unsafe {
            let (first, second) = (_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(64).cast()));
            let (low, high) = (_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
            let mask = _mm512_set1_epi64(LIMB.cast_signed());
            let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
            let bit = _mm512_set1_epi64(BLOCK_BIT.cast_signed());
            [
                _mm512_and_si512(low, mask),
                _mm512_and_si512(middle, mask),
                _mm512_or_si512(_mm512_srli_epi64::<24>(high), bit),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut sums = self;
        for (sum, other) in sums.iter_mut().zip(other) {
            // SAFETY: see the trait.
            *sum = unsafe { _mm512_add_epi64(*sum, other) };
        }
        sums
    }

    #[inline(always)]
    unsafe fn mul(self, (r, r20): &Self::Multiplier) -> Self {
        // SAFETY: see the trait.
        unsafe {
            let (mut low, mut high) = ([_mm512_setzero_si512(); 3], [_mm512_setzero_si512(); 3]);
            for j in 0..3 {
                for i in 0..3 {
                    let by = ptr::read_volatile(if i >= j { &r[i - j] } else { &r20[i + 3 - j] });
                    low[i] = _mm512_madd52lo_epu64(low[i], self[j], by);
                    high[i] = _mm512_madd52hi_epu64(high[i], self[j], by);
                }
            }
            // The upper halves of products begin at bit 52, eight above the next limb; ten above the bit that the topmost one ends at.
            let mask = _mm512_set1_epi64(LIMB.cast_signed());
            let [mut a, mut b, mut c] = low;
            b = _mm512_add_epi64(b, _mm512_add_epi64(_mm512_srli_epi64::<44>(a), _mm512_slli_epi64::<8>(high[0])));
            c = _mm512_add_epi64(c, _mm512_add_epi64(_mm512_srli_epi64::<44>(b), _mm512_slli_epi64::<8>(high[1])));
            let over = _mm512_add_epi64(_mm512_srli_epi64::<42>(c), _mm512_slli_epi64::<10>(high[2]));
            // 2^130 is 5.
            a = _mm512_and_si512(a, mask);
            a = _mm512_add_epi64(a, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
            b = _mm512_add_epi64(_mm512_and_si512(b, mask), _mm512_srli_epi64::<44>(a));
            [_mm512_and_si512(a, mask), b, _mm512_and_si512(c, _mm512_set1_epi64(TOP.cast_signed()))]
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> Element {
        let mut sums = [0_u64; 3];
        for (sum, limb) in sums.iter_mut().zip(self) {
            let mut lanes = [0_u64; Self::LANES];
            // SAFETY: see the trait.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), limb) };
            for lane in lanes {
                *sum = sum.wrapping_add(lane);
            }
        }
        Element::carried(sums)
    }
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn pin() {
        // SAFETY: there is nothing in it.
        unsafe {
            asm!(
                "",
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
