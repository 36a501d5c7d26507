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

/// How the disk is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// No native command queuing.
    Parallel,
    /// READ and WRITE FPDMA QUEUED.
    Serial,
}

/// Cleared on parallel disks.
const PARALLEL: &[Edit] = &[
    (75, 0xffff), // queue depth
    (76, 1 << 8), // native command queuing
];

/// Cleared on serial disks: of native command queuing all but the two transfers.
const SERIAL: &[Edit] = &[
    (76, 1 << 15),                  // READ LOG DMA EXT in place of READ LOG EXT
    (77, 1 << 6 | 1 << 5 | 1 << 4), // SEND and RECEIVE FPDMA QUEUED, queue management, streaming
];

/// Cleared on every disk: what the mediator does not follow.
const EVERYWHERE: &[Edit] = &[
    (69, 1 << 11 | 1 << 10),                  // WRITE and READ BUFFER DMA
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

/// Physical sectors (ATA8-ACS s. 7.16.7.47): the word, that it is valid, that a physical sector holds several logical ones.
const PHYSICAL: usize = 106;
const PHYSICAL_VALID: u16 = 1 << 14;
const PHYSICAL_LARGER: u16 = 1 << 13;
/// Power of two of the number of logical sectors.
const PHYSICAL_POWER: u16 = 0x0f;

/// Takes out of an answer what the mediator refuses, tells of the sectors of the transform as physical sectors, and makes
/// the checksum in word 255 right again.
pub fn edit(data: &mut [u8; SECTOR_BYTES], transport: Transport, protection: Option<&dyn RangeMap>) {
    let bus = if transport == Transport::Parallel { PARALLEL } else { SERIAL };
    let protected = if protection.is_some() { PROTECTED } else { &[] };
    let trim = if protection.is_some_and(|ranges| !ranges.allows_trim()) { TRIM } else { &[] };
    for &(n, bits) in EVERYWHERE.iter().chain(bus).chain(protected).chain(trim) {
        // Words 83, 84, 87, 119 and 120 are only valid with bits 15:14 = 01b, which no edit touches.
        change(data, n, |word| word & !bits);
    }
    if let Some(ranges) = protection {
        enlarge_physical(data, ranges.largest_sector_bytes());
    }
    if let [body @ .., 0xa5, checksum] = data {
        let sum = body.iter().fold(0xa5_u8, |sum, byte| sum.wrapping_add(*byte));
        *checksum = sum.wrapping_neg();
    }
}

fn change(data: &mut [u8; SECTOR_BYTES], n: usize, new: impl FnOnce(u16) -> u16) {
    if let Some(bytes) = data.as_chunks_mut::<2>().0.get_mut(n) {
        *bytes = new(u16::from_le_bytes(*bytes)).to_le_bytes();
    }
}

/// Physical sectors are as large as those of the transform, if the disk's are smaller: guests align their writes then.
fn enlarge_physical(data: &mut [u8; SECTOR_BYTES], transformed: usize) {
    let logical = usize::try_from(Identity::parse(data).sector_bytes).unwrap_or(SECTOR_BYTES);
    let ratio = transformed.checked_div(logical).unwrap_or(1).max(1);
    let wanted = u16::try_from(ratio.ilog2()).unwrap_or(0) & PHYSICAL_POWER;
    change(data, PHYSICAL, |word| {
        let valid = word & (1 << 15 | PHYSICAL_VALID) == PHYSICAL_VALID;
        let old = if valid { word } else { PHYSICAL_VALID };
        let power = if old & PHYSICAL_LARGER != 0 { old & PHYSICAL_POWER } else { 0 };
        if power >= wanted { word } else { (old & !PHYSICAL_POWER) | PHYSICAL_LARGER | wanted }
    });
}
