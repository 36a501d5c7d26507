//! From scan codes to keys.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference (1988), keyboards, scan code set 1; Ralf Brown's Interrupt List, INT 15h
//! AH=4Fh (scan codes) and INT 16h AH=00h (words).

use crate::layout::{Layout, Level};

/// What a key means here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Character(char),
    Enter,
    /// The last character goes.
    Backspace,
    /// All of them go.
    Clear,
    /// From pass phrase to recovery key, and back.
    Switch,
    /// Ctrl-Alt-Del.
    Reset,
}

/// Locks that the firmware had on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Locks {
    pub caps: bool,
}

impl Locks {
    /// From the byte of keyboard flags at 40:17 in the BIOS data area.
    pub fn from_bios(flags: u8) -> Self {
        Self { caps: flags & 1 << 6 != 0 }
    }
}

/// Scan codes that mean more than a character. A released key adds 80h.
mod code {
    pub const ESCAPE: u8 = 0x01;
    pub const BACKSPACE: u8 = 0x0e;
    pub const TAB: u8 = 0x0f;
    pub const ENTER: u8 = 0x1c;
    pub const CONTROL: u8 = 0x1d;
    pub const U: u8 = 0x16;
    pub const LEFT_SHIFT: u8 = 0x2a;
    pub const SLASH: u8 = 0x35;
    pub const RIGHT_SHIFT: u8 = 0x36;
    pub const ALT: u8 = 0x38;
    pub const CAPS_LOCK: u8 = 0x3a;
    pub const DELETE: u8 = 0x53;
    pub const RELEASED: u8 = 0x80;
    /// One more code follows, of a key that the first keyboards had not.
    pub const EXTENDED: u8 = 0xe0;
    /// Two more follow: Pause.
    pub const EXTENDED_TWICE: u8 = 0xe1;
}

/// A keyboard, and which of its keys are held.
pub struct Keyboard {
    layout: Layout,
    left_shift: bool,
    right_shift: bool,
    control: bool,
    alt: bool,
    alt_gr: bool,
    caps: bool,
    /// Codes that are still to come and mean nothing.
    ignored: u8,
    extended: bool,
    /// Scan codes have come: the firmware's characters are the same keys once more.
    has_scan_codes: bool,
}

impl Keyboard {
    pub fn new(layout: Layout, locks: Locks) -> Self {
        Self {
            layout,
            left_shift: false,
            right_shift: false,
            control: false,
            alt: false,
            alt_gr: false,
            caps: locks.caps,
            ignored: 0,
            extended: false,
            has_scan_codes: false,
        }
    }

    /// A byte of scan code set 1.
    pub fn on_scan_code(&mut self, byte: u8) -> Option<Key> {
        self.has_scan_codes = true;
        if let Some(left) = self.ignored.checked_sub(1) {
            self.ignored = left;
            return None;
        }
        match byte {
            code::EXTENDED => {
                self.extended = true;
                return None;
            }
            code::EXTENDED_TWICE => {
                self.ignored = 2;
                return None;
            }
            _ => {}
        }
        let (extended, pressed) = (core::mem::take(&mut self.extended), byte & code::RELEASED == 0);
        let key = byte & !code::RELEASED;
        match key {
            // E0 2A and E0 36 come around other keys and are no shifts.
            code::LEFT_SHIFT if !extended => self.left_shift = pressed,
            code::RIGHT_SHIFT if !extended => self.right_shift = pressed,
            code::CONTROL => self.control = pressed,
            code::ALT if extended => self.alt_gr = pressed,
            code::ALT => self.alt = pressed,
            code::CAPS_LOCK => self.caps ^= pressed,
            _ if pressed => return self.key(key, extended),
            _ => {}
        }
        None
    }

    fn key(&self, key: u8, extended: bool) -> Option<Key> {
        match (key, extended) {
            (code::DELETE, _) if self.control && (self.alt || self.alt_gr) => Some(Key::Reset),
            (code::ENTER, _) => Some(Key::Enter),
            (code::SLASH, true) => Some(Key::Character('/')),
            // Arrows and their like.
            (_, true) => None,
            (code::ESCAPE, _) => Some(Key::Clear),
            (code::BACKSPACE, _) => Some(Key::Backspace),
            (code::TAB, _) => Some(Key::Switch),
            // Ctrl with Alt is AltGr on keyboards without one.
            _ if self.alt_gr || self.control && self.alt => self.character(key, Level::AltGr),
            (code::U, _) if self.control => Some(Key::Clear),
            _ if self.control || self.alt => None,
            _ if self.left_shift || self.right_shift => self.character(key, Level::Shift),
            _ => self.character(key, Level::Normal),
        }
    }

    fn character(&self, key: u8, level: Level) -> Option<Key> {
        self.layout.character(key, level, self.caps).map(Key::Character)
    }

    /// A word of INT 16h AH=00h, from firmware that does not call INT 15h AH=4Fh: the scan code, and the character that the key has
    /// in the US layout, which tells whether Shift was held. AltGr is Alt here, and keys that the US layout has not are lost.
    pub fn on_bios_key(&mut self, scan_code: u8, character: u8) -> Option<Key> {
        // Alt with a key of the upper row has scan codes of its own.
        const ALT_FIRST: u8 = 0x78;
        const FIRST: u8 = 0x02;
        if self.has_scan_codes {
            return None;
        }
        match (scan_code, character) {
            (code::ESCAPE, _) => Some(Key::Clear),
            (code::BACKSPACE, _) => Some(Key::Backspace),
            (code::TAB, _) => Some(Key::Switch),
            (_, b'\r') => Some(Key::Enter),
            (_, 0x15) => Some(Key::Clear),
            (ALT_FIRST..=0x83, 0) => {
                self.character(scan_code.wrapping_sub(ALT_FIRST).wrapping_add(FIRST), Level::AltGr)
            }
            (_, 0) => self.character(scan_code, Level::AltGr),
            (_, 1..=0x1f | 0x7f..) => None,
            // The firmware has applied Caps Lock to the letters of its own layout.
            (_, character) => {
                let shifted = Layout::Us.character(scan_code, Level::Shift, false) == Some(char::from(character));
                let level = if shifted { Level::Shift } else { Level::Normal };
                self.layout.character(scan_code, level, false).map(Key::Character)
            }
        }
    }
}
