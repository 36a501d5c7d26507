//! Rings of descriptors and frame buffers of the VMM's own, in the DMA arena.

use mediator::{BusAddr, DmaArena, DmaBuffer};

/// Rings begin at such a multiple, which is enough for every card.
const ALIGN: usize = 4096;

/// A ring of descriptors of `N` bytes each.
pub struct Descriptors<const N: usize> {
    memory: DmaBuffer,
    count: u16,
}

impl<const N: usize> Descriptors<N> {
    /// `count` descriptors, all zero. `None`: the arena is full.
    pub fn new(arena: &mut dyn DmaArena, count: u16) -> Option<Self> {
        let memory = arena.alloc(usize::from(count).checked_mul(N)?.max(1), ALIGN)?;
        Some(Self { memory, count })
    }

    pub fn bus_addr(&self) -> BusAddr {
        self.memory.bus_addr()
    }

    pub fn count(&self) -> u16 {
        self.count
    }

    pub fn len_bytes(&self) -> u32 {
        u32::from(self.count).saturating_mul(N as u32)
    }

    /// The index behind this one.
    pub fn next(&self, index: u16) -> u16 {
        step(index, 1, self.count)
    }

    /// The index `by` (less than the count) further on.
    pub fn step(&self, index: u16, by: u16) -> u16 {
        step(index, by, self.count)
    }

    /// How many lie from `from` up to before `to`.
    pub fn distance(&self, from: u16, to: u16) -> u16 {
        if to >= from { to.wrapping_sub(from) } else { self.count.saturating_sub(from).saturating_add(to) }
    }

    /// A copy; zeros beyond the end.
    pub fn read(&self, arena: &mut dyn DmaArena, index: u16) -> [u8; N] {
        self.bytes(arena, index).map_or([0; N], |bytes| *bytes)
    }

    pub fn write(&self, arena: &mut dyn DmaArena, index: u16, descriptor: &[u8; N]) {
        if let Some(bytes) = self.bytes(arena, index) {
            *bytes = *descriptor;
        }
    }

    fn bytes<'a>(&self, arena: &'a mut dyn DmaArena, index: u16) -> Option<&'a mut [u8; N]> {
        let offset = (index < self.count).then(|| u64::from(index).saturating_mul(N as u64))?;
        arena.bytes(self.memory.bus_addr().checked_add(offset)?, N).ok()?.first_chunk_mut()
    }

    pub fn free(self, arena: &mut dyn DmaArena) {
        arena.free(self.memory);
    }
}

fn step(index: u16, by: u16, count: u16) -> u16 {
    let sum = u32::from(index).saturating_add(by.into());
    sum.checked_rem(count.into()).and_then(|index| u16::try_from(index).ok()).unwrap_or(0)
}

/// Frame buffers of one size, one for each descriptor of a ring.
pub struct Frames {
    memory: DmaBuffer,
    each: usize,
    count: u16,
}

impl Frames {
    /// `None`: the arena is full.
    pub fn new(arena: &mut dyn DmaArena, count: u16, each_bytes: usize) -> Option<Self> {
        let memory = arena.alloc(usize::from(count).checked_mul(each_bytes)?.max(1), ALIGN)?;
        Some(Self { memory, each: each_bytes, count })
    }

    /// Where a buffer lies; the first one beyond the end.
    pub fn addr(&self, index: u16) -> BusAddr {
        let offset = if index < self.count { u64::from(index).saturating_mul(self.each as u64) } else { 0 };
        self.memory.bus_addr().checked_add(offset).unwrap_or(self.memory.bus_addr())
    }

    /// The first `len_bytes` of a buffer. `None`: it is shorter, or there is none of this number.
    pub fn bytes<'a>(&self, arena: &'a mut dyn DmaArena, index: u16, len_bytes: usize) -> Option<&'a mut [u8]> {
        let inside = index < self.count && len_bytes <= self.each;
        inside.then(|| arena.bytes(self.addr(index), len_bytes).ok()).flatten()
    }

    pub fn free(self, arena: &mut dyn DmaArena) {
        arena.free(self.memory);
    }
}
