//! A header that was read.

use crate::binary::{self, BINARY_BYTES, Binary, Which};
use crate::error::{Flaw, UnlockError};
use crate::metadata::Metadata;
use crate::read::ReadAt;
use crate::segment::{self, Segment};
use crate::slot::{self, Kdf, Slot, VolumeKey};
use alloc::string::String;
use alloc::vec::Vec;
use argon2::Block;

/// Most bytes of all key slots' areas.
const MAX_KEYSLOTS_BYTES: u64 = 128 << 20;
/// Most bytes of a header: both copies and the key slots' areas.
pub const MAX_AREA_BYTES: u64 = {
    let [.., largest] = binary::HEADER_SIZES;
    2 * largest + MAX_KEYSLOTS_BYTES
};

/// How the two copies are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copies {
    /// Sequence number of the primary, or why it is not used.
    pub primary: Result<u64, Flaw>,
    /// The same of the secondary.
    pub secondary: Result<u64, Flaw>,
}

/// What must hold for any use of a header.
pub fn check(binary: &Binary, metadata: &Metadata) -> Result<(), &'static str> {
    let json_bytes = binary.size_bytes.saturating_sub(BINARY_BYTES as u64);
    let keyslots_bytes = metadata.config.keyslots_size.0;
    if metadata.config.json_size.0 != json_bytes {
        return Err("it tells another size of itself than the binary header");
    }
    if !keyslots_bytes.is_multiple_of(4096) || keyslots_bytes > MAX_KEYSLOTS_BYTES {
        return Err("the size of the key slots is no multiple of 4096 bytes or too large");
    }
    let start = binary.size_bytes.saturating_mul(2);
    let end = start.saturating_add(keyslots_bytes);
    for area in metadata.keyslots.0.iter().filter_map(|(_, slot)| slot.area.as_ref()) {
        let area_end = area.offset.0.checked_add(area.size.0);
        if area.offset.0 < start || area_end.is_none_or(|area_end| area_end > end) {
            return Err("the area of a key slot lies outside of the key slots");
        }
    }
    Ok(())
}

/// The header of a LUKS2 volume. Holds no secret.
pub struct Header {
    pub(crate) binary: Binary,
    pub(crate) metadata: Metadata,
    pub(crate) copies: Copies,
}

impl Header {
    /// How the two copies are; the header comes from the newer good one.
    #[must_use]
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// For people; at most 47 characters.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.binary.label
    }

    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.binary.uuid
    }

    /// Greater with each change.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.binary.sequence
    }

    /// Bytes of one copy with its JSON text.
    #[must_use]
    pub fn copy_bytes(&self) -> u64 {
        self.binary.size_bytes
    }

    /// Bytes from the start of the device that are the header's: both copies and the key slots' areas.
    #[must_use]
    pub fn area_bytes(&self) -> u64 {
        self.binary.size_bytes.saturating_mul(2).saturating_add(self.metadata.config.keyslots_size.0)
    }

    /// Where the payload lies.
    ///
    /// # Errors
    /// What the header asks for that Shoji does not have, as a sentence.
    pub fn segment(&self) -> Result<Segment, String> {
        segment::of(self)
    }

    /// Is this a header of the same volume, so that one in the place of the other loses no data: same UUID, same volume key, same
    /// place of the payload, same length of the header's area, and neither in the middle of a reencryption?
    #[must_use]
    pub fn is_same_volume(&self, other: &Self) -> bool {
        self.segment().is_ok()
            && other.segment().is_ok()
            && self.uuid() == other.uuid()
            && self.area_bytes() == other.area_bytes()
            && self.metadata.payload_at() == other.metadata.payload_at()
            && self.metadata.key_digest().is_some_and(|digest| other.metadata.key_digest() == Some(digest))
    }

    /// Makes of the header's bytes, as they were read from its device, those with two equal copies: a damaged or older one is
    /// made anew from the other.
    pub fn mend(&self, bytes: &mut [u8]) {
        let Ok(len) = usize::try_from(self.binary.size_bytes) else { return };
        let Some((primary, secondary)) =
            bytes.get_mut(..len.saturating_mul(2)).and_then(|both| both.split_at_mut_checked(len))
        else {
            return;
        };
        let Copies { primary: first, secondary: second } = &self.copies;
        match (first.as_ref().ok(), second.as_ref().ok()) {
            (first, second) if first > second => {
                binary::mirror(primary, self.binary.hash, Which::Secondary(self.binary.size_bytes), secondary)
            }
            (first, second) if first < second => binary::mirror(secondary, self.binary.hash, Which::Primary, primary),
            _ => {}
        }
    }

    /// Does the payload begin within the header's area? Then it lies elsewhere: the header is a detached one.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.metadata.payload_at().is_none_or(|at| at < self.area_bytes())
    }

    /// The key slots, those to be tried first in front; each usable, or why not.
    #[must_use]
    pub fn slots(&self) -> Vec<(u32, Result<Slot<'_>, String>)> {
        slot::all(self)
    }

    /// What trying a pass phrase costs, by key slot that can be tried.
    ///
    /// # Errors
    /// There is none: [`UnlockError::Unsupported`].
    pub fn costs(&self) -> Result<Vec<Kdf>, UnlockError> {
        slot::costs(self)
    }

    /// Blocks of 1 KiB that [`Self::unlock`] takes to try every key slot; 0: none takes any.
    #[must_use]
    pub fn argon2_blocks(&self) -> usize {
        let kib = self.costs().unwrap_or_default().iter().map(Kdf::memory_kib).max();
        usize::try_from(kib.unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// Tries a pass phrase on the key slots, one after the other; each takes seconds. `memory` is for Argon2 and wiped after each; slots
    /// that need more are not tried. `read` reads from the device with the header. The caller wipes `text`.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock(&self, text: &[u8], memory: &mut [Block], read: &mut ReadAt<'_>) -> Result<VolumeKey, UnlockError> {
        self.segment().map_err(UnlockError::Unsupported)?;
        slot::unlock(self, text, memory, read)
    }
}
