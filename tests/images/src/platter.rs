//! What a guest's run left on the disk itself.

use crate::Sectors;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const SECTOR: usize = 512;

/// Number of sectors of a run that hold the guests' test pattern in plain text.
///
/// After a guest with an encrypted range: none inside of the range under Shoji, some on a bare machine. The program
/// writes the pattern in `ata::fill_pattern`: dword i of a sector is its dword 0 xor i * 01010101h.
///
/// # Errors
/// When the disk cannot be read, or is shorter than the run.
pub fn plain_sectors(disk: &Path, run: Sectors) -> io::Result<usize> {
    let mut file = File::open(disk)?;
    file.seek(SeekFrom::Start(u64::from(run.first) * SECTOR as u64))?;
    let mut data = vec![0; run.count as usize * SECTOR];
    file.read_exact(&mut data)?;
    Ok(data.chunks_exact(SECTOR).filter(|sector| is_pattern(sector)).count())
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
