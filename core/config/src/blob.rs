//! The binary form of the configuration, as GRUB loads it: a header, then entries (`entry.rs`).
//!
//! All numbers are little endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `SHOJICFG` |
//! | 8 | 4 | format version |
//! | 12 | 4 | total length in bytes, header included |
//! | 16 | 4 | CRC-32 (ISO-HDLC, as in Ethernet and GPT) of all other bytes |
//! | 20 | 8 | rollback counter: greater each time that a configuration takes the place of another |
//! | 28 | | entries |
//!
//! The checksum finds accidental corruption only. Who wrote the blob is known of a locked one alone, once it is open
//! (`envelope.rs`); so the counter means something there only, and is 0 in a plain one. It is for a place that remembers
//! the greatest one seen, as a TPM can: then an older blob does not open.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crc::{CRC_32_ISO_HDLC, Crc};
use zeroize::Zeroizing;

use crate::envelope::{self, Opened};
use crate::parts;
use crate::schema::Config;
use crate::slot::MAX_SLOTS;
use crate::validate::{Problem, validate};

/// Version of the header, of the entries' layout and of the schema's serde form.
pub const FORMAT_VERSION: u32 = 3;

/// Greatest length of a blob: 1 MiB.
pub const MAX_BLOB_BYTES: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SHOJICFG";
const HEADER_BYTES: usize = 28;
const LENGTH: Range<usize> = 12..16;
pub const CHECKSUM: Range<usize> = 16..20;

/// Why a blob cannot be used. Displayed as one sentence that ends with what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlobError {
    /// Does not begin with the magic.
    NotShoji,
    /// Longer than [`MAX_BLOB_BYTES`].
    TooLarge { bytes: usize },
    /// Written for another format version.
    Version { found: u32 },
    /// Shorter than the header says; `expected` is the header's own length when not even that is there.
    Truncated { bytes: usize, expected: usize },
    /// Longer than the header says.
    Trailing { bytes: usize, expected: usize },
    /// The checksum does not match.
    Checksum,
    /// A mandatory entry of a type that this version does not know.
    UnknownEntry { entry: u16 },
    /// An entry that occurs twice, is not in its place or does not have the layout of this version, although the
    /// checksum matches.
    Malformed { entry: u16 },
    /// More than [`MAX_SLOTS`] slots.
    TooManySlots,
    /// Trying a pass phrase on this slot, counted from 1, would take more memory or time than is allowed for new ones.
    SlotCost { slot: usize },
    /// Cannot be read without a login.
    Locked,
    /// Can be read, but [`validate`] refuses it; the first of its problems.
    Invalid(Problem),
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotShoji => f.write_str(
                "this is not a compiled Shoji configuration; make one from the TOML file with `shoji config build`",
            ),
            Self::TooLarge { bytes } => write!(
                f,
                "the configuration has {bytes} bytes, more than the {MAX_BLOB_BYTES} allowed; check that the right file \
                 is loaded, then run `shoji config build` again"
            ),
            Self::Version { found } => write!(
                f,
                "the configuration has format version {found} but this Shoji reads version {FORMAT_VERSION}; run `shoji \
                 config build` again with the `shoji` command that came with this Shoji"
            ),
            Self::Truncated { bytes, expected } => write!(
                f,
                "the configuration is truncated, {bytes} of {expected} bytes; copy it again or run `shoji config build` \
                 again"
            ),
            Self::Trailing { bytes, expected } => write!(
                f,
                "the configuration has {bytes} bytes where its header says {expected}; copy it again or run `shoji \
                 config build` again"
            ),
            Self::Checksum => f.write_str(
                "the configuration is damaged, its checksum does not match; copy it again or run `shoji config build` \
                 again",
            ),
            Self::UnknownEntry { entry } => write!(
                f,
                "the configuration has a mandatory entry of type {entry} that this Shoji does not know; install a newer \
                 Shoji, or run `shoji config build` again with the `shoji` command that came with this one"
            ),
            Self::Malformed { entry } => write!(
                f,
                "an entry of type {entry} of the configuration has the wrong layout or place, or occurs twice; run `shoji \
                 config build` again with the `shoji` command that came with this Shoji"
            ),
            Self::TooManySlots => write!(
                f,
                "the configuration has more than {MAX_SLOTS} key slots, which no `shoji` command writes; put back a copy"
            ),
            Self::SlotCost { slot } => write!(
                f,
                "key slot {slot} of the configuration asks for more memory or time than Shoji spends on a pass phrase, \
                 which no `shoji` command writes; put back a copy"
            ),
            Self::Locked => f.write_str("the configuration is locked; open it with its pass phrase or another key"),
            Self::Invalid(problem) => {
                write!(f, "the configuration says what Shoji cannot do: {problem}; then run `shoji config build` again")
            }
        }
    }
}

