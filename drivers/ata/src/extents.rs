//! Requests against the range map, in sectors of 512 bytes.

use crate::spec::SECTOR_BYTES;
use block::Sectors;
use mediator::disk::RangeMap;

/// The map of a disk that may be protected.
pub fn sectors(ranges: &dyn RangeMap) -> Sectors<'_> {
    Sectors { ranges, sector_bytes: SECTOR_BYTES as u32 }
}

/// Length of a number of sectors; requests have at most 65536.
pub fn bytes(sectors: u32) -> usize {
    usize::try_from(sectors).unwrap_or(usize::MAX).saturating_mul(SECTOR_BYTES)
}
