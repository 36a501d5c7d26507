//! What is on the disk, what is still in its cache, and what a power cut leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 512;

/// The contents of a sector.
pub type Sector = [u8; SECTOR_BYTES];

/// What a sector holds that was never written: its own number, so that a wrong sector shows.
pub fn untouched(lba: u64) -> Sector {
    let mut sector = [0x5a; SECTOR_BYTES];
    sector.chunks_exact_mut(16).for_each(|chunk| chunk[..8].copy_from_slice(&lba.to_le_bytes()));
    sector
}

/// The sectors of a disk with a volatile write cache. Sectors are atomic: each is old or new after a power cut.
#[derive(Clone, Default)]
pub struct Platter {
    sectors: u64,
    durable: HashMap<u64, Sector>,
    /// Not yet flushed, oldest first; any subset may survive a power cut.
    cached: Vec<(u64, Sector)>,
    /// Newest cached contents by sector.
    newest: HashMap<u64, usize>,
    /// Reads and writes of these sectors end in this error register.
    errors: BTreeMap<u64, u8>,
    /// Number of every sector written, in order.
    pub written: Vec<u64>,
    /// The power fails when so many sectors have been written: what comes later is lost.
    pub cut_after: Option<usize>,
}

impl Platter {
    /// A disk of `sectors` sectors, none written.
    pub fn new(sectors: u64) -> Self {
        Self { sectors, ..Self::default() }
    }

    /// Number of sectors.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// What a read gives, cache included.
    pub fn read(&self, lba: u64) -> Sector {
        let cached = self.newest.get(&lba).map(|&index| self.cached[index].1);
        cached.or_else(|| self.durable.get(&lba).copied()).unwrap_or_else(|| untouched(lba))
    }

    /// Writes into the cache.
    pub fn write(&mut self, lba: u64, data: Sector) {
        if self.is_cut() {
            return;
        }
        self.written.push(lba);
        self.newest.insert(lba, self.cached.len());
        self.cached.push((lba, data));
    }

    /// Everything written so far survives from now on.
    pub fn flush(&mut self) {
        if !self.is_cut() {
            self.durable.extend(self.cached.drain(..));
            self.newest.clear();
        }
    }

    /// Has the power failed?
    pub fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|limit| self.written.len() >= limit)
    }

    /// The disk after a power cut: of the writes in the cache those survive for which `survives` says so.
    pub fn after_power_cut(&self, mut survives: impl FnMut(usize) -> bool) -> Self {
        let mut after = Self { sectors: self.sectors, durable: self.durable.clone(), ..Self::default() };
        let kept = self.cached.iter().enumerate().filter(|(index, _)| survives(*index)).map(|(_, write)| *write);
        after.durable.extend(kept);
        after
    }

    /// From now on the sector fails with this error register (40h: uncorrectable, 10h: not found).
    pub fn inject_error(&mut self, lba: u64, error: u8) {
        self.errors.insert(lba, error);
    }

    /// The injected error of a sector; sectors past the end are not found.
    pub fn error(&self, lba: u64) -> Option<u8> {
        if lba < self.sectors { self.errors.get(&lba).copied() } else { Some(super::ide::error::IDNF) }
    }

    /// Clears the injected errors.
    pub fn heal(&mut self) {
        self.errors.clear();
    }

    /// All sectors that were ever written.
    pub fn touched(&self) -> BTreeSet<u64> {
        self.written.iter().chain(self.durable.keys()).copied().collect()
    }
}
