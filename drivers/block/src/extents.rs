//! Requests against the range map.

use alloc::vec::Vec;
use mediator::TransformRun;
use mediator::disk::{Extent, RangeMap, Rights, SectorTransform, Treatment};

/// A disk's range map, and the size of the disk's own sectors, in which it counts.
#[derive(Clone, Copy)]
pub struct Sectors<'a> {
    pub ranges: &'a dyn RangeMap,
    /// Of a logical sector of the disk; not 0.
    pub sector_bytes: u32,
}

/// What is to be done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// All of it is plain and lies together on the disk: the device may work on guest memory itself.
    Direct { disk_lba: u64 },
    /// Through the arena.
    Bounced,
}

/// A request that the range map does not allow; `lba` is the guest's number of the first sector concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A write: the device's write-protect error.
    ReadOnly { lba: u64 },
    /// Sectors that no disk answers to: an I/O error.
    Absent { lba: u64 },
    /// A map that cannot be served.
    Unserved,
}

/// A map that cannot be served (sectors of a transform that are no whole number of the disk's, nor the other way round,
/// or whose place is not told), or no memory to follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unserved;

/// A run of sectors that is moved in one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The guest's number of the first sector.
    pub lba: u64,
    /// At least 1.
    pub sectors: u32,
    /// Nothing in it is transformed.
    pub plain: bool,
    /// The sectors that the device moves for it; more than the part's own where that covers a sector of the transform
    /// not wholly ([`Part::is_edge`]).
    pub disk_lba: u64,
    pub disk_sectors: u32,
    /// Sectors of `disk_sectors` before the part's own.
    pub skip: u32,
}

impl Part {
    /// Does it lie within one sector of the transform, and not cover it?
    pub fn is_edge(&self) -> bool {
        self.disk_sectors != self.sectors
    }

    /// The guest's number of a sector of the disk that the device has named, at least that of the part's first sector.
    pub fn guest_lba(&self, disk_lba: u64) -> u64 {
        let first = self.disk_lba.saturating_add(u64::from(self.skip));
        let within = disk_lba.saturating_sub(first).min(u64::from(self.sectors.saturating_sub(1)));
        self.lba.saturating_add(within)
    }
}

