//! The entries of a blob: a type number, a flag, a length, and one schema type in postcard's wire format.
//!
//! All numbers are little endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | type number |
//! | 2 | 2 | flags: bit 0 mandatory, others zero |
//! | 4 | 4 | length of the payload in bytes |
//! | 8 | | payload |

use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::blob::BlobError;
use crate::network::MAX_TUNNEL_SECRET_BYTES;

/// Type numbers. A number is never used again for something else.
#[derive(Clone, Copy)]
#[repr(u16)]
pub enum Kind {
    Memory = 1,
    Boot = 2,
    Log = 3,
    Debug = 4,
    Disk = 5,
    // 6 was a part of `Debug` in format version 1.
    Login = 7,
    GuestCalls = 8,
    Dbgsh = 9,
    /// A key slot of a locked blob.
    Slot = 10,
    /// The secret part of a locked blob, not in postcard's format: see `envelope.rs`.
    Sealed = 11,
    Network = 12,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Memory,
        Self::Boot,
        Self::Log,
        Self::Debug,
        Self::Disk,
        Self::Login,
        Self::GuestCalls,
        Self::Dbgsh,
        Self::Slot,
        Self::Sealed,
        Self::Network,
    ];

    /// The error for an entry of this kind.
    pub fn malformed(self) -> BlobError {
        BlobError::Malformed { entry: self as u16 }
    }

    /// A Shoji that does not know a mandatory entry must refuse; ignoring where to log, what helps a developer or which
    /// hypercalls answer weakens nothing.
    fn is_mandatory(self) -> bool {
        !matches!(self, Self::Log | Self::Debug | Self::GuestCalls | Self::Dbgsh)
    }

    /// Kinds of the secret part.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Disk | Self::Dbgsh | Self::Network)
    }

    /// More than the largest payload takes.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Network => MAX_ENTRY_BYTES.saturating_add(MAX_TUNNEL_SECRET_BYTES),
            _ => MAX_ENTRY_BYTES,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

const MANDATORY: u16 = 1;

/// More than the largest entry takes, the parameters of a tunnel excepted: a disk rule with three strings of the greatest
/// length is below 400 bytes.
pub const MAX_ENTRY_BYTES: usize = 520;

/// One entry of a known type.
pub struct Entry<'a> {
    pub kind: Kind,
    pub payload: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Decodes the payload, which must be consumed to its end.
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, BlobError> {
        match postcard::take_from_bytes(self.payload) {
            Ok((value, [])) => Ok(value),
            _ => Err(self.kind.malformed()),
        }
    }

    /// Decodes into `slot`; a second entry for it is refused, because one of the two would silently lose.
    pub fn decode_once<T: Deserialize<'a>>(&self, slot: &mut Option<T>) -> Result<(), BlobError> {
        match slot.replace(self.decode()?) {
            None => Ok(()),
            Some(_) => Err(self.kind.malformed()),
        }
    }
}

/// Iterates over the entries of known types; ends after the first error.
pub struct Entries<'a>(pub &'a [u8]);

impl<'a> Entries<'a> {
    /// The next entry, or `None` when it is to be skipped.
    fn step(&mut self) -> Result<Option<Entry<'a>>, BlobError> {
        let rest = self.0;
        // What cannot be read to its end is not looked at again.
        self.0 = &[];
        let Some((&[t0, t1, f0, f1, l0, l1, l2, l3], rest)) = rest.split_first_chunk::<8>() else {
            return Err(BlobError::Malformed { entry: 0 });
        };
        let number = u16::from_le_bytes([t0, t1]);
        let flags = u16::from_le_bytes([f0, f1]);
        let split =
            usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok().and_then(|len| rest.split_at_checked(len));
        let (Some((payload, rest)), 0 | MANDATORY) = (split, flags) else {
            return Err(BlobError::Malformed { entry: number });
        };
        self.0 = rest;
        match Kind::from_number(number) {
            Some(kind) => Ok(Some(Entry { kind, payload })),
            None if flags == MANDATORY => {
                self.0 = &[];
                Err(BlobError::UnknownEntry { entry: number })
            }
            None => Ok(None),
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, BlobError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            if let Some(entry) = self.step().transpose() {
                return Some(entry);
            }
        }
        None
    }
}

/// Appends one entry.
pub fn push<T: Serialize>(out: &mut Vec<u8>, kind: Kind, value: &T) -> Result<(), BlobError> {
    let mut scratch = Zeroizing::new(vec![0; kind.max_bytes()]);
    let payload: &[u8] = postcard::to_slice(value, &mut scratch).map_err(|_| kind.malformed())?;
    push_header(out, kind, payload.len())?;
    out.extend(payload);
    Ok(())
}

/// Appends what is before a payload.
pub fn push_header(out: &mut Vec<u8>, kind: Kind, payload_bytes: usize) -> Result<(), BlobError> {
    let len = u32::try_from(payload_bytes).map_err(|_| kind.malformed())?;
    out.extend((kind as u16).to_le_bytes());
    out.extend(u16::from(kind.is_mandatory()).to_le_bytes());
    out.extend(len.to_le_bytes());
    Ok(())
}
