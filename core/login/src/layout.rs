//! Which character is on which key.

/// A keyboard's layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// ANSI, US English.
    Us,
    /// JIS X 6002, 106 or 109 keys. The yen key gives a backslash, as the key before the right shift does.
    Jp,
    /// DIN 2137-1, T1. The dead keys are characters of their own: nothing is composed.
    De,
}

/// How a key is pressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    Normal,
    Shift,
    AltGr,
}

/// A run of keys with consecutive scan codes, and their characters on the three levels; a space is no character.
struct Row {
    first: u8,
    normal: &'static str,
    shift: &'static str,
    alt_gr: &'static str,
}

const fn row(first: u8, normal: &'static str, shift: &'static str) -> Row {
    Row { first, normal, shift, alt_gr: "" }
}

// The rows begin at 1, Q, A, and the key beside the left or before the right shift.
const US: &[Row] = &[
    row(0x02, "1234567890-=", "!@#$%^&*()_+"),
    row(0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    row(0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    row(0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    row(0x56, "\\", "|"),
];
const JP: &[Row] = &[
    row(0x02, "1234567890-^", "!\"#$%&'() =~"),
    row(0x10, "qwertyuiop@[", "QWERTYUIOP`{"),
    row(0x1e, "asdfghjkl;:", "ASDFGHJKL+*"),
    row(0x2b, "]zxcvbnm,./", "}ZXCVBNM<>?"),
    row(0x73, "\\", "_"),
    row(0x7d, "\\", "|"),
];
const DE: &[Row] = &[
    Row { first: 0x02, normal: "1234567890ß´", shift: "!\"§$%&/()=?`", alt_gr: " ²³   {[]}\\" },
    Row { first: 0x10, normal: "qwertzuiopü+", shift: "QWERTZUIOPÜ*", alt_gr: "@ €        ~" },
    row(0x1e, "asdfghjklöä^", "ASDFGHJKLÖÄ°"),
    Row { first: 0x2b, normal: "#yxcvbnm,.-", shift: "'YXCVBNM;:_", alt_gr: "       µ" },
    Row { first: 0x56, normal: "<", shift: ">", alt_gr: "|" },
];

/// Keys of all layouts. The keypad gives digits, whether or not Num Lock is on: it is for nothing else here.
const COMMON: &[Row] = &[row(0x37, "*", "*"), row(0x47, "789-456+1230.", "789-456+1230.")];
const SPACE: u8 = 0x39;

impl Layout {
    fn rows(self) -> &'static [Row] {
        match self {
            Self::Us => US,
            Self::Jp => JP,
            Self::De => DE,
        }
    }

    /// The character of a key. `caps`: Caps Lock is on, which changes letters alone.
    pub(crate) fn character(self, scan_code: u8, level: Level, caps: bool) -> Option<char> {
        if scan_code == SPACE {
            return Some(' ');
        }
        let normal = self.on(scan_code, Level::Normal);
        let level = match level {
            Level::Normal if caps && is_letter(normal, self.on(scan_code, Level::Shift)) => Level::Shift,
            Level::Shift if caps && is_letter(normal, self.on(scan_code, Level::Shift)) => Level::Normal,
            level => level,
        };
        self.on(scan_code, level)
    }

    fn on(self, scan_code: u8, level: Level) -> Option<char> {
        self.rows().iter().chain(COMMON).find_map(|row| {
            let index = usize::from(scan_code.checked_sub(row.first)?);
            let characters = match level {
                Level::Normal => row.normal,
                Level::Shift => row.shift,
                Level::AltGr => row.alt_gr,
            };
            characters.chars().nth(index).filter(|&character| character != ' ')
        })
    }

    /// Whether a character can be typed at all.
    pub fn has(self, character: char) -> bool {
        let rows = self.rows().iter().chain(COMMON);
        character == ' ' || rows.flat_map(|r| [r.normal, r.shift, r.alt_gr]).any(|row| row.contains(character))
    }
}

/// The key's two levels are one letter, small and capital.
fn is_letter(normal: Option<char>, shift: Option<char>) -> bool {
    normal.zip(shift).is_some_and(|(small, capital)| small.is_lowercase() && small.to_uppercase().eq([capital]))
}
