//! What a run of bytes holds, so that nothing is overwritten by mistake.

use super::Device;
use ranges::signature::{self, PIECE_BYTES, SECOND_AT};
use std::io;

/// Superblock of Linux md.
const MD: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
/// Offset in the superblocks of bcache and bcachefs, which lie at 4096.
const BCACHEFS_AT: u64 = 4096 + 24;
/// Of bcache, which older bcachefs has too, and of newer bcachefs.
const BCACHEFS: [[u8; 16]; 2] = [
    [0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81],
    [0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef],
];
/// An uberblock of ZFS, in either order of bytes, and the size of a label.
const ZFS: [[u8; 8]; 2] = [0x00ba_b10c_u64.to_le_bytes(), 0x00ba_b10c_u64.to_be_bytes()];
const LABEL_BYTES: u64 = 256 << 10;

/// What it holds, or nothing that is known. A partition table counts for the whole of a disk only.
pub fn content(device: &Device) -> Option<String> {
    let known = recognise(device).map(|name| name.to_owned());
    known.or_else(|| {
        let table = device.partition().is_none().then(|| device.partitions().ok()).flatten()?;
        (!table.partitions.is_empty()).then(|| format!("a partition table ({})", table.scheme))
    })
}

/// What would be lost if it were overwritten: [`content`], or data that is nothing known.
pub fn loss(device: &Device) -> Option<String> {
    const SEEN_BYTES: u64 = 1 << 20;
    content(device).or_else(|| {
        let mut bytes = vec![0; device.len_bytes().min(SEEN_BYTES) as usize];
        let is_blank = device.read_at(0, &mut bytes).is_ok() && bytes.iter().all(|byte| *byte == 0);
        (!is_blank).then(|| "data that Shoji does not know, perhaps encrypted".to_owned())
    })
}

/// The file system, volume or swap area that begins there. What cannot be read may be anything.
pub fn recognise(device: &Device) -> Option<&'static str> {
    let piece = |at: u64, len: usize| {
        let len = device.len_bytes().saturating_sub(at).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        // Behind the end there is nothing.
        if len > 0 { device.read_at(at, &mut bytes).map(|()| bytes) } else { Ok(bytes) }
    };
    let read = || {
        let (first, second) = (piece(0, PIECE_BYTES)?, piece(SECOND_AT, PIECE_BYTES)?);
        let known = signature::recognise(&first, &second);
        Ok(match known {
            Some(name) => Some(name),
            None => member(device.len_bytes(), piece)?,
        })
    };
    let found: io::Result<_> = read();
    found.unwrap_or(Some("what cannot be read"))
}

/// A member of a set of disks. Shoji opens none, so only what is about to be overwritten is asked for them.
fn member(len_bytes: u64, piece: impl Fn(u64, usize) -> io::Result<Vec<u8>>) -> io::Result<Option<&'static str>> {
    let begins = |at: u64, mark: &[u8]| Ok::<_, io::Error>(piece(at, mark.len())?.starts_with(mark));
    // Linux md(4): formats 1.1, 1.2, then 1.0 and 0.90 at the end.
    let md_ends = [(len_bytes & !0xfff).checked_sub(8 << 10), (len_bytes & !0xffff).checked_sub(64 << 10)];
    for at in [Some(0), Some(4096)].into_iter().chain(md_ends).flatten() {
        if begins(at, &MD)? {
            return Ok(Some("a member of a RAID (md)"));
        }
    }
    if begins(BCACHEFS_AT, &BCACHEFS[0])? || begins(BCACHEFS_AT, &BCACHEFS[1])? {
        return Ok(Some("bcachefs or bcache"));
    }
    // Each label of a pool has a ring of uberblocks in its upper half, of which any may be the last one written.
    let labels =
        [Some(0), Some(LABEL_BYTES), len_bytes.checked_sub(2 * LABEL_BYTES), len_bytes.checked_sub(LABEL_BYTES)];
    for at in labels.into_iter().flatten() {
        let ring = piece((at & !(LABEL_BYTES - 1)) + LABEL_BYTES / 2, LABEL_BYTES as usize / 2)?;
        if ring.chunks(1024).any(|block| ZFS.iter().any(|mark| block.starts_with(mark))) {
            return Ok(Some("a member of a ZFS pool"));
        }
    }
    Ok(None)
}
