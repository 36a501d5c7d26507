//! The range map of one disk.

use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::disk::{Extent, RangeMap, Rights, SectorTransform, Treatment};

/// A run of sectors of the disk that is kept encrypted.
#[derive(Clone)]
pub struct Range {
    pub first_lba: u64,
    pub sectors: u64,
    pub transform: Arc<dyn SectorTransform>,
    /// Its rule passes TRIM.
    pub trim: bool,
}

impl Range {
    /// The first sector behind it; `None` when there is no such number.
    fn end(&self) -> Option<u64> {
        self.first_lba.checked_add(self.sectors)
    }
}

/// Ranges that make no table; the numbers are indices of the ranges given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeError {
    /// It has no sectors, or ends beyond the largest sector number.
    Extent(usize),
    Overlap(usize, usize),
    /// A sector of the disk is not a whole number of the transform's sectors.
    SectorBytes(usize),
}

/// The protected ranges of a disk: sorted, disjoint, not empty. All the rest is plain.
#[derive(Clone)]
pub struct RangeTable {
    ranges: Vec<Range>,
    sector_bytes: usize,
}

impl RangeTable {
    /// `sector_bytes` is the disk's. The ranges may come in any order.
    ///
    /// # Errors
    /// See [`RangeError`].
    pub fn new(ranges: Vec<Range>, sector_bytes: usize) -> Result<Self, RangeError> {
        for (i, range) in ranges.iter().enumerate() {
            if range.sectors == 0 || range.end().is_none() {
                return Err(RangeError::Extent(i));
            }
            if sector_bytes.checked_rem(range.transform.sector_bytes()) != Some(0) || sector_bytes == 0 {
                return Err(RangeError::SectorBytes(i));
            }
        }
        let mut sorted: Vec<(usize, Range)> = ranges.into_iter().enumerate().collect();
        sorted.sort_by_key(|(_, range)| range.first_lba);
        for ((i, a), (j, b)) in sorted.iter().zip(sorted.iter().skip(1)) {
            if a.end() > Some(b.first_lba) {
                return Err(RangeError::Overlap(*i.min(j), *i.max(j)));
            }
        }
        Ok(Self { ranges: sorted.into_iter().map(|(_, range)| range).collect(), sector_bytes })
    }

    /// In the order of the disk.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The tweak counts the transform's sectors: on a disk of 4096-byte sectors eight of 512 bytes each, as dm-crypt
    /// does unless told otherwise.
    fn tweak(&self, range: &Range, lba: u64) -> u64 {
        let per_sector = self.sector_bytes.checked_div(range.transform.sector_bytes()).unwrap_or(1);
        lba.wrapping_sub(range.first_lba).wrapping_mul(per_sector as u64)
    }
}

impl RangeMap for RangeTable {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        // Ranges do not overlap, so the first that ends behind `lba` decides.
        let at = self.ranges.partition_point(|range| range.end() <= Some(lba));
        let (left, treatment) = match self.ranges.get(at) {
            None => (sectors, Treatment::Plain),
            Some(next) if next.first_lba > lba => (next.first_lba.saturating_sub(lba), Treatment::Plain),
            Some(range) => {
                let transform = range.transform.clone();
                let left = range.end().unwrap_or(lba).saturating_sub(lba);
                (left, Treatment::Transform { transform, first_sector: self.tweak(range, lba) })
            }
        };
        Extent { disk_lba: lba, sectors: left.min(sectors), treatment, rights: Rights::ReadWrite }
    }

    fn is_protected(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// TRIM is switched for a disk as a whole: one range that does not want it is enough.
    fn allows_trim(&self) -> bool {
        self.ranges.iter().all(|range| range.trim)
    }
}
