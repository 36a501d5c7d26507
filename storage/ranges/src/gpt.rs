//! GUID partition table.
//!
//! Source: UEFI Specification 2.10, s. 5.3.2 (header) and 5.3.3 (partition entry array).

use crate::bytes::{le32, le64};
use crate::partitions::{Disk, Partition, PartitionTable, Scheme, TableError};
use alloc::vec::Vec;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// Longest entry array that is read: 1024 entries of the usual size, 8 times what tools make.
const MAX_ARRAY_BYTES: usize = 128 * 1024;
/// Bytes of the header that are defined; CRC32 covers as many as the header says.
const HEADER_BYTES: usize = 92;
/// Offset of the header's own CRC32, which counts as zero.
const HEADER_CRC_AT: usize = 16;

const CRC32: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// What a header says about the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Header {
    first_usable: u64,
    last_usable: u64,
    array_lba: u64,
    entry_bytes: usize,
    array_bytes: usize,
    array_crc: u32,
}

/// Reads the table by its primary header, or by the backup in the last sector.
pub fn read(disk: &mut Disk<'_>) -> Result<PartitionTable, TableError> {
    let primary = match read_at(disk, 1)? {
        Ok(partitions) => return Ok(PartitionTable { scheme: Scheme::Gpt, partitions }),
        Err(reason) => reason,
    };
    match read_at(disk, disk.sectors.saturating_sub(1))? {
        Ok(partitions) => Ok(PartitionTable { scheme: Scheme::GptBackup, partitions }),
        Err(backup) => Err(TableError::Gpt { primary, backup }),
    }
}

/// The partitions by the header at `lba`, or why it does not hold.
fn read_at(disk: &mut Disk<'_>, lba: u64) -> Result<Result<Vec<Partition>, &'static str>, TableError> {
    if lba >= disk.sectors {
        return Ok(Err("the disk is too small"));
    }
    let header = match parse_header(&disk.read(lba, disk.sector_bytes)?, lba, disk.sectors) {
        Ok(header) => header,
        Err(reason) => return Ok(Err(reason)),
    };
    let array_sectors = header.array_bytes.div_ceil(disk.sector_bytes.max(1)) as u64;
    if header.array_lba.checked_add(array_sectors).is_none_or(|end| end > disk.sectors) {
        return Ok(Err("its entries lie outside the disk"));
    }
    let array = disk.read(header.array_lba, header.array_bytes)?;
    if CRC32.checksum(&array) != header.array_crc {
        return Ok(Err("the checksum of its entries is wrong"));
    }
    let entries = array.chunks_exact(header.entry_bytes).zip(1_u32..);
    Ok(Ok(entries.filter_map(|(entry, number)| parse_entry(entry, number, &header)).collect()))
}

fn parse_header(sector: &[u8], lba: u64, disk_sectors: u64) -> Result<Header, &'static str> {
    const SHORT: &str = "it is too short";
    let field32 = |at| le32(sector, at).ok_or(SHORT);
    let field64 = |at| le64(sector, at).ok_or(SHORT);
    if !sector.starts_with(b"EFI PART") {
        return Err("there is no header");
    }
    let header_bytes = field32(12)? as usize;
    let covered = sector.get(..header_bytes).filter(|covered| covered.len() >= HEADER_BYTES).ok_or(SHORT)?;
    if header_crc(covered) != Some(field32(HEADER_CRC_AT)?) {
        return Err("its checksum is wrong");
    }
    if field64(24)? != lba {
        return Err("it belongs elsewhere");
    }
    let (entries, entry_bytes) = (field32(80)? as usize, field32(84)? as usize);
    let array_bytes = entries.checked_mul(entry_bytes).filter(|bytes| (1..=MAX_ARRAY_BYTES).contains(bytes));
    let header = Header {
        first_usable: field64(40)?,
        last_usable: field64(48)?,
        array_lba: field64(72)?,
        entry_bytes,
        array_bytes: array_bytes.ok_or("it has no entries or too many")?,
        array_crc: field32(88)?,
    };
    if entry_bytes < 128 || !entry_bytes.is_power_of_two() {
        return Err("the size of its entries is wrong");
    }
    if header.first_usable > header.last_usable || header.last_usable >= disk_sectors {
        return Err("its usable sectors lie outside the disk");
    }
    Ok(header)
}

/// CRC32 of a header, its own field taken as zero.
fn header_crc(covered: &[u8]) -> Option<u32> {
    let mut digest = CRC32.digest();
    digest.update(covered.get(..HEADER_CRC_AT)?);
    digest.update(&[0; 4]);
    digest.update(covered.get(HEADER_CRC_AT.checked_add(4)?..)?);
    Some(digest.finalize())
}

/// An entry in use that lies within the usable sectors.
fn parse_entry(entry: &[u8], number: u32, header: &Header) -> Option<Partition> {
    let (kind, guid) = (entry.first_chunk::<16>()?, entry.get(16..)?.first_chunk::<16>()?);
    let (first, last) = (le64(entry, 32)?, le64(entry, 40)?);
    if *kind == [0; 16] || first < header.first_usable || last > header.last_usable {
        return None;
    }
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    Some(Partition { number, first_lba: first, sectors, guid: Some(*guid) })
}
