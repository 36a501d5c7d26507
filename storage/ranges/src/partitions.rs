//! The partition table of a disk, whichever kind it is.

use crate::{gpt, mbr};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use mediator::disk::DiskError;

/// Reads whole sectors of one disk from an LBA on.
pub type ReadSectors<'a> = dyn FnMut(u64, &mut [u8]) -> Result<(), DiskError> + 'a;

/// A disk to read partition tables from.
pub struct Disk<'a> {
    pub sectors: u64,
    /// A power of two from 512 to 4096.
    pub sector_bytes: usize,
    pub read: &'a mut ReadSectors<'a>,
}

impl Disk<'_> {
    /// The sectors that hold `len_bytes` bytes from `lba` on, cut to that length.
    pub(crate) fn read(&mut self, lba: u64, len_bytes: usize) -> Result<Vec<u8>, TableError> {
        // Few sectors at a time: an IDE disk takes 256 in one command.
        const PIECE_BYTES: usize = 32 * 1024;
        let whole = len_bytes.checked_next_multiple_of(self.sector_bytes);
        let mut data = vec![0; whole.ok_or(TableError::Read { lba, error: DiskError::Request })?];
        let mut at = lba;
        for piece in data.chunks_mut(PIECE_BYTES) {
            (self.read)(at, piece).map_err(|error| TableError::Read { lba: at, error })?;
            at = at.saturating_add(piece.len().checked_div(self.sector_bytes).unwrap_or(0) as u64);
        }
        data.truncate(len_bytes);
        Ok(data)
    }
}

/// A partition that can be named by a rule. Extended partitions are only containers and are not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partition {
    /// As Linux counts: GPT entry from 1 on; MBR 1 to 4, logical ones from 5 on.
    pub number: u32,
    pub first_lba: u64,
    /// At least 1.
    pub sectors: u64,
    /// Unique partition GUID as it stands on the disk; GPT only.
    pub guid: Option<[u8; 16]>,
}

/// Where the table was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Mbr,
    Gpt,
    /// GPT, from the header at the end of the disk; the one at its beginning is damaged.
    GptBackup,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mbr => "MBR",
            Self::Gpt => "GPT",
            Self::GptBackup => "GPT (backup)",
        })
    }
}

/// A table and its partitions, in the order of their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionTable {
    pub scheme: Scheme,
    pub partitions: Vec<Partition>,
}

/// Why there is no table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableError {
    Read {
        lba: u64,
        error: DiskError,
    },
    /// Sector 0 is no MBR.
    NoTable,
    /// Sector 0 announces a GPT, but neither of its headers holds; why not.
    Gpt {
        primary: &'static str,
        backup: &'static str,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { lba, error: DiskError::Request } => write!(f, "sector {lba} is not on the disk"),
            Self::Read { lba, error: DiskError::Timeout } => write!(f, "the disk did not answer (sector {lba})"),
            Self::Read { lba, error: DiskError::Device { status, error } } => {
                write!(f, "the disk could not read sector {lba} (status {status:#04x}, error {error:#04x})")
            }
            Self::NoTable => f.write_str("the disk has no partition table"),
            Self::Gpt { primary, backup } => {
                write!(f, "the GPT of the disk is damaged (primary: {primary}; backup: {backup})")
            }
        }
    }
}

impl core::error::Error for TableError {}

/// Reads the partition table: a GPT where sector 0 announces one, else an MBR with its logical partitions.
///
/// # Errors
/// See [`TableError`].
pub fn read_partitions(disk: &mut Disk<'_>) -> Result<PartitionTable, TableError> {
    let sector0 = disk.read(0, disk.sector_bytes)?;
    let entries = mbr::parse(&sector0).ok_or(TableError::NoTable)?;
    if entries.iter().any(|entry| entry.kind == mbr::GPT_PROTECTIVE) {
        return gpt::read(disk);
    }
    Ok(PartitionTable { scheme: Scheme::Mbr, partitions: mbr::partitions(disk, &entries)? })
}
