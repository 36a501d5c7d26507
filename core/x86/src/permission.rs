//! The map that tells which ports leave the guest. AMD-V takes its three pages as they are (APM Vol. 2 15.10.1); for VT-x
//! its first two are the I/O bitmaps A and B (SDM Vol. 3C 25.6.4), and what runs over port FFFFh leaves the guest always.

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

/// The I/O permission map, at first with no port leaving the guest.
#[repr(C, align(4096))]
pub struct IoPermissionMap([u8; IOPM_BYTES]);

impl IoPermissionMap {
    pub const fn new() -> Self {
        Self([0; IOPM_BYTES])
    }

    /// Accesses to this port leave the guest, or no longer do.
    pub fn intercept(&mut self, port: u16, on: bool) {
        set(&mut self.0, iopm_bit(port), on);
    }

    pub fn bytes(&self) -> &[u8; IOPM_BYTES] {
        &self.0
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
        let mut map = IoPermissionMap::new();
        map.intercept(0x1F7, true);
        map.intercept(0xFFFF, true);
        assert_eq!((map.bytes()[0x3E], map.bytes()[0x1FFF]), (0x80, 0x80));
        map.intercept(0x1F7, false);
        assert_eq!(map.bytes()[0x3E], 0);
    }

    #[test]
    fn the_map_is_three_aligned_pages() {
        assert_eq!((size_of::<IoPermissionMap>(), align_of::<IoPermissionMap>()), (12288, 4096));
    }
}
