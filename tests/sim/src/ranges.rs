//! A sector transform and range maps for tests.

use mediator::disk::{Extent, RangeMap, Rights, SectorTransform, Treatment};
use std::ops::Range;
use std::sync::Arc;

/// Keyed and bound to the sector number and to the place in the sector, like XTS, but no cipher. Encryption and
/// decryption differ, so that a mix-up shows.
#[derive(Clone, Copy, Debug)]
pub struct SimTransform {
    pub key: u64,
}

/// splitmix64.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl SimTransform {
    fn each_word(&self, first_sector: u64, sectors: &mut [u8], apply: impl Fn(u64, u64) -> u64) {
        assert_eq!(sectors.len() % self.sector_bytes(), 0, "a transform takes whole sectors");
        for (sector, bytes) in (first_sector..).zip(sectors.chunks_exact_mut(self.sector_bytes())) {
            let tweak = mix(self.key ^ mix(sector));
            for (place, word) in (0..).zip(bytes.chunks_exact_mut(8)) {
                let value = apply(u64::from_le_bytes(word.try_into().expect("8 bytes")), mix(tweak ^ place));
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

impl SectorTransform for SimTransform {
    fn sector_bytes(&self) -> usize {
        crate::SECTOR_BYTES
    }

    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.each_word(first_sector, sectors, |word, key| (word ^ key).rotate_left(13).wrapping_add(key));
    }

    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        self.each_word(first_sector, sectors, |word, key| word.wrapping_sub(key).rotate_right(13) ^ key);
    }
}

/// One protected range; the rest of the disk is plain.
#[derive(Clone)]
pub struct SimRanges {
    /// Guest sectors that are transformed; the tweak counts from the first.
    pub protected: Range<u64>,
    pub transform: Arc<dyn SectorTransform>,
    /// Protected sectors lie that much further on the disk than in the guest's view.
    pub shift: u64,
}

impl SimRanges {
    /// Protects `protected` where it lies.
    pub fn new(protected: Range<u64>) -> Self {
        Self { protected, transform: Arc::new(SimTransform { key: 0x5110_1234_5678_9abc }), shift: 0 }
    }

    /// Where a guest sector lies on the disk.
    pub fn disk_lba(&self, lba: u64) -> u64 {
        if self.protected.contains(&lba) { lba + self.shift } else { lba }
    }

    /// What has to be on the disk so that the guest sees `plain` at `lba`.
    pub fn on_disk(&self, lba: u64, plain: &crate::Sector) -> crate::Sector {
        let mut sector = *plain;
        if self.protected.contains(&lba) {
            self.transform.encrypt(lba - self.protected.start, &mut sector);
        }
        sector
    }

    /// What the guest has to see at `lba` when `stored` is on the disk.
    pub fn in_guest(&self, lba: u64, stored: &crate::Sector) -> crate::Sector {
        let mut sector = *stored;
        if self.protected.contains(&lba) {
            self.transform.decrypt(lba - self.protected.start, &mut sector);
        }
        sector
    }
}

impl RangeMap for SimRanges {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        assert!(sectors > 0, "an extent of no sectors was asked for");
        let Range { start, end } = self.protected;
        if self.protected.contains(&lba) {
            let treatment = Treatment::Transform { transform: self.transform.clone(), first_sector: lba - start };
            let (disk_lba, sectors) = (lba + self.shift, sectors.min(end - lba));
            return Extent { disk_lba, sectors, treatment, rights: Rights::ReadWrite };
        }
        let same = if lba < start { sectors.min(start - lba) } else { sectors };
        Extent { disk_lba: lba, sectors: same, treatment: Treatment::Plain, rights: Rights::ReadWrite }
    }

    fn is_protected(&self) -> bool {
        !self.protected.is_empty()
    }
}
