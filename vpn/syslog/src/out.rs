//! A buffer that is written to its end and no further.

const HEX: [u8; 16] = *b"0123456789abcdef";

pub struct Out<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Out<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// All or nothing.
    pub fn text(&mut self, text: &str) -> Option<()> {
        self.put(text.as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.bytes.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    /// Decimal, with zeros before it up to `digits`.
    pub fn number(&mut self, number: u64, digits: usize) -> Option<()> {
        let mut text = [b'0'; 20];
        let mut rest = number;
        let mut used = 0usize;
        for digit in text.iter_mut().rev() {
            if rest == 0 && used >= digits {
                break;
            }
            *digit = b'0'.wrapping_add(u8::try_from(rest % 10).unwrap_or_default());
            rest /= 10;
            used = used.saturating_add(1);
        }
        self.put(text.get(text.len().checked_sub(used)?..)?)
    }

    /// A field of the header: printable characters without space (PRINTUSASCII), at most so many; `-` for none.
    pub fn name(&mut self, name: &str, most: usize) -> Option<()> {
        if name.is_empty() {
            return self.text("-");
        }
        for byte in name.bytes().take(most) {
            self.put(&[if byte.is_ascii_graphic() { byte } else { b'_' }])?;
        }
        Some(())
    }

    /// Text up to the end of the buffer; what is no printable ASCII as `\xNN` for each byte, a backslash doubled. No escape is cut.
    pub fn escaped(&mut self, text: &str) {
        for byte in text.bytes() {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or(b'?'));
            let written = match byte {
                b'\\' => self.put(b"\\\\"),
                b' '..=b'~' => self.put(&[byte]),
                _ => self.put(&[b'\\', b'x', high, low]),
            };
            if written.is_none() {
                return;
            }
        }
    }
}
