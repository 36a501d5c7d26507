//! The text of a record: bounded, and nothing in it that a terminal would obey.

use abi::log::MAX_TEXT_BYTES;
use core::fmt::{self, Write};

/// A text being written. What is not printable ASCII becomes `\xNN`, byte by byte, and a backslash two, so that whatever came from
/// the guest or a device stays what it was and does nothing. What does not fit is left out, escapes as a whole.
pub struct Text {
    bytes: [u8; MAX_TEXT_BYTES],
    len_bytes: usize,
    cut: bool,
}

impl Text {
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_TEXT_BYTES], len_bytes: 0, cut: false }
    }

    /// Formats a text.
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut written = Self::new();
        // An error can only be that of a value that does not want to be shown; what it has written is there.
        let _ = written.write_fmt(text);
        written
    }

    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len_bytes).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Something did not fit.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len_bytes.saturating_add(bytes.len());
        match self.bytes.get_mut(self.len_bytes..end) {
            Some(room) if !self.cut => {
                room.copy_from_slice(bytes);
                self.len_bytes = end;
            }
            _ => self.cut = true,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'\\' => self.push(b"\\\\"),
                b' '..=b'~' => self.push(&[byte]),
                _ => self.push(&[b'\\', b'x', digit(byte >> 4), digit(byte & 0xf)]),
            }
        }
        Ok(())
    }
}

fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0'.wrapping_add(value),
        _ => b'a'.wrapping_add(value).wrapping_sub(10),
    }
}
