//! One data unit through XTS (IEEE Std 1619-2018, s. 5.3 and 5.4), as many blocks at a time as the cipher takes.
//!
//! Ciphertext stealing (s. 5.3.2) has no use here: a sector is a whole number of blocks.

use aes::Block;
use aes::cipher::array::{Array, ArraySize};
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser,
};

/// A data unit in place, and the mask of its first block: the tweak after encryption under the tweak key.
pub struct Unit<'a> {
    pub mask: u128,
    pub blocks: &'a mut [Block],
}

impl Unit<'_> {
    /// Masks, transforms and masks again: batches of `N` blocks by `batch`, what is left over by `single`.
    #[inline(always)]
    fn transform<N: ArraySize>(self, batch: impl Fn(&mut Array<Block, N>), single: impl Fn(&mut Block)) {
        let mut mask = self.mask;
        let (batches, rest) = Array::<Block, N>::slice_as_chunks_mut(self.blocks);
        for blocks in batches {
            let masks = Array::<u128, N>::from_fn(|_| next(&mut mask));
            xor(blocks, &masks);
            batch(blocks);
            xor(blocks, &masks);
        }
        for block in rest {
            let mask = next(&mut mask);
            xor_block(block, mask);
            single(block);
            xor_block(block, mask);
        }
    }
}

/// This block's mask, an element of GF(2^128); `mask` becomes that of the next block: times the primitive element
/// (s. 5.2), in constant time.
#[inline(always)]
fn next(mask: &mut u128) -> u128 {
    let carry = *mask >> 127;
    core::mem::replace(mask, (*mask << 1) ^ (carry.wrapping_neg() & 0x87))
}

#[inline(always)]
fn xor<N: ArraySize>(blocks: &mut Array<Block, N>, masks: &Array<u128, N>) {
    for (block, mask) in blocks.iter_mut().zip(masks) {
        xor_block(block, *mask);
    }
}

#[inline(always)]
fn xor_block(block: &mut Block, mask: u128) {
    for (byte, mask) in block.iter_mut().zip(mask.to_le_bytes()) {
        *byte ^= mask;
    }
}

impl BlockSizeUser for Unit<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Unit<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        self.transform(|blocks| cipher.encrypt_par_blocks_inplace(blocks), |block| cipher.encrypt_block_inplace(block));
    }
}

impl BlockCipherDecClosure for Unit<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, cipher: &B) {
        self.transform(|blocks| cipher.decrypt_par_blocks_inplace(blocks), |block| cipher.decrypt_block_inplace(block));
    }
}
