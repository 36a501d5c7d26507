//! The key stream of ChaCha20 (RFC 8439, 2.3 and 2.4), as many blocks at a time as a register has words.
//!
//! A register holds the same word of all blocks, so that the rounds need no shuffles. The 16 rows of words are the 16 registers that
//! there are; they go to memory before they are turned into blocks, for which more would be needed: hence the volatile accesses.

use super::words::Words;
use core::mem::MaybeUninit;
use core::ptr;

pub const BLOCK_BYTES: usize = 64;
/// RFC 8439, 2.3: "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
const COUNTER: usize = 12;

/// The key stream under one key and nonce. Wiped when it is dropped.
pub struct Stream<W: Words> {
    initial: [u32; 16],
    rows: [MaybeUninit<W>; 16],
    blocks: [MaybeUninit<W>; 16],
}

impl<W: Words> Stream<W> {
    /// Bytes that are made at a time.
    pub const BYTES: usize = W::LANES * BLOCK_BYTES;

    /// From block 0 on. [`Self::advance`] is called before anything else.
    #[inline(always)]
    pub fn new(key: &[u8; 32], nonce: &[u8; 12]) -> Self {
        let mut initial = [0; 16];
        initial[..4].copy_from_slice(&CONSTANTS);
        for (to, word) in initial[4..COUNTER].iter_mut().zip(key.as_chunks().0) {
            *to = u32::from_le_bytes(*word);
        }
        for (to, word) in initial[COUNTER + 1..].iter_mut().zip(nonce.as_chunks().0) {
            *to = u32::from_le_bytes(*word);
        }
        Self { initial, rows: [const { MaybeUninit::uninit() }; 16], blocks: [const { MaybeUninit::uninit() }; 16] }
    }

    /// Makes the next blocks.
    ///
    /// # Safety
    /// See [`Words`].
    #[inline(always)]
    pub unsafe fn advance(&mut self) {
        let memory: *mut W = self.rows.as_mut_ptr().cast();
        // SAFETY: the caller's promise; the rows were set before they are read.
        unsafe {
            let mut rows = [W::splat(0); 16];
            for (row, word) in rows.iter_mut().zip(self.initial) {
                *row = W::splat(word);
            }
            rows[COUNTER] = rows[COUNTER].add(W::counters());
            for _ in 0..10 {
                W::pin(&mut rows);
                quarter_rounds(&mut rows, 0);
                quarter_rounds(&mut rows, 1);
            }
            for (i, row) in rows.into_iter().enumerate() {
                ptr::write_volatile(memory.add(i), row);
            }
            for quarter in 0..4 {
                let mut words = [W::splat(0); 4];
                for (i, words) in words.iter_mut().enumerate() {
                    let row = ptr::read_volatile(memory.add(quarter * 4 + i));
                    *words = row.add(W::splat(self.initial[quarter * 4 + i]));
                }
                if quarter * 4 == COUNTER {
                    words[0] = words[0].add(W::counters());
                }
                for (i, words) in W::transpose(words).into_iter().enumerate() {
                    ptr::write_volatile(memory.add(quarter * 4 + i), words);
                }
            }
            for i in 0..4 {
                let mut quarters = [W::splat(0); 4];
                for (quarter, words) in quarters.iter_mut().enumerate() {
                    *words = ptr::read_volatile(memory.add(quarter * 4 + i));
                }
                W::store_blocks(quarters, i, self.blocks.as_mut_ptr().cast());
            }
        }
        self.initial[COUNTER] = self.initial[COUNTER].wrapping_add(W::LANES as u32);
    }

    /// The first block of those that were made last: its first half.
    ///
    /// # Safety
    /// [`Self::advance`] was called.
    #[inline(always)]
    pub unsafe fn first_half(&self) -> [u8; 32] {
        // SAFETY: the blocks are set, and longer than that.
        unsafe { self.blocks.as_ptr().cast::<[u8; 32]>().read_unaligned() }
    }

    /// XORs `data` with the key stream, which begins at byte `skip` of the blocks that were made last.
    ///
    /// # Safety
    /// So many bytes were made; `skip` is a multiple of 16. See [`Words`].
    #[inline(always)]
    pub unsafe fn apply(&self, skip: usize, data: &mut [u8]) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut stream = self.blocks.as_ptr().cast::<u8>().add(skip);
            let mut pieces = data.chunks_exact_mut(size_of::<W>());
            for piece in &mut pieces {
                W::load(piece.as_ptr()).xor(W::load(stream)).store(piece.as_mut_ptr());
                stream = stream.add(size_of::<W>());
            }
            let mut pieces = pieces.into_remainder().chunks_exact_mut(16);
            for piece in &mut pieces {
                let at = piece.as_mut_ptr().cast::<u128>();
                at.write_unaligned(at.read_unaligned() ^ stream.cast::<u128>().read_unaligned());
                stream = stream.add(16);
            }
            let rest = pieces.into_remainder();
            if !rest.is_empty() {
                // What is read beyond them lies in the blocks: these end at a multiple of 16 bytes.
                let key = stream.cast::<[u8; 16]>().read_unaligned();
                rest.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            }
        }
    }
}

impl<W: Words> Stream<W> {
    /// Wipes the key and the key stream.
    ///
    /// # Safety
    /// See [`Words`].
    #[inline(always)]
    pub unsafe fn wipe(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            for part in self.rows.iter_mut().chain(&mut self.blocks) {
                ptr::write_volatile(part.as_mut_ptr(), W::splat(0));
            }
            for word in &mut self.initial {
                ptr::write_volatile(word, 0);
            }
        }
    }
}

/// The four quarter rounds (RFC 8439, 2.1) on the columns (`turn` 0) or on the diagonals (`turn` 1), in step.
#[inline(always)]
unsafe fn quarter_rounds<W: Words>(rows: &mut [W; 16], turn: usize) {
    let row = |quarter: usize, i: usize| quarter * 4 + (i + turn * quarter) % 4;
    macro_rules! step {
        ($sum:literal, $with:literal, $rotated:literal, $left:literal, $right:literal) => {
            for i in 0..4 {
                let sum = rows[row($sum, i)].add(rows[row($with, i)]);
                rows[row($sum, i)] = sum;
                rows[row($rotated, i)] = rows[row($rotated, i)].xor(sum).rotate::<$left, $right>();
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe {
        step!(0, 1, 3, 16, 16);
        step!(2, 3, 1, 12, 20);
        step!(0, 1, 3, 8, 24);
        step!(2, 3, 1, 7, 25);
    }
}
