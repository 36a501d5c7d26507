//! A LUKS2 volume as ranges: the guest sees its payload from the first sector of the partition on, and its header
//! nowhere.

use crate::error::Problem;
use crate::resolve::Machine;
use crate::table::{Cipher, Range};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use luks2::{Copies, Header};
use mediator::disk::{DiskError, Rights};

/// Where a header is read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderSource<'a> {
    Disk(HeaderPlace),
    /// A file that the boot loader has brought, by the name in the rule.
    File(&'a str),
}

/// A range of a disk with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderPlace {
    /// Index into the list of disks.
    pub disk: usize,
    pub first_lba: u64,
    pub sectors: u64,
    /// Of the disk.
    pub sector_bytes: u32,
}

/// Read at a time: an IDE disk takes 256 sectors in one command.
const PIECE_BYTES: usize = 32 * 1024;

impl HeaderPlace {
    /// Do these sectors of the same disk belong to it?
    pub(crate) fn overlaps(&self, first_lba: u64, sectors: u64) -> bool {
        first_lba < self.first_lba.saturating_add(self.sectors) && self.first_lba < first_lba.saturating_add(sectors)
    }

    /// Reads as [`luks2::ReadAt`] wants it, by `read` from an LBA of the disk on.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub fn read(
        &self,
        at_bytes: u64,
        data: &mut [u8],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), DiskError>,
    ) -> Result<(), String> {
        let sector = u64::from(self.sector_bytes);
        let skip = at_bytes.checked_div(sector).unwrap_or(u64::MAX);
        let end = at_bytes.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > self.sectors.saturating_mul(sector)) {
            return Err("it ends before that".into());
        }
        let mut lba = self.first_lba.saturating_add(skip);
        for piece in data.chunks_mut(PIECE_BYTES) {
            read(lba, piece).map_err(|error| match error {
                DiskError::Request => format!("sector {lba} is not on the disk"),
                DiskError::Timeout => format!("the disk did not answer (sector {lba})"),
                DiskError::Device { status, error } => {
                    format!("the disk could not read sector {lba} (status {status:#04x}, error {error:#04x})")
                }
            })?;
            lba = lba.saturating_add((piece.len() as u64).checked_div(sector).unwrap_or(0));
        }
        Ok(())
    }
}

/// The partition of a volume, in the disk's sectors.
pub struct Partition {
    pub first_lba: u64,
    pub sectors: u64,
    /// Of the disk.
    pub sector_bytes: u32,
}

/// What a volume's rule says.
pub struct Wishes<'a> {
    pub name: &'a str,
    pub rights: Rights,
    pub trim: bool,
}

/// Reads the header, has it unlocked, and gives the ranges: payload, what is behind it, and a detached header on the disk.
/// And a word for the log.
pub fn ranges(
    partition: &Partition,
    source: HeaderSource<'_>,
    is_detached: bool,
    wishes: &Wishes<'_>,
    machine: &mut dyn Machine,
) -> Result<(Vec<Range>, String), Problem> {
    let header = read(source, machine)?;
    let segment = header.segment().map_err(Problem::Volume)?;
    let sector = u64::from(partition.sector_bytes);
    let header_bytes = if is_detached { 0 } else { header.area_bytes() };
    let place = segment.place(header_bytes, partition.sectors.saturating_mul(sector)).map_err(Problem::Volume)?;
    let (skip, payload) = in_sectors(place, sector).ok_or_else(|| {
        let bytes = segment.sector_bytes;
        Problem::Volume(format!("its payload or its crypto sectors of {bytes} bytes do not fit the disk's of {sector}"))
    })?;
    let key = machine.unlock(wishes.name, source, &header).map_err(Problem::Volume)?;
    let transform = machine.transform(key.bytes(), segment.sector_bytes as usize).map_err(Problem::Key)?;
    let cipher = Some(Cipher { transform, first_tweak: segment.first_tweak });
    let (first_lba, disk_lba) = (partition.first_lba, partition.first_lba.saturating_add(skip));
    let mut ranges = Vec::new();
    ranges.push(Range { first_lba, sectors: payload, disk_lba, cipher, rights: wishes.rights, trim: wishes.trim });
    ranges.extend(hidden(first_lba.saturating_add(payload), partition.sectors.saturating_sub(payload), wishes.trim));
    if let HeaderSource::Disk(place) = source
        && is_detached
    {
        ranges.extend(hidden(place.first_lba, place.sectors, wishes.trim));
    }
    Ok((ranges, describe(&header, payload)))
}

/// Sectors that do not answer.
fn hidden(first_lba: u64, sectors: u64, trim: bool) -> Option<Range> {
    let range = Range { first_lba, sectors, disk_lba: first_lba, cipher: None, rights: Rights::None, trim };
    (sectors > 0).then_some(range)
}

fn in_sectors((first, len): (u64, u64), sector: u64) -> Option<(u64, u64)> {
    let whole = first.is_multiple_of(sector) && len.is_multiple_of(sector);
    Some((first.checked_div(sector)?, len.checked_div(sector)?)).filter(|(_, sectors)| whole && *sectors > 0)
}

fn read(source: HeaderSource<'_>, machine: &mut dyn Machine) -> Result<Header, Problem> {
    let header = luks2::parse(&mut |at, data| match source {
        HeaderSource::Disk(place) => place.read(at, data, |lba, data| machine.read(place.disk, lba, data)),
        HeaderSource::File(name) => machine.read_header_file(name, at, data),
    });
    header.map_err(|error| Problem::Header(format!("{error}")))
}

fn describe(header: &Header, payload_sectors: u64) -> String {
    let Copies { primary, secondary } = header.copies();
    let damaged = |name, flaw: &luks2::Flaw| format!("; WARNING: its {name} header is damaged ({flaw})");
    let damage = match (primary, secondary) {
        (Err(flaw), _) => damaged("primary", flaw),
        (_, Err(flaw)) => damaged("secondary", flaw),
        _ => String::new(),
    };
    format!("LUKS2 volume {}, {payload_sectors} sectors of payload{damage}", header.uuid())
}
