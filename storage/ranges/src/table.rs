//! The range map of one disk.

use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::disk::{Extent, RangeMap, Rights, SectorTransform, Treatment};

/// How a range is encrypted.
#[derive(Clone)]
pub struct Cipher {
    pub transform: Arc<dyn SectorTransform>,
    /// What the transform counts its first sector as, at the start of the range.
    pub first_tweak: u64,
}

/// A run of sectors of the disk, as the guest numbers them, that are not what it finds on a disk without Shoji.
#[derive(Clone)]
pub struct Range {
    pub first_lba: u64,
    pub sectors: u64,
    /// Where the first of them lies on the disk: behind a header that is hidden, or where the guest thinks.
    pub disk_lba: u64,
    /// `None`: it is not encrypted.
    pub cipher: Option<Cipher>,
    pub rights: Rights,
    /// Its rule passes TRIM.
    pub trim: bool,
}

impl Range {
    /// The first sector behind it; `None` when there is no such number.
    fn end(&self) -> Option<u64> {
        self.disk_lba.checked_add(self.sectors)?;
        self.first_lba.checked_add(self.sectors)
    }

    /// Sectors of the disk in one of the cipher, where that is the larger one.
    fn ratio(&self, sector_bytes: usize) -> Option<u64> {
        let ratio = self.cipher.as_ref()?.transform.sector_bytes().checked_div(sector_bytes)?;
        (ratio > 1).then_some(ratio as u64)
    }

    /// Whether whole sectors of the cipher are whole sectors of the disk, or the other way round.
    fn fits(&self, sector_bytes: usize) -> bool {
        let Some(Cipher { transform, .. }) = &self.cipher else { return sector_bytes > 0 };
        let transformed = transform.sector_bytes();
        match self.ratio(sector_bytes) {
            Some(ratio) => transformed.is_multiple_of(sector_bytes) && self.sectors.is_multiple_of(ratio),
            None => transformed > 0 && sector_bytes > 0 && sector_bytes.is_multiple_of(transformed),
        }
    }
}

/// Ranges that make no table; the numbers are indices of the ranges given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeError {
    /// It has no sectors, or ends beyond the largest sector number.
    Extent(usize),
    Overlap(usize, usize),
    /// Sectors of the disk and of the transform are no multiples of each other, or the last one of the transform is cut.
    SectorBytes(usize),
}

/// The guarded ranges of a disk: sorted, disjoint, not empty. All the rest is plain.
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
            if !range.fits(sector_bytes) {
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

    /// The range that holds a sector; else the next one behind it.
    fn at(&self, lba: u64) -> Option<&Range> {
        // Ranges do not overlap, so the first that ends behind `lba` decides.
        let at = self.ranges.partition_point(|range| range.end() <= Some(lba));
        self.ranges.get(at)
    }

    fn treatment(&self, range: &Range, skip: u64) -> Treatment {
        let Some(Cipher { transform, first_tweak }) = &range.cipher else { return Treatment::Plain };
        // The tweak counts the transform's sectors: on a disk of 4096-byte sectors eight of 512 bytes each, as dm-crypt does
        // unless told otherwise; and where the transform's are larger, the one that holds the first sector.
        let tweak = match range.ratio(self.sector_bytes) {
            Some(ratio) => skip.checked_div(ratio).unwrap_or(0),
            None => {
                let per_sector = self.sector_bytes.checked_div(transform.sector_bytes()).unwrap_or(1);
                skip.wrapping_mul(per_sector as u64)
            }
        };
        Treatment::Transform { transform: transform.clone(), first_sector: first_tweak.wrapping_add(tweak) }
    }
}

impl RangeMap for RangeTable {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let plain = |left: u64| Extent {
            disk_lba: lba,
            sectors: left.min(sectors),
            treatment: Treatment::Plain,
            rights: Rights::ReadWrite,
        };
        match self.at(lba) {
            None => plain(sectors),
            Some(next) if next.first_lba > lba => plain(next.first_lba.saturating_sub(lba)),
            Some(range) => {
                let skip = lba.saturating_sub(range.first_lba);
                Extent {
                    disk_lba: range.disk_lba.saturating_add(skip),
                    sectors: range.sectors.saturating_sub(skip).min(sectors),
                    treatment: self.treatment(range, skip),
                    rights: range.rights,
                }
            }
        }
    }

    fn is_protected(&self) -> bool {
        !self.ranges.is_empty()
    }

    fn largest_sector_bytes(&self) -> usize {
        let ciphers = self.ranges.iter().filter_map(|range| range.cipher.as_ref());
        ciphers.map(|cipher| cipher.transform.sector_bytes()).max().unwrap_or(512)
    }

    fn within_transform_sector(&self, lba: u64) -> Option<u32> {
        let range = self.at(lba).filter(|range| range.first_lba <= lba)?;
        let within = lba.checked_sub(range.first_lba)?.checked_rem(range.ratio(self.sector_bytes)?)?;
        u32::try_from(within).ok()
    }

    /// TRIM is switched for a disk as a whole: one range that does not want it is enough.
    fn allows_trim(&self) -> bool {
        self.ranges.iter().all(|range| range.trim)
    }
}
