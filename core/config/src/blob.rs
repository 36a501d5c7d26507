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
//! The checksum finds accidental corruption only. It does not tell who wrote the blob: authentication comes with
//! login.

use alloc::vec::Vec;
use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc};
use zeroize::Zeroizing;

use crate::entry::{self, Entries, Kind, MAX_ENTRY_BYTES};
use crate::schema::Config;
use crate::validate::{MAX_DISK_RULES, Problem, validate};

/// Version of the header, of the entries' layout and of the schema's serde form.
pub const FORMAT_VERSION: u32 = 2;

/// Greatest length of a blob: 1 MiB.
pub const MAX_BLOB_BYTES: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SHOJICFG";
const HEADER_BYTES: usize = 28;
const CHECKSUM: core::ops::Range<usize> = 16..20;

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
    /// An entry that occurs twice or does not have the layout of this version, although the checksum matches.
    Malformed { entry: u16 },
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
                "an entry of type {entry} of the configuration has the wrong layout or occurs twice; run `shoji config \
                 build` again with the `shoji` command that came with this Shoji"
            ),
            Self::Invalid(problem) => {
                write!(f, "the configuration says what Shoji cannot do: {problem}; then run `shoji config build` again")
            }
        }
    }
}

impl core::error::Error for BlobError {}

/// Writes a blob.
///
/// # Errors
/// What [`parse`] would refuse is not written: [`BlobError::Invalid`].
pub fn encode(config: &Config) -> Result<Zeroizing<Vec<u8>>, BlobError> {
    first_problem(config)?;
    // Never reallocated, so no copy of a key stays behind: MAX_ENTRY_BYTES leaves room for the entry's header.
    let room = config.disks.len().saturating_add(7).saturating_mul(MAX_ENTRY_BYTES);
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.extend(MAGIC);
    out.extend(FORMAT_VERSION.to_le_bytes());
    out.extend([0; HEADER_BYTES - 12]);
    entry::push(&mut out, Kind::Memory, &config.memory)?;
    entry::push(&mut out, Kind::Boot, &config.boot)?;
    entry::push(&mut out, Kind::Log, &config.log)?;
    entry::push(&mut out, Kind::Login, &config.login)?;
    entry::push(&mut out, Kind::GuestCalls, &config.guest_calls)?;
    entry::push(&mut out, Kind::Debug, &config.debug)?;
    for rule in &config.disks {
        entry::push(&mut out, Kind::Disk, rule)?;
    }
    if let Some(dbgsh) = &config.dbgsh {
        entry::push(&mut out, Kind::Dbgsh, dbgsh)?;
    }
    seal(&mut out);
    Ok(out)
}

/// Writes length and checksum into the header.
fn seal(blob: &mut [u8]) {
    // Bounded by MAX_DISK_RULES entries, far below 4 GiB.
    let length = u32::try_from(blob.len()).unwrap_or(u32::MAX);
    if let Some(field) = blob.get_mut(12..16) {
        field.copy_from_slice(&length.to_le_bytes());
    }
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

/// Reads a blob and validates what it says. The caller wipes `blob`, which holds keys.
///
/// # Errors
/// Whatever the bytes are, a [`BlobError`] and never a panic.
pub fn parse(blob: &[u8]) -> Result<Config, BlobError> {
    let (mut memory, mut boot, mut log, mut login) = (None, None, None, None);
    let (mut guest_calls, mut debug, mut disks, mut dbgsh) = (None, None, Vec::new(), None);
    for entry in Entries(open(blob)?) {
        let entry = entry?;
        match entry.kind {
            Kind::Memory => entry.decode_once(&mut memory)?,
            Kind::Boot => entry.decode_once(&mut boot)?,
            Kind::Log => entry.decode_once(&mut log)?,
            Kind::Login => entry.decode_once(&mut login)?,
            Kind::GuestCalls => entry.decode_once(&mut guest_calls)?,
            Kind::Debug => entry.decode_once(&mut debug)?,
            Kind::Dbgsh => entry.decode_once(&mut dbgsh)?,
            // One too many is enough for `validate` to refuse.
            Kind::Disk if disks.len() > MAX_DISK_RULES => {}
            Kind::Disk => disks.push(entry.decode()?),
        }
    }
    let config = Config {
        memory: memory.unwrap_or_default(),
        boot: boot.unwrap_or_default(),
        log: log.unwrap_or_default(),
        login: login.unwrap_or_default(),
        guest_calls: guest_calls.unwrap_or_default(),
        debug: debug.unwrap_or_default(),
        disks,
        dbgsh,
    };
    first_problem(&config)?;
    Ok(config)
}

/// Checks the header and gives the bytes of the entries.
fn open(blob: &[u8]) -> Result<&[u8], BlobError> {
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
    let &[_, _, _, _, _, _, _, _, v0, v1, v2, v3, l0, l1, l2, l3, c0, c1, c2, c3, ..] = header;
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
    Ok(entries)
}

fn first_problem(config: &Config) -> Result<(), BlobError> {
    match validate(config).into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(BlobError::Invalid(problem)),
    }
}

#[cfg(test)]
#[path = "blob_tests.rs"]
mod tests;
