//! The map that tells which MSRs leave the guest.

use crate::permission::set;

/// Two pages (APM Vol. 2 15.11).
pub const MSRPM_BYTES: usize = 2 * 4096;
/// Reserved bytes at its end.
const MSRPM_RESERVED: usize = 0x800;
/// MSRs in each of the ranges that the map covers.
const MSR_RANGE: u32 = 0x2000;
/// First MSR of each range, in the order of the map.
const MSR_RANGES: [u32; 3] = [0, 0xC000_0000, 0xC001_0000];

/// Number of the bit that makes reads of an MSR leave the guest; that of writes is the next. `None`: the map does
/// not cover the MSR, every access leaves the guest.
pub fn msrpm_bit(msr: u32) -> Option<usize> {
    let range = MSR_RANGES.iter().position(|&first| msr.checked_sub(first).is_some_and(|n| n < MSR_RANGE))?;
    let within = msr.checked_rem(MSR_RANGE)?;
    let number = range.checked_mul(MSR_RANGE as usize)?.checked_add(usize::try_from(within).ok()?)?;
    number.checked_mul(2)
}

/// The MSR permission map, at first with no covered MSR leaving the guest.
#[repr(C, align(4096))]
pub struct MsrPermissionMap([u8; MSRPM_BYTES]);

impl MsrPermissionMap {
    pub const fn new() -> Self {
        Self([0; MSRPM_BYTES])
    }

    /// Accesses to every covered MSR leave the guest; the last quarter of the map is reserved.
    pub fn intercept_all(&mut self) {
        let covered = self.0.len().saturating_sub(MSRPM_RESERVED);
        self.0.iter_mut().take(covered).for_each(|byte| *byte = u8::MAX);
    }

    /// Reads and writes of this MSR leave the guest, or do not. Nothing changes for an MSR that the map does not
    /// cover: its accesses always leave the guest.
    pub fn intercept(&mut self, msr: u32, reads: bool, writes: bool) {
        if let Some(bit) = msrpm_bit(msr) {
            set(&mut self.0, bit, reads);
            set(&mut self.0, bit.saturating_add(1), writes);
        }
    }

    pub fn bytes(&self) -> &[u8; MSRPM_BYTES] {
        &self.0
    }
}

impl Default for MsrPermissionMap {
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
        assert_eq!(msrpm_bit(0), Some(0));
        assert_eq!(msrpm_bit(0x1FFF), Some(0x7FF * 8 + 6));
        assert_eq!(msrpm_bit(0x2000), None);
        assert_eq!(msrpm_bit(msr::EFER), Some((0x800 + 0x20) * 8));
        assert_eq!(msrpm_bit(0xC000_1FFF), Some(0xFFF * 8 + 6));
        assert_eq!(msrpm_bit(0xC000_2000), None);
        assert_eq!(msrpm_bit(0xC001_0000), Some(0x1000 * 8));
        assert_eq!(msrpm_bit(msr::VM_HSAVE_PA), Some((0x1000 + 0x45) * 8 + 6));
        assert_eq!(msrpm_bit(0xC001_1FFF), Some(0x17FF * 8 + 6));
        assert_eq!(msrpm_bit(0xC001_2000), None);
        assert_eq!(msrpm_bit(u32::MAX), None);
    }

    #[test]
    fn the_map_of_msrs_holds_reads_and_writes_apart() {
        let mut map = MsrPermissionMap::new();
        map.intercept(msr::EFER, false, true);
        map.intercept(msr::VM_HSAVE_PA, true, true);
        map.intercept(0x4000_0000, true, true);
        assert_eq!((map.bytes()[0x820], map.bytes()[0x1045]), (0b10, 0b1100_0000));
        assert_eq!(map.bytes().iter().filter(|&&byte| byte != 0).count(), 2);
        map.intercept(msr::EFER, true, false);
        assert_eq!(map.bytes()[0x820], 0b01);
    }

    #[test]
    fn the_map_of_a_guest_that_gets_nothing_is_full_up_to_its_reserved_part() {
        let mut map = MsrPermissionMap::new();
        map.intercept_all();
        assert!(map.bytes()[..0x1800].iter().all(|byte| *byte == 0xFF));
        assert!(map.bytes()[0x1800..].iter().all(|byte| *byte == 0));
        map.intercept(0xC001_1FFF, false, true);
        assert_eq!(map.bytes()[0x17FF], 0b1011_1111);
    }

    #[test]
    fn the_map_is_two_aligned_pages() {
        assert_eq!((size_of::<MsrPermissionMap>(), align_of::<MsrPermissionMap>()), (8192, 4096));
    }
}
