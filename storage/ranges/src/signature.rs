//! What a decrypted range holds, by the marks that file systems and volume managers leave at its beginning.
//!
//! A wrong key turns every byte into noise. A mark counts only if noise looks like it less than once in 2^32 times.

use crate::bytes::{le16, le32};

/// Bytes from the start of the range, and at [`SECOND_AT`], that [`recognise`] wants to see.
pub const PIECE_BYTES: usize = 4096;
/// Where the second piece lies, in bytes from the start of the range.
pub const SECOND_AT: u64 = 64 * 1024;

/// Name, offset in bytes from the start of the range, mark.
const MARKS: [(&str, usize, &[u8]); 17] = [
    ("XFS", 0, b"XFSB"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("NTFS", 3, b"NTFS    "),
    ("exFAT", 3, b"EXFAT   "),
    ("BitLocker", 3, b"-FVE-FS-"),
    ("FAT", 54, b"FAT12   "),
    ("FAT", 54, b"FAT16   "),
    ("FAT", 54, b"FAT     "),
    ("FAT", 82, b"FAT32   "),
    ("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    ("GPT", 512, b"EFI PART"),
    ("LVM2", 0, b"LABELONE"),
    ("LVM2", 512, b"LABELONE"),
    ("LVM2", 1024, b"LABELONE"),
    ("LVM2", 1536, b"LABELONE"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("swap", 4086, b"SWAP-SPACE"),
];

/// Names what the range holds, or nothing. `first` is its beginning, `second` lies at [`SECOND_AT`]; either may be
/// shorter than [`PIECE_BYTES`] when the range is.
pub fn recognise(first: &[u8], second: &[u8]) -> Option<&'static str> {
    let mark = MARKS.iter().find(|(_, at, mark)| first.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
    if let Some((name, ..)) = mark {
        return Some(name);
    }
    if is_ext(first).unwrap_or(false) {
        return Some("ext2/3/4");
    }
    second.get(0x40..)?.starts_with(b"_BHRfS_M").then_some("Btrfs")
}

/// The superblock of ext2, ext3 and ext4 at 1024 bytes (Linux, Documentation/filesystems/ext4/super.rst). Its magic has
/// 16 bits only, so fields with few good values count too.
fn is_ext(first: &[u8]) -> Option<bool> {
    let superblock = first.get(1024..)?;
    let (inodes, blocks, first_data_block) = (le32(superblock, 0)?, le32(superblock, 4)?, le32(superblock, 0x14)?);
    let (log_block_size, revision) = (le32(superblock, 0x18)?, le32(superblock, 0x4c)?);
    Some(
        le16(superblock, 0x38)? == 0xef53
            && inodes > 0
            && blocks > 0
            && first_data_block <= 1
            && log_block_size <= 6
            && revision <= 1,
    )
}
