//! Images and helpers that the tests share.

extern crate std;

mod mapping;
mod marks;
mod parsing;
mod resolving;
mod volumes;

use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use config::{Access, DiskRule, DiskSelector, Format, HeaderSelector, KeyCheck, RangeSelector, XtsKey};
use mediator::disk::{DiskError, DiskInfo, RangeMap, Rights, SectorTransform, Treatment};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// SplitMix64: repeatable test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn read_from(image: &[u8], sector_bytes: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
    assert_eq!(data.len() % sector_bytes, 0);
    let at = usize::try_from(lba).ok().and_then(|lba| lba.checked_mul(sector_bytes)).ok_or(DiskError::Request)?;
    let end = at.checked_add(data.len()).ok_or(DiskError::Request)?;
    data.copy_from_slice(image.get(at..end).ok_or(DiskError::Request)?);
    Ok(())
}

fn table_of(image: &[u8], sector_bytes: usize) -> Result<PartitionTable, TableError> {
    let mut read = |lba, data: &mut [u8]| read_from(image, sector_bytes, lba, data);
    let sectors = (image.len() / sector_bytes) as u64;
    read_partitions(&mut Disk { sectors, sector_bytes, read: &mut read })
}

fn places(table: &PartitionTable) -> Vec<(u32, u64, u64)> {
    table.partitions.iter().map(|p| (p.number, p.first_lba, p.sectors)).collect()
}

/// A blank image after a partitioning tool; `None` (and a word) when the tool is not installed.
fn partitioned(name: &str, mib: u64, tool: &str, args: &[&str], script: &str) -> Option<Vec<u8>> {
    let path = std::env::temp_dir().join(format!("shoji-ranges-{name}-{}", std::process::id()));
    std::fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
    let child = Command::new(tool).args(args).arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        std::fs::remove_file(&path).unwrap();
        std::eprintln!("SKIPPED: {tool} is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{tool} failed");
    let image = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    Some(image)
}

fn record(sector: &mut [u8], slot: usize, kind: u8, first: u32, sectors: u32) {
    let at = 446 + slot * 16;
    sector[at + 4] = kind;
    sector[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
    sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// 1 MiB: a primary partition, and two logical ones in an extended one.
fn mbr_image() -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    record(&mut image, 0, 0x83, 64, 100);
    record(&mut image, 2, 0x0f, 1000, 500);
    record(&mut image[1000 * 512..], 0, 0x83, 8, 40);
    record(&mut image[1000 * 512..], 1, 0x05, 200, 100);
    record(&mut image[1200 * 512..], 0, 0x82, 16, 50);
    image
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn put(bytes: &mut [u8], at: usize, value: u64, len: usize) {
    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

fn write_header(image: &mut [u8], sector_bytes: usize, lba: usize, array_lba: usize, entries: usize) {
    let sectors = image.len() / sector_bytes;
    let array_crc = crc32(&image[array_lba * sector_bytes..][..entries * 128]);
    let header = &mut image[lba * sector_bytes..][..sector_bytes];
    header[..8].copy_from_slice(b"EFI PART");
    put(header, 8, 0x1_0000, 4);
    put(header, 12, 92, 4);
    put(header, 16, 0, 4);
    put(header, 24, lba as u64, 8);
    put(header, 40, 40, 8);
    put(header, 48, sectors as u64 - 40, 8);
    put(header, 72, array_lba as u64, 8);
    put(header, 80, entries as u64, 4);
    put(header, 84, 128, 4);
    put(header, 88, u64::from(array_crc), 4);
    let crc = crc32(&header[..92]);
    put(header, 16, u64::from(crc), 4);
}

/// 1 MiB: partitions 1 and 3, with GUIDs of 11h and 33h bytes; primary and backup table.
fn gpt_image(sector_bytes: usize) -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    let sectors = image.len() / sector_bytes;
    record(&mut image, 0, mbr::GPT_PROTECTIVE, 1, sectors as u32 - 1);
    let backup = sectors - 16;
    for array in [2, backup] {
        for (slot, first, last) in [(0, 50, 99), (2, 100, 199)] {
            let entry = &mut image[array * sector_bytes + slot * 128..][..128];
            entry[..16].fill(0xaf);
            entry[16..32].fill(0x11 * (slot as u8 + 1));
            put(entry, 32, first, 8);
            put(entry, 40, last, 8);
        }
    }
    write_header(&mut image, sector_bytes, 1, 2, 16);
    write_header(&mut image, sector_bytes, sectors - 1, backup, 16);
    image
}

/// A transform that can be told from others, for tests that never use it.
struct Numbered(u8, usize);

impl SectorTransform for Numbered {
    fn sector_bytes(&self) -> usize {
        self.1
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        sectors.iter_mut().for_each(|byte| *byte ^= self.0 ^ first_sector as u8);
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.encrypt(first_sector, sectors);
    }
}
