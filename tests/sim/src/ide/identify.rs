//! IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data (ATA8-ACS, s. 7.12 and 7.13).

use super::Disk;
use crate::SECTOR_BYTES;

/// 256 words.
struct Words([u16; 256]);

impl Words {
    /// ASCII, padded with blanks, first character in the upper byte.
    fn text(&mut self, at: usize, words: usize, text: &str) {
        let padded = format!("{text:<width$}", width = 2 * words);
        for (word, pair) in self.0[at..at + words].iter_mut().zip(padded.as_bytes().chunks_exact(2)) {
            *word = u16::from_be_bytes([pair[0], pair[1]]);
        }
    }

    fn number(&mut self, at: usize, words: usize, value: u64) {
        (0..words).for_each(|i| self.0[at + i] = (value >> (16 * i)) as u16);
    }

    /// With the integrity word: A5h, and a sum of all bytes of zero (ATA8-ACS, s. 7.12.7.88).
    fn seal(mut self) -> [u8; SECTOR_BYTES] {
        self.0[255] = 0xa5;
        let mut bytes = [0; SECTOR_BYTES];
        bytes.chunks_exact_mut(2).zip(self.0).for_each(|(pair, word)| pair.copy_from_slice(&word.to_le_bytes()));
        bytes[511] = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
        bytes
    }
}

/// Of a disk that has all that a mediator may have to hide.
pub fn disk(disk: &Disk) -> [u8; SECTOR_BYTES] {
    words(disk).seal()
}

/// The same on Serial ATA, with command queuing.
pub fn sata_disk(disk: &Disk) -> [u8; SECTOR_BYTES] {
    let mut id = words(disk);
    id.0[76] = 0x0100;
    id.seal()
}

fn words(disk: &Disk) -> Words {
    let sectors = disk.platter.sectors();
    let (heads, per_track) = disk.geometry;
    let cylinders = (sectors / (heads * per_track)).min(16383);
    let mut id = Words([0; 256]);
    for (word, value) in [
        (0, 0x0040),
        (47, 0x8010), // MULTIPLE up to 16 sectors
        (48, 0x4001), // Trusted Computing
        (49, 0x0f00), // LBA, DMA, IORDY
        (50, 0x4000),
        (53, 0x0007),
        (59, 0x0100 | u16::from(disk.multiple)),
        (63, 0x0007),
        (64, 0x0003),
        (69, 0x4020), // deterministic, zeroing TRIM
        (75, 0x001f), // NCQ depth; without meaning on PATA
        (80, 0x01f0), // ATA/ATAPI-4 to ATA8-ACS
        (82, 0x756b), // SMART, Security, PM, write cache, look-ahead, HPA, WRITE/READ BUFFER, NOP
        (83, 0x7d09), // download microcode, APM, SET MAX security, 48-bit, DCO, FLUSH (EXT)
        (84, 0x4163), // SMART logs, GPL, WWN, FUA
        (85, 0x7469),
        (86, 0xbc09),
        (87, 0x4163),
        (88, 0x203f), // Ultra DMA 0 to 5, 5 selected
        (93, 0x604b),
        (106, 0x4000),
        (108, 0x5000),
        (109, 0x0c50),
        (119, 0x4014), // WRITE UNCORRECTABLE EXT, segmented DOWNLOAD MICROCODE
        (120, 0x4014),
        (128, 0x0021), // Security supported
        (169, 0x0001), // TRIM
        (206, 0x003f), // SCT
        (217, 0x0001),
        (222, 0x001f),
    ] {
        id.0[word] = value;
    }
    id.text(10, 10, "SIM0000000000001");
    id.text(23, 4, "1.0");
    id.text(27, 20, "SIMULATED DISK");
    id.number(1, 1, cylinders);
    id.number(3, 1, heads);
    id.number(6, 1, per_track);
    id.number(54, 1, cylinders);
    id.number(55, 1, heads);
    id.number(56, 1, per_track);
    id.number(57, 2, cylinders * heads * per_track);
    id.number(60, 2, sectors.min(0x0fff_ffff));
    id.number(100, 4, sectors);
    id
}

/// Of the CD drive.
pub fn cdrom() -> [u8; SECTOR_BYTES] {
    let mut id = Words([0; 256]);
    for (word, value) in [
        (0, 0x8580), // ATAPI, CD-ROM, removable, 12-byte packets
        (49, 0x0f00),
        (50, 0x4000),
        (53, 0x0006),
        (63, 0x0007),
        (64, 0x0003),
        (80, 0x00f0),
        (82, 0x4210), // PACKET, DEVICE RESET, NOP
        (83, 0x4000),
        (84, 0x4000),
        (85, 0x4210),
        (87, 0x4000),
        (88, 0x0007),
        (93, 0x604b),
    ] {
        id.0[word] = value;
    }
    id.text(10, 10, "SIMCD001");
    id.text(23, 4, "1.0");
    id.text(27, 20, "SIMULATED CD");
    id.seal()
}
