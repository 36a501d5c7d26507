//! One data unit through XTS (IEEE Std 1619-2018, s. 5.3 and 5.4), as many blocks at a time as the cipher takes.
//!
//! Ciphertext stealing (s. 5.3.2) has no use here: a sector is a whole number of blocks.

use crate::Mask;
use aes::Block;
use aes::cipher::array::{Array, ArraySize};
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser,
};

/// A data unit in place, and the mask of its first block: the tweak after encryption under the tweak key.
pub struct Unit<'a, M> {
    pub mask: M,
    pub blocks: &'a mut [Block],
}

impl<M: Mask> Unit<'_, M> {
    /// Masks, transforms and masks again: batches of `N` blocks by `batch`, what is left over by `single`.
    #[inline(always)]
    fn transform<N: ArraySize>(self, batch: impl Fn(&mut Array<Block, N>), single: impl Fn(&mut Block)) {
        let mut mask = self.mask;
        let (batches, rest) = Array::<Block, N>::slice_as_chunks_mut(self.blocks);
        for blocks in batches {
            let masks = Array::<M, N>::from_fn(|_| next(&mut mask));
            xor(blocks, &masks);
            batch(blocks);
            xor(blocks, &masks);
        }
        for block in rest {
            let mask = next(&mut mask);
            mask.xor(block);
            single(block);
            mask.xor(block);
        }
    }
}

/// This block's mask; `mask` becomes that of the next block.
#[inline(always)]
fn next<M: Mask>(mask: &mut M) -> M {
    core::mem::replace(mask, mask.times_alpha())
}

#[inline(always)]
fn xor<M: Mask, N: ArraySize>(blocks: &mut Array<Block, N>, masks: &Array<M, N>) {
    for (block, mask) in blocks.iter_mut().zip(masks) {
        mask.xor(block);
    }
}

impl<M> BlockSizeUser for Unit<'_, M> {
    type BlockSize = U16;
}

impl<M: Mask> BlockCipherEncClosure for Unit<'_, M> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        self.transform(|blocks| cipher.encrypt_par_blocks_inplace(blocks), |block| cipher.encrypt_block_inplace(block));
    }
}

impl<M: Mask> BlockCipherDecClosure for Unit<'_, M> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, cipher: &B) {
        self.transform(|blocks| cipher.decrypt_par_blocks_inplace(blocks), |block| cipher.decrypt_block_inplace(block));
    }
}
