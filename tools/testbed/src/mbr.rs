//! The partition table of sector 0 (classic MBR layout: four 16-byte entries from byte 446 on, signature 55 AA).

use anyhow::{Result, ensure};

/// A run of sectors of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    pub first_lba: u64,
    pub sectors: u64,
}

impl Extent {
    pub fn end_lba(&self) -> u64 {
        self.first_lba + self.sectors
    }

    pub fn offset_bytes(&self) -> u64 {
        self.first_lba * 512
    }

    pub fn len_bytes(&self) -> u64 {
        self.sectors * 512
    }
}

/// Bytes of boot code that an MBR has room for; what follows is disk signature and table.
pub const CODE_LEN: usize = 440;
const TABLE: usize = 446;
const LINUX: u8 = 0x83;
/// Cylinder, head and sector that mean "use the LBA".
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// An MBR with `code` and these partitions; the first one is marked active, which some firmware insists on.
pub fn encode(code: &[u8], partitions: &[Extent]) -> Result<[u8; 512]> {
    ensure!(partitions.len() <= 4, "an MBR has four partitions at most");
    let mut sector = [0; 512];
    let code = &code[..code.len().min(CODE_LEN)];
    sector[..code.len()].copy_from_slice(code);
    for (index, (entry, extent)) in sector[TABLE..510].chunks_exact_mut(16).zip(partitions).enumerate() {
        entry[0] = if index == 0 { 0x80 } else { 0 };
        entry[1..4].copy_from_slice(&NO_CHS);
        entry[4] = LINUX;
        entry[5..8].copy_from_slice(&NO_CHS);
        entry[8..12].copy_from_slice(&u32::try_from(extent.first_lba)?.to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(extent.sectors)?.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}
