//! What the guest must see, and so what must lie on the disk.

use sim::{Platter, SECTOR_BYTES, Sector, SimRanges, untouched};
use std::collections::BTreeMap;

/// In every 16 bytes that a scenario writes; it must not appear on a platter in a protected range.
pub const MARKER: [u8; 8] = *b"PLAINTXT";

/// Sectors that tell where they belong and who wrote them.
pub fn payload(seed: u32, lba: u64, sectors: u64) -> Vec<u8> {
    let mut data = Vec::with_capacity(sectors as usize * SECTOR_BYTES);
    for sector in lba..lba + sectors {
        for place in 0..32u32 {
            data.extend(MARKER);
            data.extend((seed << 5 | place).to_le_bytes());
            data.extend((sector as u32).to_le_bytes());
        }
    }
    data
}

/// The guest's view of one disk: for each sector that it wrote, what it may hold, oldest first. More than one
/// possibility remains where a write was interrupted; none means that the guest made a mess there.
#[derive(Clone, Default)]
pub struct Model(BTreeMap<u64, Vec<Sector>>);

impl Model {
    /// A write was completed.
    pub fn wrote(&mut self, lba: u64, data: &[u8]) {
        self.each(lba, data, |possible, sector| *possible = vec![sector]);
    }

    /// A write was begun; how far it came is unknown.
    pub fn may_have_written(&mut self, ranges: &SimRanges, lba: u64, data: &[u8]) {
        for at in lba..lba + (data.len() / SECTOR_BYTES) as u64 {
            let before = ranges.in_guest(at, &untouched(ranges.disk_lba(at)));
            self.0.entry(at).or_insert_with(|| vec![before]);
        }
        self.each(lba, data, |possible, sector| possible.push(sector));
    }

    /// The guest broke the rules: the sectors may hold anything but plaintext.
    pub fn may_hold_anything(&mut self, lba: u64, sectors: u64) {
        self.0.extend((lba..lba + sectors).map(|at| (at, Vec::new())));
    }

    /// Everything is out of the cache.
    pub fn flushed(&mut self) {
        self.0.values_mut().for_each(|possible| possible.drain(..possible.len().saturating_sub(1)).for_each(drop));
    }

    fn each(&mut self, lba: u64, data: &[u8], apply: impl Fn(&mut Vec<Sector>, Sector)) {
        for (at, sector) in (lba..).zip(data.chunks_exact(SECTOR_BYTES)) {
            apply(self.0.entry(at).or_default(), sector.try_into().expect("a chunk is a sector"));
        }
    }

    /// Compares with the disk, and learns what interrupted writes left.
    ///
    /// # Panics
    /// When a sector holds what the guest's view does not allow, or when a sector was written that the guest did not
    /// write.
    pub fn check(&mut self, ranges: &SimRanges, platter: &Platter, since: usize) {
        for &disk_lba in &platter.written[since..] {
            let lba = (0..2)
                .map(|n| disk_lba.wrapping_sub(n * ranges.shift))
                .find(|&lba| ranges.disk_lba(lba) == disk_lba && self.0.contains_key(&lba));
            let stored = platter.read(disk_lba);
            let lba = lba.unwrap_or_else(|| panic!("sector {disk_lba} was written, but not by the guest"));
            let plaintext = stored.chunks(8).any(|chunk| chunk == MARKER);
            assert!(!(plaintext && ranges.protected.contains(&lba)), "plaintext on the platter in sector {lba}");
            let possible = self.0.get_mut(&lba).expect("just found");
            if possible.is_empty() {
                continue;
            }
            let Some(now) = possible.iter().find(|plain| ranges.on_disk(lba, plain) == stored).copied() else {
                panic!("sector {lba} holds something else than the guest wrote: {:x?}..", &stored[..32]);
            };
            *possible = vec![now];
        }
    }

    /// Compares every sector of the model, after a power cut.
    ///
    /// # Panics
    /// As [`Model::check`].
    pub fn check_all(&mut self, ranges: &SimRanges, platter: &Platter) {
        for (lba, possible) in &mut self.0 {
            let stored = platter.read(ranges.disk_lba(*lba));
            let now = possible.iter().find(|plain| ranges.on_disk(*lba, plain) == stored).copied();
            *possible = vec![now.unwrap_or_else(|| panic!("sector {lba} is neither old nor new"))];
        }
    }

    /// What a read of the sector must give.
    pub fn expected(&self, ranges: &SimRanges, platter: &Platter, lba: u64) -> Sector {
        match self.0.get(&lba).map(Vec::as_slice) {
            Some([only]) => *only,
            _ => ranges.in_guest(lba, &platter.read(ranges.disk_lba(lba))),
        }
    }
}
