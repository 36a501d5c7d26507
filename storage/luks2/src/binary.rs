//! The binary header (section 2.1). All numbers are big endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 6 | magic: `LUKS`, BAh, BEh; of the secondary copy `SKUL`, BAh, BEh |
//! | 6 | 2 | version, 2 |
//! | 8 | 8 | size of one copy with its JSON text, in bytes |
//! | 16 | 8 | sequence number: greater with each change |
//! | 24 | 48 | label |
//! | 72 | 32 | name of the checksum's hash function |
//! | 104 | 64 | salt, new with each change |
//! | 168 | 40 | UUID |
//! | 208 | 48 | subsystem |
//! | 256 | 8 | offset of this copy, in bytes |
//! | 448 | 64 | checksum of the whole copy, this field as zeros |
//!
//! Text ends with a zero.

use crate::error::Flaw;
use crate::hash::{Hash, MAX_HASH_BYTES};
use alloc::string::String;
use core::ops::Range;

/// Bytes of a binary header; the JSON text follows.
pub const BINARY_BYTES: usize = 4096;

/// Sizes that a copy may have, in bytes; the secondary one lies so far behind the primary.
pub const HEADER_SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

/// Longest JSON text that this crate reads. 32 key slots and as many tokens of usual length fit in it.
pub const MAX_JSON_TEXT_BYTES: usize = 256 * 1024;

pub const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
pub const MAGIC_SECONDARY: [u8; 6] = *b"SKUL\xba\xbe";
const VERSION: u16 = 2;

const LABEL: Range<usize> = 24..72;
const CHECKSUM_KIND: Range<usize> = 72..104;
const SALT: Range<usize> = 104..168;
const UUID: Range<usize> = 168..208;
const SUBSYSTEM: Range<usize> = 208..256;
const OFFSET: Range<usize> = 256..264;
pub const CHECKSUM: Range<usize> = 448..512;

/// Which of the two copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Primary,
    /// At this offset in bytes.
    Secondary(u64),
}

impl Which {
    pub fn at(self) -> u64 {
        match self {
            Self::Primary => 0,
            Self::Secondary(at) => at,
        }
    }

    fn magic(self) -> [u8; 6] {
        match self {
            Self::Primary => MAGIC,
            Self::Secondary(_) => MAGIC_SECONDARY,
        }
    }
}

/// What a binary header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binary {
    pub size_bytes: u64,
    pub sequence: u64,
    pub label: String,
    pub subsystem: String,
    pub uuid: String,
    pub hash: Hash,
    pub checksum: [u8; MAX_HASH_BYTES],
}

/// The UUID in a binary header that may be damaged in any other place. `None`: neither magic is there.
#[must_use]
pub fn uuid(bytes: &[u8]) -> Option<String> {
    let is_header = bytes.starts_with(&MAGIC) || bytes.starts_with(&MAGIC_SECONDARY);
    is_header.then(|| text(bytes, UUID))
}

/// Reads a binary header; its checksum is still to be compared.
pub fn parse(bytes: &[u8; BINARY_BYTES], which: Which) -> Result<Binary, Flaw> {
    if !bytes.starts_with(&which.magic()) {
        return Err(Flaw::Magic);
    }
    let version = number(bytes, 6..8) as u16;
    if version != VERSION {
        return Err(Flaw::Version(version));
    }
    let (size_bytes, place) = (number(bytes, 8..16), number(bytes, OFFSET));
    if !HEADER_SIZES.contains(&size_bytes) {
        return Err(Flaw::Size(size_bytes));
    }
    let is_there = match which {
        Which::Primary => place == 0,
        Which::Secondary(at) => place == at && size_bytes == at,
    };
    if !is_there {
        return Err(Flaw::Place(place));
    }
    let hash = Hash::by_name(&text(bytes, CHECKSUM_KIND)).ok_or(Flaw::ChecksumKind)?;
    let mut checksum = [0; MAX_HASH_BYTES];
    checksum.copy_from_slice(bytes.get(CHECKSUM).unwrap_or(&[0; MAX_HASH_BYTES]));
    let (label, subsystem, uuid) = (text(bytes, LABEL), text(bytes, SUBSYSTEM), text(bytes, UUID));
    Ok(Binary { size_bytes, sequence: number(bytes, 16..24), label, subsystem, uuid, hash, checksum })
}

/// One copy of a header: `json` is its text and whole area, `salt` new for each. The checksum is SHA-256.
pub fn encode(binary: &Binary, which: Which, salt: &[u8; 64], json: &[u8]) -> alloc::vec::Vec<u8> {
    let mut bytes = alloc::vec![0; BINARY_BYTES];
    let mut put = |at: Range<usize>, field: &[u8]| {
        let room = bytes.get_mut(at).unwrap_or_default();
        room.iter_mut().zip(field).for_each(|(to, from)| *to = *from);
    };
    put(0..6, &which.magic());
    put(6..8, &VERSION.to_be_bytes());
    put(8..16, &binary.size_bytes.to_be_bytes());
    put(16..24, &binary.sequence.to_be_bytes());
    put(LABEL, binary.label.as_bytes());
    put(CHECKSUM_KIND, b"sha256");
    put(SALT, salt);
    put(UUID, binary.uuid.as_bytes());
    put(SUBSYSTEM, binary.subsystem.as_bytes());
    put(OFFSET, &which.at().to_be_bytes());
    bytes.extend(json);
    bytes.resize(usize::try_from(binary.size_bytes).unwrap_or(0), 0);
    let mut state = Hash::Sha256.start();
    state.update(&bytes);
    let sum = state.finish();
    bytes.get_mut(CHECKSUM).unwrap_or_default().iter_mut().zip(sum).for_each(|(to, from)| *to = from);
    bytes
}

/// Makes one copy of the other, `to` it is to be; its checksum is by `hash`.
pub fn mirror(from: &[u8], hash: Hash, which: Which, to: &mut [u8]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    let put = |to: &mut [u8], at: Range<usize>, field: &[u8]| {
        to.get_mut(at).unwrap_or_default().iter_mut().zip(field).for_each(|(to, from)| *to = *from);
    };
    put(to, 0..6, &which.magic());
    put(to, OFFSET, &which.at().to_be_bytes());
    put(to, CHECKSUM, &[0; MAX_HASH_BYTES]);
    let mut state = hash.start();
    state.update(to);
    put(to, CHECKSUM, &state.finish());
}

fn number(bytes: &[u8], at: Range<usize>) -> u64 {
    bytes.get(at).unwrap_or_default().iter().fold(0, |sum: u64, byte| sum.wrapping_shl(8) | u64::from(*byte))
}

/// Printable ASCII up to the first zero; anything else is shown as `?`, for it ends in a log.
fn text(bytes: &[u8], at: Range<usize>) -> String {
    let field = bytes.get(at).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    field.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' }).collect()
}
