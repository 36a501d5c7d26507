//! Poly1305 (RFC 8439, 2.5), one block at a time.
//!
//! An element of the field of 2^130 - 5 is three limbs of 44, 44 and 42 bits, a little more between two steps; products of limbs fit into
//! 128 bits. No branch or index depends on a key or on data.

/// Bytes of a block, and of a tag.
pub const BLOCK_BYTES: usize = 16;
pub const LIMB: u64 = (1 << 44) - 1;
/// The topmost limb.
pub const TOP: u64 = (1 << 42) - 1;
/// A block's bit 128, in the topmost limb.
pub const BLOCK_BIT: u64 = 1 << 40;
/// RFC 8439, 2.5.1.
const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

/// Its limbs, least first. Below 2^131; the lower two below 2^45.
#[derive(Clone, Copy)]
pub struct Element(pub [u64; 3]);

impl Element {
    pub const ZERO: Self = Self([0; 3]);

    #[inline(always)]
    const fn of_number(number: u128) -> Self {
        Self([number as u64 & LIMB, (number >> 44) as u64 & LIMB, (number >> 88) as u64])
    }

    /// Of limbs that may have up to 63 bits, and a carry out of the topmost one of up to 60.
    #[inline(always)]
    pub const fn carried([a, b, c]: [u64; 3]) -> Self {
        let b = b.wrapping_add(a >> 44);
        let c = c.wrapping_add(b >> 44);
        let a = (a & LIMB).wrapping_add((c >> 42).wrapping_mul(5));
        Self([a & LIMB, (b & LIMB).wrapping_add(a >> 44), c & TOP])
    }

    #[inline(always)]
    pub const fn add(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a.wrapping_add(d), b.wrapping_add(e), c.wrapping_add(f)])
    }

    #[inline(always)]
    pub const fn mul(self, other: Self) -> Self {
        const fn sum(a: (u64, u64), b: (u64, u64), c: (u64, u64)) -> u128 {
            let first = (a.0 as u128).wrapping_mul(a.1 as u128);
            let second = (b.0 as u128).wrapping_mul(b.1 as u128);
            first.wrapping_add(second).wrapping_add((c.0 as u128).wrapping_mul(c.1 as u128))
        }
        let ([a, b, c], [r, s, t]) = (self.0, other.0);
        // 2^132 is 20.
        let (s20, t20) = (s.wrapping_mul(20), t.wrapping_mul(20));
        let low = sum((a, r), (b, t20), (c, s20));
        let middle = sum((a, s), (b, r), (c, t20)).wrapping_add(low >> 44);
        let high = sum((a, t), (b, s), (c, r)).wrapping_add(middle >> 44);
        let low = (low as u64 & LIMB).wrapping_add(((high >> 42) as u64).wrapping_mul(5));
        Self([low & LIMB, (middle as u64 & LIMB).wrapping_add(low >> 44), high as u64 & TOP])
    }

    /// The least number that it is, modulo 2^128.
    #[inline(always)]
    fn number(self) -> u128 {
        let Self([a, b, c]) = Self::carried(Self::carried(self.0).0);
        // It is the prime or more if five more reach 2^130; that is then left out together with the bits above 2^128.
        let reach = (((a.wrapping_add(5) >> 44).wrapping_add(b)) >> 44).wrapping_add(c) >> 42;
        let number = u128::from(a).wrapping_add(u128::from(b) << 44).wrapping_add(u128::from(c) << 88);
        number.wrapping_add(u128::from(reach.wrapping_mul(5)))
    }
}

/// The sum so far, and the key.
pub struct Poly1305 {
    pub sum: Element,
    pub r: Element,
    s: u128,
}

impl Poly1305 {
    /// Under a key for one message.
    #[inline(always)]
    pub fn new(key: &[u8; 32]) -> Self {
        // SAFETY: it is as long as two of them.
        let [r, s] = unsafe { key.as_ptr().cast::<[u128; 2]>().read_unaligned() }.map(u128::from_le);
        Self { sum: Element::ZERO, r: Element::of_number(r & CLAMP), s }
    }

    /// Takes a whole block in.
    #[inline(always)]
    pub fn block(&mut self, block: u128) {
        let mut block = Element::of_number(block);
        block.0[2] |= BLOCK_BIT;
        self.sum = self.sum.add(block).mul(self.r);
    }

    /// Takes bytes in, filled up with zeroes to whole blocks (RFC 8439, 2.8).
    #[inline(always)]
    pub fn padded(&mut self, data: &[u8]) {
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            self.block(u128::from_le_bytes(*block));
        }
        if !rest.is_empty() {
            let mut block = 0;
            for byte in rest.iter().rev() {
                block = block << 8 | u128::from(*byte);
            }
            self.block(block);
        }
    }

    #[inline(always)]
    pub fn tag(&self) -> u128 {
        self.sum.number().wrapping_add(self.s)
    }

    /// Wipes the key.
    #[inline(always)]
    pub fn wipe(&mut self) {
        // SAFETY: its own places.
        unsafe {
            core::ptr::write_volatile(&raw mut self.sum, Element::ZERO);
            core::ptr::write_volatile(&raw mut self.r, Element::ZERO);
            core::ptr::write_volatile(&raw mut self.s, 0);
        }
    }
}