impl Sectors<'_> {
    /// What is to be done with `sectors` (> 0) from `lba` on.
    ///
    /// # Errors
    /// [`Refusal`]: nothing may be sent to the device.
    pub fn plan(&self, lba: u64, sectors: u32, write: bool) -> Result<Plan, Refusal> {
        let (first, len) = self.extent(lba, sectors);
        if len == sectors {
            check(first.rights, lba, write)?;
            if is_plain(&first) {
                return Ok(Plan::Direct { disk_lba: first.disk_lba });
            }
        } else {
            self.check_rights(lba, sectors, write)?;
        }
        let part = self.part(lba, sectors).map_err(|Unserved| Refusal::Unserved)?;
        let direct = part.plain && part.sectors == sectors;
        Ok(if direct { Plan::Direct { disk_lba: part.disk_lba } } else { Plan::Bounced })
    }

    /// May the guest read, or write, all of `sectors` (> 0) from `lba` on?
    ///
    /// # Errors
    /// [`Refusal`], never [`Refusal::Unserved`].
    pub fn check_rights(&self, lba: u64, sectors: u32, write: bool) -> Result<(), Refusal> {
        let mut done = 0_u32;
        while done < sectors {
            let lba = lba.saturating_add(u64::from(done));
            let (extent, len) = self.extent(lba, sectors.saturating_sub(done));
            check(extent.rights, lba, write)?;
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// The longest part from `lba` on, at most `sectors` (> 0).
    ///
    /// # Errors
    /// [`Unserved`].
    pub fn part(&self, lba: u64, sectors: u32) -> Result<Part, Unserved> {
        let (first, len) = self.extent(lba, sectors);
        let plain = is_plain(&first);
        let mut part = Part { lba, sectors: 0, plain, disk_lba: first.disk_lba, disk_sectors: 0, skip: 0 };
        let whole = match self.whole(&first, lba, len)? {
            0 => return self.edge(lba, len),
            whole => whole,
        };
        part.sectors = whole;
        let mut more = whole == len;
        while more && part.sectors < sectors {
            let done = u64::from(part.sectors);
            let next_lba = lba.saturating_add(done);
            let (next, len) = self.extent(next_lba, sectors.saturating_sub(part.sectors));
            let whole = self.whole(&next, next_lba, len)?;
            if whole == 0 || part.disk_lba.checked_add(done) != Some(next.disk_lba) {
                break;
            }
            part.plain &= is_plain(&next);
            part.sectors = part.sectors.saturating_add(whole);
            more = whole == len;
        }
        part.disk_sectors = part.sectors;
        Ok(part)
    }

    /// How many of the extent's `len` sectors are whole sectors of its transform from `lba` on; 0: it begins within one,
    /// or does not reach the end of the first.
    fn whole(&self, extent: &Extent, lba: u64, len: u32) -> Result<u32, Unserved> {
        let Some(ratio) = self.ratio(extent)? else { return Ok(len) };
        if self.within(lba, ratio)? != 0 {
            return Ok(0);
        }
        Ok(len.saturating_sub(len.checked_rem(ratio).ok_or(Unserved)?))
    }

    /// The part at `lba` of the one sector of the transform that holds it, at most `sectors`.
    fn edge(&self, lba: u64, sectors: u32) -> Result<Part, Unserved> {
        let (here, _) = self.extent(lba, sectors);
        let ratio = self.ratio(&here)?.ok_or(Unserved)?;
        let skip = self.within(lba, ratio)?;
        let start = lba.checked_sub(u64::from(skip)).ok_or(Unserved)?;
        let (whole, len) = self.extent(start, ratio);
        if len != ratio || self.ratio(&whole)? != Some(ratio) {
            return Err(Unserved);
        }
        let sectors = sectors.min(ratio.saturating_sub(skip));
        Ok(Part { lba, sectors, plain: false, disk_lba: whole.disk_lba, disk_sectors: ratio, skip })
    }

    /// Sectors of the disk in one of the transform, where that is the larger one.
    fn ratio(&self, extent: &Extent) -> Result<Option<u32>, Unserved> {
        let Treatment::Transform { transform, .. } = &extent.treatment else { return Ok(None) };
        let transformed = u32::try_from(transform.sector_bytes()).map_err(|_| Unserved)?;
        if self.sector_bytes.checked_rem(transformed) == Some(0) {
            return Ok(None);
        }
        match (transformed.checked_rem(self.sector_bytes), transformed.checked_div(self.sector_bytes)) {
            (Some(0), Some(ratio)) => Ok(Some(ratio)),
            _ => Err(Unserved),
        }
    }

    fn within(&self, lba: u64, ratio: u32) -> Result<u32, Unserved> {
        self.ranges.within_transform_sector(lba).filter(|within| *within < ratio).ok_or(Unserved)
    }

    /// What is to be transformed in the sectors that the device moves for `part`.
    ///
    /// # Errors
    /// [`Unserved`].
    pub fn runs(&self, part: &Part) -> Result<Vec<TransformRun>, Unserved> {
        let mut runs = Vec::new();
        let first = part.lba.checked_sub(u64::from(part.skip)).ok_or(Unserved)?;
        self.each_transform(first, part.disk_sectors, |run| {
            runs.try_reserve(1).map_err(|_| Unserved)?;
            runs.push(run);
            Ok(())
        })?;
        Ok(runs)
    }

    /// Calls `each` for every run of whole sectors that is transformed.
    ///
    /// # Errors
    /// [`Unserved`]: sectors of a transform would be cut, or `each` said so.
    pub fn each_transform(
        &self,
        lba: u64,
        sectors: u32,
        mut each: impl FnMut(TransformRun) -> Result<(), Unserved>,
    ) -> Result<(), Unserved> {
        let mut done = 0_u32;
        while done < sectors {
            let at = lba.saturating_add(u64::from(done));
            let (extent, len) = self.extent(at, sectors.saturating_sub(done));
            if self.whole(&extent, at, len)? != len {
                return Err(Unserved);
            }
            if let Treatment::Transform { transform, first_sector } = extent.treatment {
                let (offset_bytes, len_bytes) = (self.bytes(done), self.bytes(len));
                each(TransformRun { offset_bytes, len_bytes, first_sector, transform })?;
            }
            done = done.saturating_add(len);
        }
        Ok(())
    }

    /// Length of a number of sectors.
    pub fn bytes(&self, sectors: u32) -> usize {
        let size = usize::try_from(self.sector_bytes).unwrap_or(usize::MAX);
        usize::try_from(sectors).unwrap_or(usize::MAX).saturating_mul(size)
    }

    fn extent(&self, lba: u64, sectors: u32) -> (Extent, u32) {
        let extent = self.ranges.extent(lba, u64::from(sectors));
        // The map promises 1..=sectors; a map that breaks its promise must not make a loop endless.
        let len = u32::try_from(extent.sectors).unwrap_or(sectors).clamp(1, sectors.max(1));
        (extent, len)
    }
}

/// Of the sector at `lba`.
fn check(rights: Rights, lba: u64, write: bool) -> Result<(), Refusal> {
    match rights {
        Rights::None => Err(Refusal::Absent { lba }),
        Rights::ReadOnly if write => Err(Refusal::ReadOnly { lba }),
        Rights::ReadOnly | Rights::ReadWrite => Ok(()),
    }
}

fn is_plain(extent: &Extent) -> bool {
    matches!(extent.treatment, Treatment::Plain)
}

/// Applies a run's transform to its part of `bytes`.
pub(crate) fn in_place(bytes: &mut [u8], run: &TransformRun, apply: impl FnOnce(&dyn SectorTransform, u64, &mut [u8])) {
    let end = run.offset_bytes.saturating_add(run.len_bytes);
    if let Some(sectors) = bytes.get_mut(run.offset_bytes..end) {
        apply(&*run.transform, run.first_sector, sectors);
    }
}
