//! The bitmaps that tell which MSR accesses leave the guest (SDM Vol. 3C 25.6.9).

use crate::permission::set;

/// One page.
pub const MSR_BITMAP_BYTES: usize = 4096;
/// MSRs in each of the two ranges that the bitmaps cover.
const MSR_RANGE: u32 = 0x2000;
/// First MSR of the high range; the low one begins at 0.
const HIGH_RANGE: u32 = 0xC000_0000;
/// The bitmaps in the page: reads low, reads high, writes low, writes high, 1 KiB each.
const WRITES: usize = 2048 * 8;

/// Number of the bit that makes reads of an MSR leave the guest; that of writes is 16,384 bits (2 KiB) higher. `None`:
/// the bitmaps do not cover the MSR, every access leaves the guest.
pub const fn msr_bitmap_bit(msr: u32) -> Option<usize> {
    match msr {
        0..MSR_RANGE => Some(msr as usize),
        HIGH_RANGE..=0xC000_1FFF => Some((msr & 0x1FFF | MSR_RANGE) as usize),
        _ => None,
    }
}

/// The page of MSR bitmaps, at first with no covered MSR leaving the guest.
#[repr(C, align(4096))]
pub struct MsrBitmap([u8; MSR_BITMAP_BYTES]);

impl MsrBitmap {
    pub const fn new() -> Self {
        Self([0; MSR_BITMAP_BYTES])
    }

    /// Accesses to every covered MSR leave the guest.
    pub fn intercept_all(&mut self) {
        self.0.fill(u8::MAX);
    }

    /// Reads and writes of this MSR leave the guest, or do not. Nothing changes for an MSR that the bitmaps do not
    /// cover: its accesses always leave the guest.
    pub fn intercept(&mut self, msr: u32, reads: bool, writes: bool) {
        if let Some(bit) = msr_bitmap_bit(msr) {
            set(&mut self.0, bit, reads);
            set(&mut self.0, bit.saturating_add(WRITES), writes);
        }
    }

    pub fn bytes(&self) -> &[u8; MSR_BITMAP_BYTES] {
        &self.0
    }
}

impl Default for MsrBitmap {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msr;

    #[test]
    fn msrs_have_the_bits_that_the_manual_gives_them() {
        assert_eq!(msr_bitmap_bit(0), Some(0));
        assert_eq!(msr_bitmap_bit(0x1FFF), Some(0x1FFF));
        assert_eq!(msr_bitmap_bit(0x2000), None);
        assert_eq!(msr_bitmap_bit(msr::EFER), Some(1024 * 8 + 0x80));
        assert_eq!(msr_bitmap_bit(0xC000_1FFF), Some(2048 * 8 - 1));
        assert_eq!(msr_bitmap_bit(0xC000_2000), None);
        assert_eq!(msr_bitmap_bit(0xBFFF_FFFF), None);
        assert_eq!(msr_bitmap_bit(u32::MAX), None);
    }

    #[test]
    fn reads_and_writes_are_held_apart() {
        let mut map = MsrBitmap::new();
        map.intercept(msr::EFER, false, true);
        map.intercept(msr::FEATURE_CONTROL, true, true);
        map.intercept(0x4000_0000, true, true);
        assert_eq!((map.bytes()[0x07], map.bytes()[0x807]), (0b100, 0b100));
        assert_eq!((map.bytes()[0x410], map.bytes()[0xC10]), (0, 1));
        assert_eq!(map.bytes().iter().filter(|&&byte| byte != 0).count(), 3);
        map.intercept(msr::EFER, true, false);
        assert_eq!((map.bytes()[0x410], map.bytes()[0xC10]), (1, 0));
    }

    #[test]
    fn the_bitmaps_of_a_guest_that_gets_nothing_are_full() {
        let mut map = MsrBitmap::new();
        map.intercept_all();
        map.intercept(0, false, true);
        assert_eq!(map.bytes()[0], 0b1111_1110);
        assert!(map.bytes()[1..].iter().all(|byte| *byte == 0xFF));
    }

    #[test]
    fn the_bitmaps_are_one_aligned_page() {
        assert_eq!((size_of::<MsrBitmap>(), align_of::<MsrBitmap>()), (4096, 4096));
    }
}
