//! Signatures of file systems.

use super::*;
use crate::signature::{PIECE_BYTES, SECOND_AT, recognise};

fn holds(image: &[u8]) -> Option<&'static str> {
    let piece = |at: usize| image.get(at..image.len().min(at + PIECE_BYTES)).unwrap_or_default();
    recognise(piece(0), piece(SECOND_AT as usize))
}

#[test]
fn file_systems_made_by_their_own_tools_are_recognised() {
    let tools: [(&str, &[&str], &str); 8] = [
        ("mke2fs", &["-q", "-t", "ext2", "-F"], "ext2/3/4"),
        ("mke2fs", &["-q", "-t", "ext4", "-b", "4096", "-F"], "ext2/3/4"),
        ("mkswap", &["-q"], "swap"),
        ("mkfs.vfat", &["-F", "16"], "FAT"),
        ("mkfs.btrfs", &["-q"], "Btrfs"),
        ("mkfs.xfs", &["-q"], "XFS"),
        ("mkntfs", &["-q", "-F", "-Q"], "NTFS"),
        ("mkfs.f2fs", &["-q"], "F2FS"),
    ];
    let mut seen = 0;
    for (i, (tool, args, name)) in tools.into_iter().enumerate() {
        let mib = if matches!(name, "Btrfs" | "XFS" | "F2FS") { 320 } else { 32 };
        let Some(image) = partitioned(&format!("mkfs{i}"), mib, tool, args, "") else { continue };
        assert_eq!(holds(&image), Some(name), "{tool}");
        seen += 1;
    }
    std::eprintln!("{seen} tools found");
}

#[test]
fn each_mark_is_recognised_by_hand_too() {
    for (at, mark, name) in [
        (0, &b"LUKS\xba\xbe"[..], "LUKS"),
        (0, b"XFSB", "XFS"),
        (3, b"NTFS    ", "NTFS"),
        (3, b"EXFAT   ", "exFAT"),
        (82, b"FAT32   ", "FAT"),
        (512, b"LABELONE", "LVM2"),
        (4086, b"SWAPSPACE2", "swap"),
        (65536 + 64, b"_BHRfS_M", "Btrfs"),
    ] {
        let mut image = vec![0; 70_000];
        image[at..at + mark.len()].copy_from_slice(mark);
        assert_eq!(holds(&image), Some(name));
        image[at] ^= 1;
        assert_eq!(holds(&image), None);
    }
}

#[test]
fn noise_zeroes_and_short_ranges_hold_nothing() {
    let mut random = Random(3);
    assert_eq!(holds(&[]), None);
    assert_eq!(holds(&[0; 512]), None);
    assert_eq!(holds(&vec![0; 70_000]), None);
    let mut noise: Vec<u8> = (0..70_000).map(|_| random.next() as u8).collect();
    assert_eq!(holds(&noise), None);
    // The 16-bit magic of ext alone is too little.
    noise[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
    assert_eq!(holds(&noise), None);
}
