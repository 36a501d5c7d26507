//! What filters of cards are made of, and classes of counters.

use mediator::net::MacAddr;

pub fn is_broadcast(address: &MacAddr) -> bool {
    *address == [0xff; 6]
}

/// To a group of stations, all of them included (IEEE 802.3 s. 3.2.3).
pub fn is_multicast(address: &MacAddr) -> bool {
    let [first, ..] = address;
    first & 1 != 0
}

/// A table of bits that a guest writes by dwords: of hashes of addresses, or of VLANs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bitmap<const DWORDS: usize>([u32; DWORDS]);

impl<const DWORDS: usize> Default for Bitmap<DWORDS> {
    fn default() -> Self {
        Self([0; DWORDS])
    }
}

impl<const DWORDS: usize> Bitmap<DWORDS> {
    /// 0 beyond the end.
    pub fn dword(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Nothing happens beyond the end.
    pub fn set_dword(&mut self, index: usize, value: u32) {
        if let Some(dword) = self.0.get_mut(index) {
            *dword = value;
        }
    }

    pub fn contains(&self, bit: u16) -> bool {
        self.dword(usize::from(bit >> 5)) & 1_u32.wrapping_shl(u32::from(bit) & 31) != 0
    }
}

/// Number of classes of frame lengths.
pub const SIZE_CLASSES: usize = 6;

/// Class of a frame's length, its check sequence included: 64, then to 127, 255, 511, 1023 and more (RFC 2819, etherStatsPkts64Octets and
/// those behind it).
pub fn size_class(len_bytes: usize) -> usize {
    [64, 127, 255, 511, 1023].iter().filter(|most| len_bytes > **most).count()
}
