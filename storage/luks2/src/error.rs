//! What is wrong with a header, or with a try to open it.

use alloc::string::String;
use core::fmt;

/// Why one copy of the header is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// It could not be read; why.
    Read(String),
    /// It does not begin with the magic of LUKS.
    Magic,
    /// It is of another version than 2.
    Version(u16),
    /// Its size in bytes is none of those that there are.
    Size(u64),
    /// It says that it belongs elsewhere; the offset in bytes.
    Place(u64),
    /// Its checksum is of another kind than SHA-256 or SHA-512.
    ChecksumKind,
    /// Its checksum does not match.
    Checksum,
    /// Its JSON text is longer than this crate reads, or does not end with zeros.
    TextLength,
    /// Its JSON text cannot be used; why.
    Text(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(why) => write!(f, "it cannot be read, {why}"),
            Self::Magic => f.write_str("no LUKS magic"),
            Self::Version(version) => write!(f, "version {version}"),
            Self::Size(bytes) => write!(f, "a size of {bytes} bytes, which no LUKS2 header has"),
            Self::Place(at) => write!(f, "it says that it lies at byte {at}"),
            Self::ChecksumKind => f.write_str("a checksum that is neither SHA-256 nor SHA-512"),
            Self::Checksum => f.write_str("the checksum does not match"),
            Self::TextLength => f.write_str("the JSON text is too long or does not end with zeros"),
            Self::Text(why) => write!(f, "the JSON text: {why}"),
        }
    }
}

/// Why there is no header. Displayed as one sentence that ends with what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// Neither copy begins with the magic of LUKS.
    NotLuks,
    /// It is the older format.
    Luks1,
    /// Neither copy can be used.
    Damaged { primary: Flaw, secondary: Flaw },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLuks => f.write_str(
                "there is no LUKS2 header; name the partition that has it, or make one with `shoji disk init`",
            ),
            Self::Luks1 => f.write_str(
                "the header is LUKS1, which Shoji does not open; convert it with `cryptsetup convert --type luks2`",
            ),
            Self::Damaged { primary, secondary } => write!(
                f,
                "both copies of the LUKS2 header are damaged (primary: {primary}; secondary: {secondary}); put back a \
                 copy with `shoji disk header-restore`"
            ),
        }
    }
}

impl core::error::Error for ReadError {}

/// Why a header does not open. Displayed as one sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnlockError {
    /// No key slot opens with the pass phrase.
    Wrong,
    /// A key slot was not tried, since it takes more memory than was lent; no other opened.
    Memory { needed_kib: u32 },
    /// The header, or each of its key slots, asks for something that Shoji does not have; what, and what to do.
    Unsupported(String),
    /// The area of a key slot could not be read; why. No other opened.
    Device(String),
}

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong => f.write_str("the pass phrase opens no key slot of the LUKS2 header; try again"),
            Self::Memory { needed_kib } => write!(
                f,
                "trying the pass phrase takes {} MiB of memory, more than there is; add a key slot that takes less with \
                 `cryptsetup luksAddKey --pbkdf-memory`",
                needed_kib.div_ceil(1024)
            ),
            Self::Unsupported(why) => f.write_str(why),
            Self::Device(why) => write!(f, "a key slot of the LUKS2 header cannot be read: {why}"),
        }
    }
}

impl core::error::Error for UnlockError {}

/// Why a header cannot be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateError {
    /// Crypto sectors have 512 or 4096 bytes.
    SectorBytes(u32),
    /// The area for the header is too small or not a multiple of 4096 bytes; the smallest one in bytes.
    Area { smallest: u64 },
    /// Longer than the 47 bytes that there are.
    Label,
    /// Argon2id with this cost is not possible, or too little memory was lent.
    Cost,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SectorBytes(n) => write!(f, "crypto sectors of {n} bytes do not exist; choose 512 or 4096"),
            Self::Area { smallest } => {
                write!(f, "the area for the header must be a multiple of 4096 bytes and have at least {smallest} bytes")
            }
            Self::Label => f.write_str("the label must have at most 47 printable ASCII characters"),
            Self::Cost => f.write_str("Argon2id needs 4 passes or more, and 32 KiB to 4 GiB of memory for it"),
        }
    }
}

impl core::error::Error for CreateError {}
