//! The map that tells which ports leave the guest. AMD-V takes its three pages as they are (APM Vol. 2 15.10.1); for VT-x
//! its first two are the I/O bitmaps A and B (SDM Vol. 3C 25.6.4), and what runs over port FFFFh leaves the guest always.

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::SeqCst;

/// Three pages: a bit for each port and, with AMD-V, three more for accesses that run over port FFFFh.
pub const IOPM_BYTES: usize = 3 * 4096;

/// Number of the bit of a port. An access leaves the guest if one of its ports' bits is set.
pub const fn iopm_bit(port: u16) -> usize {
    port as usize
}

/// Sets or clears a bit. A number behind the map's end changes nothing.
pub(crate) fn set(map: &mut [u8], bit: usize, value: bool) {
    let mask = 1_u8 << (bit % 8);
    if let Some(byte) = map.get_mut(bit / 8) {
        *byte = if value { *byte | mask } else { *byte & !mask };
    }
}

/// The I/O permission map, at first with no port leaving the guest. All CPUs read it, and any of them may change it.
#[repr(C, align(4096))]
pub struct IoPermissionMap([AtomicU8; IOPM_BYTES]);

impl IoPermissionMap {
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; IOPM_BYTES])
    }

    /// Accesses to this port leave the guest, or no longer do.
    pub fn intercept(&self, port: u16, on: bool) {
        let bit = iopm_bit(port);
        let mask = 1_u8 << (bit % 8);
        if let Some(byte) = self.0.get(bit / 8) {
            // Its other bits may be changed by another CPU at the same time.
            if on {
                byte.fetch_or(mask, SeqCst)
            } else {
                byte.fetch_and(!mask, SeqCst)
            };
        }
    }

    /// Byte `index`: ports `8 * index` to `8 * index + 7`.
    pub fn byte(&self, index: usize) -> Option<u8> {
        self.0.get(index).map(|byte| byte.load(SeqCst))
    }
}

impl Default for IoPermissionMap {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_a_bit_a_port() {
        let map = IoPermissionMap::new();
        map.intercept(0x1F7, true);
        map.intercept(0xFFFF, true);
        assert_eq!((map.byte(0x3E), map.byte(0x1FFF)), (Some(0x80), Some(0x80)));
        map.intercept(0x1F7, false);
        assert_eq!(map.byte(0x3E), Some(0));
    }

    #[test]
    fn the_map_is_three_aligned_pages() {
        assert_eq!((size_of::<IoPermissionMap>(), align_of::<IoPermissionMap>()), (12288, 4096));
    }
}
