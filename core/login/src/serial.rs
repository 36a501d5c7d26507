//! From bytes of a serial terminal to keys.

use crate::Key;

const ESCAPE: u8 = 0x1b;
/// Most bytes of a character in UTF-8.
const MAX_UTF8: usize = 4;

/// What the terminal has begun to send.
#[derive(Default)]
enum State {
    #[default]
    Ground,
    /// An escape: of its own if something else than a sequence follows.
    Escape,
    /// A control sequence, up to its final byte (ECMA-48 s. 5.4).
    Sequence,
}

/// A terminal that sends UTF-8 and, for keys without a character, escape sequences, which are dropped.
#[derive(Default)]
pub(crate) struct Serial {
    state: State,
    /// A character's bytes so far, and how many.
    partial: ([u8; MAX_UTF8], usize),
    /// The last byte was a carriage return: a line feed behind it is no second Enter.
    returned: bool,
}

impl Serial {
    pub fn on_byte(&mut self, byte: u8) -> Option<Key> {
        let returned = core::mem::replace(&mut self.returned, byte == b'\r');
        match (core::mem::take(&mut self.state), byte) {
            (State::Escape, b'[' | b'O') => {
                self.state = State::Sequence;
                None
            }
            (State::Sequence, 0x40..=0x7e) => None,
            (State::Sequence, 0x20..=0x3f) => {
                self.state = State::Sequence;
                None
            }
            (_, ESCAPE) => {
                self.state = State::Escape;
                None
            }
            // An escape alone, then a key: the escape came first, but one key at a time is enough.
            (_, b'\n') if returned => None,
            (_, b'\r' | b'\n') => Some(Key::Enter),
            (_, b'\t') => Some(Key::Switch),
            (_, 0x08 | 0x7f) => Some(Key::Backspace),
            // Ctrl-U, Ctrl-C.
            (_, 0x15 | 0x03) => Some(Key::Clear),
            (_, 0..=0x1f) => None,
            (_, byte) => self.character(byte).map(Key::Character),
        }
    }

    fn character(&mut self, byte: u8) -> Option<char> {
        let (bytes, len) = &mut self.partial;
        if byte & 0xc0 != 0x80 {
            // A new character; an unfinished one is dropped.
            *len = 0;
        }
        *bytes.get_mut(*len)? = byte;
        *len = len.saturating_add(1);
        let taken = bytes.get(..*len).and_then(|bytes| core::str::from_utf8(bytes).ok()?.chars().next());
        if taken.is_some() || *len == MAX_UTF8 {
            self.partial = Default::default();
        }
        taken
    }
}
