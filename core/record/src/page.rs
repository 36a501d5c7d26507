//! The record: text in memory that nothing wipes, found again after a warm reboot.
//!
//! All numbers are little endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `SHOJIREC` |
//! | 8 | 4 | length of the text in bytes |
//! | 12 | 4 | CRC-32 (ISO-HDLC) of length and text |
//! | 16 | | text, ASCII |
//!
//! The checksum tells memory that was not kept from memory that was. It does not tell who wrote the record: what ran on the
//! machine in between, without Shoji, can have. So the text is only shown, and only what is printable of it.

use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc};

/// Two pages.
pub const RECORD_BYTES: usize = 8192;

const MAGIC: [u8; 8] = *b"SHOJIREC";
const HEADER_BYTES: usize = 16;
const TEXT_BYTES: usize = RECORD_BYTES.saturating_sub(HEADER_BYTES);

/// A record being written. It is none until [`Page::seal`].
pub struct Page<'a> {
    memory: &'a mut [u8; RECORD_BYTES],
    len_bytes: usize,
}

impl<'a> Page<'a> {
    /// Begins a record; one that was there is gone.
    pub fn new(memory: &'a mut [u8; RECORD_BYTES]) -> Self {
        memory.fill(0);
        Self { memory, len_bytes: 0 }
    }

    /// What was written becomes a record.
    pub fn seal(self) {
        let len = (self.len_bytes as u32).to_le_bytes();
        let Some((header, text)) = self.memory.split_first_chunk_mut::<HEADER_BYTES>() else { return };
        let sum = checksum(len, text.get(..self.len_bytes).unwrap_or_default());
        let fields = MAGIC.into_iter().chain(len).chain(sum.to_le_bytes());
        header.iter_mut().zip(fields).for_each(|(to, byte)| *to = byte);
    }
}

/// What does not fit is left out. A byte that is no printable ASCII becomes `?`.
impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.memory.iter_mut().skip(HEADER_BYTES.saturating_add(self.len_bytes));
        let written = room.zip(text.bytes()).map(|(to, byte)| *to = printable(byte)).count();
        self.len_bytes = self.len_bytes.saturating_add(written);
        Ok(())
    }
}

/// Hands the text of the record in `memory` to `show`, line by line, and clears the memory. Without a record nothing happens.
pub fn take(memory: &mut [u8; RECORD_BYTES], mut show: impl FnMut(&str)) {
    let Some(len) = found(memory) else { return };
    let text = memory.get_mut(HEADER_BYTES..).and_then(|text| text.get_mut(..len)).unwrap_or_default();
    text.iter_mut().for_each(|byte| *byte = printable(*byte));
    core::str::from_utf8(text).unwrap_or_default().lines().for_each(&mut show);
    memory.fill(0);
}

/// Length of the text, if there is a record.
fn found(memory: &[u8; RECORD_BYTES]) -> Option<usize> {
    let &[m0, m1, m2, m3, m4, m5, m6, m7, l0, l1, l2, l3, c0, c1, c2, c3] = memory.first_chunk::<HEADER_BYTES>()?;
    let len = [l0, l1, l2, l3];
    let len_bytes = usize::try_from(u32::from_le_bytes(len)).ok().filter(|len| *len <= TEXT_BYTES)?;
    let text = memory.get(HEADER_BYTES..)?.get(..len_bytes)?;
    let matches =
        [m0, m1, m2, m3, m4, m5, m6, m7] == MAGIC && checksum(len, text) == u32::from_le_bytes([c0, c1, c2, c3]);
    matches.then_some(len_bytes)
}

fn printable(byte: u8) -> u8 {
    if matches!(byte, b'\n' | b' '..=b'~') { byte } else { b'?' }
}

fn checksum(len: [u8; 4], text: &[u8]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    digest.update(&len);
    digest.update(text);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;
    use std::boxed::Box;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn written(text: &str) -> Box<[u8; RECORD_BYTES]> {
        let mut memory = Box::new([0xaa; RECORD_BYTES]);
        let mut page = Page::new(&mut memory);
        page.write_str(text).unwrap();
        page.seal();
        memory
    }

    fn lines(memory: &mut [u8; RECORD_BYTES]) -> Vec<String> {
        let mut lines = Vec::new();
        take(memory, |line| lines.push(line.to_string()));
        lines
    }

    #[test]
    fn a_record_is_found_once() {
        let mut memory = written("one\ntwo\n");
        assert_eq!(lines(&mut memory), ["one", "two"]);
        assert_eq!(memory.iter().filter(|byte| **byte != 0).count(), 0);
        assert_eq!(lines(&mut memory), [""; 0]);
    }

    #[test]
    fn memory_that_holds_something_else_stays_as_it_is() {
        for filler in [0, 0xff, b'S'] {
            let mut memory = [filler; RECORD_BYTES];
            assert_eq!(lines(&mut memory), [""; 0]);
            assert_eq!(memory, [filler; RECORD_BYTES]);
        }
    }

    #[test]
    fn a_record_that_is_not_sealed_is_none() {
        let mut memory = [0; RECORD_BYTES];
        Page::new(&mut memory).write_str("cut off").unwrap();
        assert_eq!(lines(&mut memory), [""; 0]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = written("text\n");
        for bit in 0..8 * (HEADER_BYTES + 5) {
            let mut memory = good.clone();
            memory[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(lines(&mut memory), [""; 0], "bit {bit}");
        }
    }

    #[test]
    fn a_length_beyond_the_page_is_no_record() {
        for len in [TEXT_BYTES as u32 + 1, u32::MAX] {
            let mut memory = written("x");
            memory[8..12].copy_from_slice(&len.to_le_bytes());
            let sum = checksum(len.to_le_bytes(), &memory[HEADER_BYTES..]);
            memory[12..16].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(lines(&mut memory), [""; 0]);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut memory = written(&"x".repeat(RECORD_BYTES * 2));
        assert_eq!(lines(&mut memory), ["x".repeat(TEXT_BYTES)]);
    }

    #[test]
    fn nothing_but_printable_text_is_shown() {
        assert_eq!(lines(&mut written("a\x1b[2J\u{e9}\0b\n")), ["a?[2J???b"]);
        // Forged, with a right checksum.
        let mut memory = written("abc");
        memory[HEADER_BYTES + 1] = 0x1b;
        let sum = checksum(3_u32.to_le_bytes(), &memory[HEADER_BYTES..HEADER_BYTES + 3]);
        memory[12..16].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(lines(&mut memory), ["a?c"]);
    }
}
