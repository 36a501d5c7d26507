//! One data unit through XTS (IEEE Std 1619-2018, s. 5.3 and 5.4), as many blocks at a time as the cipher takes.
//!
//! Ciphertext stealing (s. 5.3.2) has no use here: a sector is a whole number of blocks.

use aes::Block;
use aes::cipher::array::{Array, ArraySize};
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser,
};

/// A data unit in place, and its tweak after encryption under the tweak key.
pub struct Unit<'a> {
    pub tweak: u128,
    pub blocks: &'a mut [Block],
}

impl Unit<'_> {
    /// Masks, transforms and masks again: batches of `N` blocks by `batch`, what is left over by `single`.
    #[inline(always)]
    fn transform<N: ArraySize>(self, batch: impl Fn(&mut Array<Block, N>), single: impl Fn(&mut Block)) {
        let mut tweak = self.tweak;
        let (batches, rest) = Array::<Block, N>::slice_as_chunks_mut(self.blocks);
        for blocks in batches {
            let mut masks = Array::<Block, N>::default();
            for mask in &mut masks {
                *mask = next_mask(&mut tweak);
            }
            xor_all(blocks, &masks);
            batch(blocks);
            xor_all(blocks, &masks);
        }
        for block in rest {
            let mask = next_mask(&mut tweak);
            xor(block, &mask);
            single(block);
            xor(block, &mask);
        }
    }
}

/// The tweak as bytes; the tweak then is the one of the next block: times alpha in GF(2^128) (s. 5.2).
#[inline(always)]
fn next_mask(tweak: &mut u128) -> Block {
    let mask = tweak.to_le_bytes().into();
    let carry = *tweak >> 127;
    *tweak = (*tweak << 1) ^ (carry.wrapping_neg() & 0x87);
    mask
}

#[inline(always)]
fn xor(block: &mut Block, mask: &Block) {
    for (byte, mask) in block.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[inline(always)]
fn xor_all<N: ArraySize>(blocks: &mut Array<Block, N>, masks: &Array<Block, N>) {
    for (block, mask) in blocks.iter_mut().zip(masks) {
        xor(block, mask);
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
