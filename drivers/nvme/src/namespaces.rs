//! The namespaces: each is a disk of its own.

use crate::identify;
use alloc::sync::Arc;
use block::Sectors;
use mediator::disk::RangeMap;

/// An active namespace.
pub struct Namespace {
    pub nsid: u32,
    pub identity: identify::Namespace,
    /// `None`: wholly plain.
    pub ranges: Option<Arc<dyn RangeMap>>,
    /// The controller has told since its last reset that the namespace is as `identity` tells.
    pub is_known: bool,
}

impl Namespace {
    /// The map of a namespace with protected ranges.
    pub fn protection(&self) -> Option<Arc<dyn RangeMap>> {
        self.ranges.clone().filter(|ranges| ranges.is_protected())
    }

    pub fn sectors<'a>(&self, ranges: &'a dyn RangeMap) -> Sectors<'a> {
        Sectors { ranges, sector_bytes: self.identity.sector_bytes }
    }

    /// Does the run lie wholly on the disk?
    pub fn holds(&self, lba: u64, sectors: u32) -> bool {
        lba.checked_add(sectors.into()).is_some_and(|end| end <= self.identity.sectors)
    }
}
