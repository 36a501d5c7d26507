//! Requests against the range map.

use crate::spec::SECTOR_BYTES;
use alloc::vec::Vec;
use mediator::TransformRun;
use mediator::disk::{Extent, RangeMap, Rights, Treatment};

/// A run of sectors that lies in one piece on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    pub lba: u64,
    pub disk_lba: u64,
    /// At least 1.
    pub sectors: u32,
    /// Nothing in it is transformed.
    pub plain: bool,
}

/// A map that this mediator cannot serve, or no memory to follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unserved;

/// The longest part from `lba` on, at most `sectors` (> 0).
pub fn part(ranges: &dyn RangeMap, lba: u64, sectors: u32) -> Part {
    let first = extent(ranges, lba, sectors);
    let mut part = Part { lba, disk_lba: first.0.disk_lba, sectors: first.1, plain: is_plain(&first.0) };
    while part.sectors < sectors {
        let done = u64::from(part.sectors);
        let (next, len) = extent(ranges, lba.saturating_add(done), sectors.saturating_sub(part.sectors));
        if next.disk_lba != part.disk_lba.saturating_add(done) {
            break;
        }
        part.plain &= is_plain(&next);
        part.sectors = part.sectors.saturating_add(len);
    }
    part
}

/// What is to be transformed in `sectors` from `lba` on, which lie in one part.
///
/// # Errors
/// [`Unserved`]: a transform whose sector is not the disk's, sectors that are not free to be read and written, or no memory.
pub fn runs(ranges: &dyn RangeMap, lba: u64, sectors: u32) -> Result<Vec<TransformRun>, Unserved> {
    let mut runs = Vec::new();
    each_transform(ranges, lba, sectors, |run| {
        runs.try_reserve(1).map_err(|_| Unserved)?;
        runs.push(run);
        Ok(())
    })?;
    Ok(runs)
}

/// Calls `each` for every run of sectors that is transformed.
///
/// # Errors
/// [`Unserved`]: as of [`runs`], or `each` said so.
pub fn each_transform(
    ranges: &dyn RangeMap,
    lba: u64,
    sectors: u32,
    mut each: impl FnMut(TransformRun) -> Result<(), Unserved>,
) -> Result<(), Unserved> {
    let mut done = 0_u32;
    while done < sectors {
        let (extent, len) = extent(ranges, lba.saturating_add(u64::from(done)), sectors.saturating_sub(done));
        if extent.rights != Rights::ReadWrite {
            return Err(Unserved);
        }
        if let Treatment::Transform { transform, first_sector } = extent.treatment {
            if transform.sector_bytes() != SECTOR_BYTES {
                return Err(Unserved);
            }
            each(TransformRun { offset_bytes: bytes(done), len_bytes: bytes(len), first_sector, transform })?;
        }
        done = done.saturating_add(len);
    }
    Ok(())
}

/// Length of a number of sectors; requests have at most 65536.
pub fn bytes(sectors: u32) -> usize {
    usize::try_from(sectors).unwrap_or(usize::MAX).saturating_mul(SECTOR_BYTES)
}

fn extent(ranges: &dyn RangeMap, lba: u64, sectors: u32) -> (Extent, u32) {
    let extent = ranges.extent(lba, u64::from(sectors));
    // The map promises 1..=sectors; a map that breaks its promise must not make a loop endless.
    let len = u32::try_from(extent.sectors).unwrap_or(sectors).clamp(1, sectors.max(1));
    (extent, len)
}

fn is_plain(extent: &Extent) -> bool {
    matches!((&extent.treatment, extent.rights), (Treatment::Plain, Rights::ReadWrite))
}
