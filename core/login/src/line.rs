//! What was typed so far.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Longest pass phrase in bytes (UTF-8).
pub const MAX_SECRET_BYTES: usize = 256;

/// A line of a secret: it never moves, and nothing of it stays behind.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Line {
    bytes: [u8; MAX_SECRET_BYTES],
    len: usize,
}

impl Line {
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_SECRET_BYTES], len: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Appends a character. False: the line is full.
    pub fn push(&mut self, character: char) -> bool {
        let mut encoded = [0; 4];
        let fits = self.append(character.encode_utf8(&mut encoded).as_bytes());
        encoded.zeroize();
        fits
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.len.saturating_add(bytes.len());
        let Some(room) = self.bytes.get_mut(self.len..end) else { return false };
        room.copy_from_slice(bytes);
        self.len = end;
        true
    }

    /// Takes the last character off. False: there was none.
    pub fn pop(&mut self) -> bool {
        while let Some(last) = self.len.checked_sub(1) {
            self.len = last;
            let Some(byte) = self.bytes.get_mut(last) else { return false };
            // The bytes of UTF-8 behind the first one of a character are 10xx_xxxx.
            let is_first = *byte & 0xc0 != 0x80;
            byte.zeroize();
            if is_first {
                return true;
            }
        }
        false
    }

    /// Nothing is left, in memory either.
    pub fn clear(&mut self) {
        self.zeroize();
    }

    /// Characters in it.
    pub fn count(&self) -> usize {
        self.bytes().iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
    }
}
