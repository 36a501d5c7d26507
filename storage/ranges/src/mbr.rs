//! Master boot record and the chain of extended boot records.
//!
//! Source: UEFI Specification 2.10, s. 5.2.1 (legacy MBR) and 5.2.3 (protective MBR). The chain of logical partitions
//! is read as Linux does, so that both count alike.

use crate::bytes::{le16, le32};
use crate::partitions::{Disk, Partition, TableError};
use alloc::vec::Vec;

/// OS type of the partition record that announces a GPT.
pub const GPT_PROTECTIVE: u8 = 0xee;
/// OS types of partitions that hold logical partitions: CHS, LBA, Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Extended boot records that are read at most; a chain may be a loop.
const MAX_CHAIN: usize = 128;

/// A partition record.
#[derive(Clone, Copy, Default)]
pub struct Entry {
    pub kind: u8,
    /// From the start of the disk (MBR) or as the kind of record has it (extended boot record).
    pub first_lba: u32,
    pub sectors: u32,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    fn is_extended(&self) -> bool {
        EXTENDED.contains(&self.kind)
    }
}

/// The four records of a boot record; `None` when the sector is none.
pub fn parse(sector: &[u8]) -> Option<[Entry; 4]> {
    if le16(sector, 510)? != 0xaa55 {
        return None;
    }
    let mut entries = [Entry::default(); 4];
    let records = sector.get(446..510)?.chunks_exact(16);
    for (entry, record) in entries.iter_mut().zip(records) {
        // Boot sectors of file systems carry the same signature, but code where a table has boot indicators.
        if record.first()? & 0x7f != 0 {
            return None;
        }
        *entry = Entry { kind: *record.get(4)?, first_lba: le32(record, 8)?, sectors: le32(record, 12)? };
    }
    Some(entries)
}

/// The primary partitions, then the logical ones. A chain ends where a record in it is damaged.
pub fn partitions(disk: &mut Disk<'_>, entries: &[Entry; 4]) -> Result<Vec<Partition>, TableError> {
    let mut found = Vec::new();
    for (entry, number) in entries.iter().zip(1_u32..) {
        if entry.is_used() && !entry.is_extended() && entry.first_lba > 0 {
            found.push(partition(number, u64::from(entry.first_lba), entry));
        }
    }
    let mut number = 5;
    let mut budget = MAX_CHAIN;
    for container in entries.iter().filter(|entry| entry.is_used() && entry.is_extended()) {
        logical(disk, container, &mut number, &mut budget, &mut found)?;
    }
    Ok(found)
}

fn partition(number: u32, first_lba: u64, entry: &Entry) -> Partition {
    Partition { number, first_lba, sectors: u64::from(entry.sectors), guid: None }
}

/// Follows the chain of one extended partition: each record holds one logical partition, counted from itself, and a
/// link to the next record, counted from the start of the extended partition.
fn logical(
    disk: &mut Disk<'_>,
    container: &Entry,
    number: &mut u32,
    budget: &mut usize,
    found: &mut Vec<Partition>,
) -> Result<(), TableError> {
    let mut next = Some(0);
    while let (Some(offset), Some(left)) = (next, budget.checked_sub(1)) {
        *budget = left;
        let at = u64::from(container.first_lba).saturating_add(u64::from(offset));
        if offset >= container.sectors || at == 0 || at >= disk.sectors {
            break;
        }
        let Some(entries) = parse(&disk.read(at, disk.sector_bytes)?) else { break };
        for entry in entries.iter().filter(|entry| entry.is_used() && !entry.is_extended() && entry.first_lba > 0) {
            found.push(partition(*number, at.saturating_add(u64::from(entry.first_lba)), entry));
            *number = number.saturating_add(1);
        }
        next = entries.iter().find(|entry| entry.is_used() && entry.is_extended()).map(|entry| entry.first_lba);
    }
    Ok(())
}
