//! Statistics registers (SDM s. 13.7, DS s. 10.2.7): each is cleared by reading it, and stays at its end.

/// Registers from 4000h on.
const COUNT: usize = 0x4a;

/// Offsets from the first one, in dwords.
mod at {
    pub const MPC: usize = 0x10 / 4;
    pub const PRC64: usize = 0x5c / 4;
    pub const GPRC: usize = 0x74 / 4;
    pub const BPRC: usize = 0x78 / 4;
    pub const MPRC: usize = 0x7c / 4;
    pub const GPTC: usize = 0x80 / 4;
    pub const GORC: usize = 0x88 / 4;
    pub const GOTC: usize = 0x90 / 4;
    pub const TOR: usize = 0xc0 / 4;
    pub const TOT: usize = 0xc8 / 4;
    pub const TPR: usize = 0xd0 / 4;
    pub const TPT: usize = 0xd4 / 4;
    pub const PTC64: usize = 0xd8 / 4;
    pub const MPTC: usize = 0xf0 / 4;
    pub const BPTC: usize = 0xf4 / 4;
    pub const TSCTC: usize = 0xf8 / 4;
    /// Counters of 64 bits: the upper half lies behind, and clears both.
    pub const WIDE: [usize; 4] = [GORC, GOTC, TOR, TOT];
}

/// See the module.
pub struct Statistics([u32; COUNT]);

impl Default for Statistics {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Statistics {
    /// The register at this offset from the first; a read of the guest's.
    pub fn take(&mut self, offset_bytes: u32) -> u32 {
        let index = (offset_bytes / 4) as usize;
        let value = self.get(index);
        if at::WIDE.contains(&index) {
            return value;
        }
        self.set(index, 0);
        if let Some(low) = index.checked_sub(1).filter(|low| at::WIDE.contains(low)) {
            self.set(low, 0);
        }
        value
    }

    fn get(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }

    fn set(&mut self, index: usize, value: u32) {
        if let Some(place) = self.0.get_mut(index) {
            *place = value;
        }
    }

    fn add(&mut self, index: usize, by: u32) {
        self.set(index, self.get(index).saturating_add(by));
    }

    fn add_wide(&mut self, index: usize, by: u64) {
        let high = index.saturating_add(1);
        let old = u64::from(self.get(index)) | u64::from(self.get(high)) << 32;
        let new = old.saturating_add(by);
        // Halves.
        self.set(index, new as u32);
        self.set(high, (new >> 32) as u32);
    }

    /// A frame for which there was no room.
    pub fn missed(&mut self) {
        self.add(at::MPC, 1);
    }

    /// A frame that came; `octets` with its check sequence.
    pub fn received(&mut self, frame: &[u8], octets: usize) {
        self.count(frame, octets, [at::GPRC, at::TPR, at::PRC64, at::BPRC, at::MPRC], [at::GORC, at::TOR]);
    }

    pub fn sent(&mut self, frame: &[u8], octets: usize) {
        self.count(frame, octets, [at::GPTC, at::TPT, at::PTC64, at::BPTC, at::MPTC], [at::GOTC, at::TOT]);
    }

    /// A packet was segmented.
    pub fn segmented(&mut self) {
        self.add(at::TSCTC, 1);
    }

    fn count(&mut self, frame: &[u8], octets: usize, frames: [usize; 5], bytes: [usize; 2]) {
        let [good, total, first_class, broadcast, multicast] = frames;
        let to = frame.first_chunk().copied().unwrap_or([0; 6]);
        self.add(good, 1);
        self.add(total, 1);
        self.add(first_class.saturating_add(net::size_class(octets)), 1);
        if net::is_broadcast(&to) {
            self.add(broadcast, 1);
        } else if net::is_multicast(&to) {
            self.add(multicast, 1);
        }
        for counter in bytes {
            self.add_wide(counter, octets as u64);
        }
    }
}
