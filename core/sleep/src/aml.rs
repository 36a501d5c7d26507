//! The few forms of AML in which firmware writes the packages of its sleep states (ACPI s. 20.2).
//!
//! They are looked for in the bytes, wherever they stand: it would take an interpreter to know where a name is an object's, and
//! the four letters with their package behind them are not found by chance. A package that code calculates is not found.

const NAME_OP: u8 = 0x08;
const ROOT_CHAR: u8 = b'\\';
const PACKAGE_OP: u8 = 0x12;
const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;

/// The digit `d` and the first two numbers of each package that `_Sd_` names: SLP_TYPa and SLP_TYPb (ACPI s. 7.4.2).
pub fn sleep_packages(aml: &[u8]) -> impl Iterator<Item = (u8, u8, u8)> {
    // The letter is rare, and a look at one byte is cheap: this is done for all tables before the guest starts.
    let letters = aml.iter().enumerate().filter(|(_, byte)| **byte == b'S').map(|(at, _)| at);
    letters.filter_map(move |at| {
        let (before, from_letter) = aml.split_at_checked(at)?;
        let before = before.strip_suffix(b"_")?;
        let before = before.strip_suffix(&[ROOT_CHAR]).unwrap_or(before);
        before.ends_with(&[NAME_OP]).then_some(())?;
        let (&[_, digit, b'_'], named) = from_letter.split_first_chunk()? else { return None };
        let (a, b) = package(named)?;
        Some((digit, a, b))
    })
}

/// The first two numbers of the package that `bytes` begin with. One that has a single number has it for both.
fn package(bytes: &[u8]) -> Option<(u8, u8)> {
    let rest = bytes.strip_prefix(&[PACKAGE_OP])?;
    let rest = skip_length(rest)?;
    let (&elements, rest) = rest.split_first()?;
    let (first, rest) = number(rest)?;
    let second = if elements < 2 { first } else { number(rest)?.0 };
    Some((first, second))
}

/// Past a PkgLength: the two highest bits of its first byte tell how many follow.
fn skip_length(bytes: &[u8]) -> Option<&[u8]> {
    let (&lead, rest) = bytes.split_first()?;
    rest.get(usize::from(lead >> 6)..)
}

/// A number that fits into a byte.
fn number(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&op, rest) = bytes.split_first()?;
    let len_bytes = match op {
        ZERO_OP | ONE_OP => return Some((op, rest)),
        BYTE_PREFIX => 1,
        WORD_PREFIX => 2,
        DWORD_PREFIX => 4,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len_bytes)?;
    let (&low, high) = value.split_first()?;
    high.iter().all(|&byte| byte == 0).then_some((low, rest))
}
