//! The DMA arena: the only VMM memory that a device is ever pointed at.

use crate::frames::FRAME_BYTES;
use crate::{Hpa, HpaRange, direct, frames};
use buddy_system_allocator::FrameAllocator;
use lock::{Ranked, rank::ARENA};
use mediator::{BusAddr, DmaArena, DmaBuffer, OutOfArena};

/// Pages handed out to mediators. Without an IOMMU a bus address is the host-physical one.
pub struct Pool {
    range: HpaRange,
    free: Ranked<FrameAllocator<16>, ARENA>,
}

impl Pool {
    /// Takes `len_bytes` (a multiple of the frame size) from the frames, or `None` when they do not suffice.
    pub fn new(len_bytes: u64) -> Option<Self> {
        // Each buffer is zeroed when it is handed out.
        let start = frames::alloc_as_it_is((len_bytes / FRAME_BYTES) as usize)?.0;
        let range = HpaRange { start, end: start + len_bytes };
        let mut free = FrameAllocator::new();
        free.add_frame((start / FRAME_BYTES) as usize, (range.end / FRAME_BYTES) as usize);
        Some(Self { range, free: Ranked::new(free) })
    }
}

/// The arena, as one CPU reaches it.
pub struct Arena(pub &'static Pool);

fn frame_count(len_bytes: usize) -> usize {
    len_bytes.div_ceil(FRAME_BYTES as usize)
}

impl DmaArena for Arena {
    fn alloc(&mut self, len_bytes: usize, align: usize) -> Option<DmaBuffer> {
        // The buddy allocator aligns to the run's own size, rounded up to a power of two.
        let count = frame_count(len_bytes.max(align)).next_power_of_two();
        let first = self.0.free.lock().alloc(count)?;
        let at = first as u64 * FRAME_BYTES;
        // SAFETY: inside the arena, free until now; no device knows the address yet.
        unsafe { core::ptr::write_bytes(direct::pointer(Hpa(at)), 0, len_bytes) };
        Some(DmaBuffer::new(BusAddr(at), count * FRAME_BYTES as usize))
    }

    fn free(&mut self, buffer: DmaBuffer) {
        let first = (buffer.bus_addr().0 / FRAME_BYTES) as usize;
        self.0.free.lock().dealloc(first, frame_count(buffer.len_bytes()));
    }

    fn bytes(&mut self, at: BusAddr, len_bytes: usize) -> Result<&mut [u8], OutOfArena> {
        let end = at.0.checked_add(len_bytes as u64).ok_or(OutOfArena)?;
        if at.0 < self.0.range.start || end > self.0.range.end {
            return Err(OutOfArena);
        }
        // SAFETY: inside the arena. Each buffer of it is one mediator's, which one CPU at a time calls, or lent to one work, which one
        // CPU performs; the contract wants the device quiet, and one that is not can only change the values of plain bytes.
        Ok(unsafe { core::slice::from_raw_parts_mut(direct::pointer(Hpa(at.0)), len_bytes) })
    }
}