impl core::error::Error for BlobError {}

/// Writes a plain blob: whoever can read it has the keys.
///
/// # Errors
/// What [`parse`] would refuse is not written: [`BlobError::Invalid`].
pub fn encode(config: &Config) -> Result<Zeroizing<Vec<u8>>, BlobError> {
    first_of(validate(config))?;
    let mut out = Zeroizing::new(Vec::with_capacity(HEADER_BYTES.saturating_add(parts::room(config))));
    out.extend(new_header(0));
    parts::push_public(&mut out, config)?;
    parts::push_secret(&mut out, config)?;
    let length = out.len();
    set_length(&mut out, length);
    set_checksum(&mut out);
    Ok(out)
}

/// A header without length and checksum.
pub fn new_header(counter: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend(FORMAT_VERSION.to_le_bytes());
    header.extend([0; 8]);
    header.extend(counter.to_le_bytes());
    header
}

/// Writes the length of the whole blob into its header.
pub fn set_length(blob: &mut [u8], length: usize) {
    // Bounded by MAX_DISK_RULES, MAX_NETWORK_RULES and MAX_SLOTS entries, far below 4 GiB.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(field) = blob.get_mut(LENGTH) {
        field.copy_from_slice(&length.to_le_bytes());
    }
}

/// Writes the checksum into the header of a blob that is complete.
pub fn set_checksum(blob: &mut [u8]) {
    let sum = checksum(blob);
    if let Some(field) = blob.get_mut(CHECKSUM) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

/// CRC-32 of everything but the checksum itself.
fn checksum(blob: &[u8]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    digest.update(blob.get(..CHECKSUM.start).unwrap_or_default());
    digest.update(blob.get(CHECKSUM.end..).unwrap_or_default());
    digest.finalize()
}

/// Reads a plain blob and validates what it says. The caller wipes `blob`, which holds keys.
///
/// # Errors
/// Whatever the bytes are, a [`BlobError`] and never a panic; [`BlobError::Locked`] for a locked one.
pub fn parse(blob: &[u8]) -> Result<Config, BlobError> {
    match envelope::open(blob)? {
        Opened::Plain(config) => Ok(config),
        Opened::Locked(_) => Err(BlobError::Locked),
    }
}

/// Checks the header and gives its counter and the bytes of the entries.
pub fn read_header(blob: &[u8]) -> Result<(u64, &[u8]), BlobError> {
    let bytes = blob.len();
    if !blob.starts_with(&MAGIC) {
        return Err(BlobError::NotShoji);
    }
    if bytes > MAX_BLOB_BYTES {
        return Err(BlobError::TooLarge { bytes });
    }
    let Some((header, entries)) = blob.split_first_chunk::<HEADER_BYTES>() else {
        return Err(BlobError::Truncated { bytes, expected: HEADER_BYTES });
    };
    let &[_, _, _, _, _, _, _, _, v0, v1, v2, v3, l0, l1, l2, l3, c0, c1, c2, c3, ref counter @ ..] = header;
    let found = u32::from_le_bytes([v0, v1, v2, v3]);
    let expected = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if found != FORMAT_VERSION {
        return Err(BlobError::Version { found });
    }
    if bytes < expected {
        return Err(BlobError::Truncated { bytes, expected });
    }
    if bytes > expected {
        return Err(BlobError::Trailing { bytes, expected });
    }
    if checksum(blob) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(BlobError::Checksum);
    }
    Ok((u64::from_le_bytes(*counter), entries))
}

pub fn first_of(problems: Vec<Problem>) -> Result<(), BlobError> {
    match problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(BlobError::Invalid(problem)),
    }
}

#[cfg(test)]
#[path = "blob_tests.rs"]
mod tests;
