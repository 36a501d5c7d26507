//! Recovery keys: what opens a configuration when the pass phrase is forgotten, to be kept on paper.
//!
//! 128 random bits, written as eight groups of six digits: each group is 16 bits, big endian, times 11. So a wrong digit
//! and two swapped neighbours are found in their group, and digits lie in the same place on keyboards of all layouts.

use alloc::string::String;
use core::fmt::{self, Write};

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const GROUPS: usize = 8;
const DIGITS: usize = 6;
/// Each group is a multiple of it.
const CHECK: u32 = 11;

/// Bytes of a [`RecoveryKey`].
pub const RECOVERY_KEY_BYTES: usize = 16;

/// A recovery key. Wiped when dropped.
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey(pub [u8; RECOVERY_KEY_BYTES]);

/// Why a text is no recovery key. Displayed as one sentence that ends with what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoveryKeyError {
    /// Has something in it that is neither a digit nor between groups.
    Character,
    /// Has not as many digits as a recovery key.
    Length { digits: usize },
    /// This group, from 1 on, was mistyped.
    Group { number: usize },
}

impl fmt::Display for RecoveryKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character => {
                f.write_str("a recovery key has digits only, in 8 groups of 6; type it as it was printed")
            }
            Self::Length { digits } => {
                write!(f, "a recovery key has 48 digits in 8 groups of 6, not {digits}; type it as it was printed")
            }
            Self::Group { number } => write!(f, "group {number} of the recovery key is mistyped; compare its digits"),
        }
    }
}

impl core::error::Error for RecoveryKeyError {}

impl RecoveryKey {
    /// The text for paper, e.g. `012345-...`.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(GROUPS.saturating_mul(DIGITS.saturating_add(1))));
        for pair in self.0.as_chunks::<2>().0 {
            let separator = if text.is_empty() { "" } else { "-" };
            // A `String` takes everything.
            let _ = write!(text, "{separator}{:06}", u32::from(u16::from_be_bytes(*pair)).saturating_mul(CHECK));
        }
        text
    }

    /// Reads what somebody typed; groups may be separated by spaces, hyphens, or not at all.
    ///
    /// # Errors
    /// See [`RecoveryKeyError`].
    pub fn parse(text: &[u8]) -> Result<Self, RecoveryKeyError> {
        let mut values = Zeroizing::new([0_u32; GROUPS]);
        let mut digits = 0_usize;
        for byte in text {
            match byte {
                b'0'..=b'9' => {
                    if let Some(value) = digits.checked_div(DIGITS).and_then(|group| values.get_mut(group)) {
                        *value = value.saturating_mul(10).saturating_add(u32::from(byte.saturating_sub(b'0')));
                    }
                    digits = digits.saturating_add(1);
                }
                b' ' | b'-' | b'\t' | b'\r' | b'\n' => {}
                _ => return Err(RecoveryKeyError::Character),
            }
        }
        if digits != GROUPS.saturating_mul(DIGITS) {
            return Err(RecoveryKeyError::Length { digits });
        }
        let mut key = Self([0; RECOVERY_KEY_BYTES]);
        for ((number, value), pair) in (1..).zip(values.iter()).zip(key.0.as_chunks_mut::<2>().0) {
            let half = value.checked_div(CHECK).filter(|_| value.is_multiple_of(CHECK));
            let half = half.and_then(|half| u16::try_from(half).ok()).ok_or(RecoveryKeyError::Group { number })?;
            *pair = half.to_be_bytes();
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// Has the least and the greatest value of a group.
    const KEY: RecoveryKey = RecoveryKey([0, 0, 0xFF, 0xFF, 0, 1, 0x12, 0x34, 0x80, 0, 0x7F, 0xFF, 0xAB, 0xCD, 0, 10]);
    const TEXT: &str = "000000-720885-000011-051260-360448-360437-483791-000110";

    fn parse(text: &str) -> Option<RecoveryKeyError> {
        RecoveryKey::parse(text.as_bytes()).err()
    }

    #[test]
    fn eight_groups_of_six_digits_there_and_back() {
        assert_eq!(KEY.to_text().as_str(), TEXT);
        for text in [TEXT.into(), TEXT.replace('-', " "), TEXT.replace('-', ""), alloc::format!(" {TEXT}\r\n")] {
            assert!(RecoveryKey::parse(text.as_bytes()).is_ok_and(|key| key == KEY), "{text}");
        }
    }

    #[test]
    fn every_wrong_digit_is_found_in_its_group() {
        for at in TEXT.bytes().enumerate().filter(|(_, byte)| *byte != b'-').map(|(at, _)| at) {
            for digit in b'0'..=b'9' {
                let mut text = TEXT.as_bytes().to_vec();
                if text[at] != digit {
                    text[at] = digit;
                    let error = RecoveryKey::parse(&text).err();
                    assert_eq!(error, Some(RecoveryKeyError::Group { number: at / 7 + 1 }), "{at} {digit}");
                }
            }
        }
    }

    #[test]
    fn swapped_neighbours_are_found() {
        for at in 0..TEXT.len() - 1 {
            let mut text = TEXT.as_bytes().to_vec();
            text.swap(at, at + 1);
            let (a, b) = (text[at], text[at + 1]);
            if a != b && a != b'-' && b != b'-' {
                assert!(matches!(RecoveryKey::parse(&text), Err(RecoveryKeyError::Group { .. })), "{at}");
            }
        }
    }

    #[test]
    fn what_is_no_recovery_key_says_why() {
        assert_eq!(parse(""), Some(RecoveryKeyError::Length { digits: 0 }));
        assert_eq!(parse(&TEXT[..54]), Some(RecoveryKeyError::Length { digits: 47 }));
        assert_eq!(parse(&alloc::format!("{TEXT}0")), Some(RecoveryKeyError::Length { digits: 49 }));
        assert_eq!(parse(&"9".repeat(100_000)), Some(RecoveryKeyError::Length { digits: 100_000 }));
        assert_eq!(parse(&TEXT.replace('8', "B")), Some(RecoveryKeyError::Character));
        // A multiple of 11 beyond 16 bits.
        assert_eq!(parse(&TEXT.replace("720885", "720896")), Some(RecoveryKeyError::Group { number: 2 }));
        assert!(RecoveryKeyError::Group { number: 3 }.to_string().contains("group 3"));
    }
}
