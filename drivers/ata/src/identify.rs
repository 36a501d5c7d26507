//! The answer to IDENTIFY DEVICE (ATA8-ACS s. 7.16): what is read from it, and what the guest may not see.

use crate::spec::SECTOR_BYTES;
use crate::taskfile::Geometry;
use alloc::string::String;
use alloc::vec::Vec;
use mediator::disk::RangeMap;

/// What the mediator wants to know of a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub model: String,
    pub serial: String,
    pub sectors: u64,
    pub sector_bytes: u32,
    /// Logical block addresses are understood.
    pub lba: bool,
    /// The 48-bit commands are understood.
    pub lba48: bool,
    /// Translation of cylinder, head, sector in force.
    pub geometry: Geometry,
    /// Sectors per DRQ of the MULTIPLE commands; 0: they are off.
    pub multiple: u8,
}

impl Identity {
    /// Reads the 512 bytes of an answer.
    pub fn parse(data: &[u8; SECTOR_BYTES]) -> Self {
        let word = |n| word(data, n);
        let dword = |n: usize| u64::from(word(n)) | (u64::from(word(n.saturating_add(1))) << 16);
        let lba48 = word(83) & 0xc400 == 0x4400;
        let sectors = if lba48 { dword(100) | (dword(102) << 32) } else { dword(60) };
        let long_sectors = word(106) & 0xd000 == 0x5000;
        let sector_words = u32::try_from(dword(117)).unwrap_or(0);
        let sector_bytes = if long_sectors { sector_words.saturating_mul(2) } else { 512 };
        let [low59, high59] = word(59).to_le_bytes();
        Self {
            model: text(data, 27, 20),
            serial: text(data, 10, 10),
            sectors,
            sector_bytes,
            lba: word(49) & (1 << 9) != 0,
            lba48,
            geometry: geometry(data),
            multiple: if high59 & 1 != 0 { low59 } else { 0 },
        }
    }
}

/// The current translation (words 55 and 56) where word 53 says that it is valid, else the default (words 3 and 6).
fn geometry(data: &[u8; SECTOR_BYTES]) -> Geometry {
    let small = |n| u8::try_from(word(data, n)).unwrap_or(0);
    let current = Geometry { heads: small(55), sectors: small(56) };
    if word(data, 53) & 1 != 0 && current.heads != 0 && current.sectors != 0 {
        return current;
    }
    Geometry { heads: small(3), sectors: small(6) }
}

fn word(data: &[u8; SECTOR_BYTES], n: usize) -> u16 {
    data.as_chunks::<2>().0.get(n).copied().map(u16::from_le_bytes).unwrap_or(0)
}

/// An ATA string: two characters in each word, the first in the high byte, padded with spaces.
fn text(data: &[u8; SECTOR_BYTES], first_word: usize, words: usize) -> String {
    let pairs = data.as_chunks::<2>().0.iter().skip(first_word).take(words);
    let bytes: Vec<u8> = pairs.flat_map(|[low, high]| [*high, *low]).collect();
    String::from_utf8_lossy(&bytes).trim_matches([' ', '\0']).into()
}

/// Bits that are cleared in a word.
type Edit = (usize, u16);

/// Cleared on every disk: what the mediator does not follow.
const EVERYWHERE: &[Edit] = &[
    (69, 1 << 11 | 1 << 10),                  // WRITE and READ BUFFER DMA
    (75, 0xffff),                             // queue depth
    (76, 1 << 8),                             // native command queuing
    (82, 1 << 8 | 1 << 7),                    // SERVICE and release interrupts
    (83, 1 << 1),                             // READ and WRITE DMA QUEUED
    (84, 1 << 10 | 1 << 9 | 1 << 7 | 1 << 4), // stream commands, WRITE DMA QUEUED FUA EXT
    (85, 1 << 8 | 1 << 7),                    // as words 82 to 84: what is enabled
    (86, 1 << 1),
    (87, 1 << 10 | 1 << 9 | 1 << 7 | 1 << 4),
    (119, 1 << 3), // READ and WRITE LOG DMA EXT
    (120, 1 << 3),
];

/// Cleared on disks with protected ranges: the commands are refused there.
const PROTECTED: &[Edit] = &[
    (48, 0xffff),                               // TRUSTED COMPUTING
    (69, 1 << 14 | 1 << 8 | 1 << 5),            // what TRIM leaves behind, DOWNLOAD MICROCODE DMA
    (82, 1 << 13 | 1 << 12 | 1 << 10 | 1 << 1), // READ and WRITE BUFFER, host protected area, security
    (83, 1 << 11 | 1 << 8 | 1 << 2 | 1),        // device configuration overlay, SET MAX, CFA, DOWNLOAD MICROCODE
    (85, 1 << 13 | 1 << 12 | 1 << 10 | 1 << 1),
    (86, 1 << 11 | 1 << 8 | 1 << 2 | 1),
    (89, 0xffff), // security: times, password revision, status
    (90, 0xffff),
    (92, 0xffff),
    (119, 1 << 4 | 1 << 2), // DOWNLOAD MICROCODE mode 3, WRITE UNCORRECTABLE EXT
    (120, 1 << 4 | 1 << 2),
    (128, 0xffff),
    (206, 0xffff), // SCT
    (214, 0xffff), // NV cache
];

/// Cleared on disks with protected ranges that do not allow TRIM. (What the disk promises to read from trimmed sectors
/// is cleared on all of them: after the transform it is not what the guest reads.)
const TRIM: &[Edit] = &[(105, 0xffff), (169, 1)];

/// Takes out of an answer what the mediator refuses, and makes the checksum in word 255 right again.
pub fn edit(data: &mut [u8; SECTOR_BYTES], protection: Option<&dyn RangeMap>) {
    let protected = if protection.is_some() { PROTECTED } else { &[] };
    let trim = if protection.is_some_and(|ranges| !ranges.allows_trim()) { TRIM } else { &[] };
    for &(n, bits) in EVERYWHERE.iter().chain(protected).chain(trim) {
        // Words 83, 84, 87, 119 and 120 are only valid with bits 15:14 = 01b, which no edit touches.
        if let Some(bytes) = data.as_chunks_mut::<2>().0.get_mut(n) {
            *bytes = (u16::from_le_bytes(*bytes) & !bits).to_le_bytes();
        }
    }
    if let [body @ .., 0xa5, checksum] = data {
        let sum = body.iter().fold(0xa5_u8, |sum, byte| sum.wrapping_add(*byte));
        *checksum = sum.wrapping_neg();
    }
}
