//! The arithmetic of XTS's masks.

use aes::Block;

/// What a block is XORed with before and after the cipher: an element of GF(2^128). Implemented on plain integers here
/// and on a vector register in the SIMD object, where that saves a fifth of all instructions.
pub trait Mask: Copy {
    fn new(encrypted_tweak: Block) -> Self;
    /// Times the primitive element (IEEE Std 1619-2018, s. 5.2): the mask of the next block. In constant time.
    fn times_alpha(&self) -> Self;
    fn xor(&self, block: &mut Block);
}

impl Mask for u128 {
    fn new(encrypted_tweak: Block) -> Self {
        Self::from_le_bytes(encrypted_tweak.into())
    }

    #[inline(always)]
    fn times_alpha(&self) -> Self {
        let carry = self >> 127;
        (self << 1) ^ (carry.wrapping_neg() & 0x87)
    }

    #[inline(always)]
    fn xor(&self, block: &mut Block) {
        for (byte, mask) in block.iter_mut().zip(self.to_le_bytes()) {
            *byte ^= mask;
        }
    }
}
