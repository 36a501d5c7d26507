//! What a guest's run left on the disk itself.

use crate::TinyGuest;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const SECTOR: usize = 512;

/// Says what is wrong with the encrypted range of a guest's disk after a run, if anything: under Shoji no sector of it
/// holds the guests' test pattern in plain text; on a bare machine some do, or the question would be idle.
///
/// The program writes the pattern in `ata::fill_pattern`: dword i of a sector is its dword 0 xor i * 01010101h.
///
/// # Errors
/// When the disk cannot be read, or is shorter than the range.
pub fn plain_text(guest: &TinyGuest, disk: &Path, under_shoji: bool) -> io::Result<Option<String>> {
    let Some(range) = guest.encrypted else { return Ok(None) };
    let mut data = vec![0; range.count as usize * SECTOR];
    let mut file = File::open(disk)?;
    file.seek(SeekFrom::Start(u64::from(range.first) * SECTOR as u64))?;
    file.read_exact(&mut data)?;
    let plain = data.chunks_exact(SECTOR).filter(|sector| is_pattern(sector)).count();
    Ok(match (under_shoji, plain) {
        (true, 1..) => Some(format!("{plain} sectors of the encrypted range are plain text on the disk")),
        (false, 0) => Some("no sector of the range holds what the guest writes".into()),
        _ => None,
    })
}

fn is_pattern(sector: &[u8]) -> bool {
    let dwords: Vec<u32> = sector.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    dwords.iter().zip(0u32..).all(|(dword, i)| dword ^ dwords[0] == i * 0x0101_0101)
}

#[cfg(test)]
mod tests {
    use super::is_pattern;

    #[test]
    fn the_pattern_is_known_whatever_it_begins_with_and_nothing_else_is() {
        let mut sector: Vec<u8> = (0u32..128).flat_map(|i| (0x1234_5678 ^ (i * 0x0101_0101)).to_le_bytes()).collect();
        assert!(is_pattern(&sector));
        sector[300] ^= 1;
        assert!(!is_pattern(&sector));
        assert!(!is_pattern(&[0; 512]));
    }
}
