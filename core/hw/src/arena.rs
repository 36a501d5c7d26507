//! The DMA arena: the only VMM memory that a device is ever pointed at.

use crate::frames::FRAME_BYTES;
use crate::{Hpa, HpaRange, direct, frames};
use alloc::vec::Vec;
use buddy_system_allocator::FrameAllocator;
use lock::{Ranked, rank::ARENA};
use mediator::{BusAddr, DmaArena, DmaBuffer, OutOfArena};

/// Sizes of the pieces that an arena is made of.
const PIECES: [u64; 3] = [4 << 20, 2 << 20, 1 << 20];

/// Pages handed out to mediators. Without an IOMMU a bus address is the host-physical one.
pub struct Pool {
    /// In the order of their addresses; between two of them there is something else.
    ranges: Vec<HpaRange>,
    free: Ranked<FrameAllocator<16>, ARENA>,
}

impl Pool {
    /// Takes up to `len_bytes` from the frames, in pieces as they are to be had, of which `others` bytes are left. `None` when there
    /// is not even one of [`PIECES`].
    pub fn new(len_bytes: u64, others: u64) -> Option<Self> {
        let (mut ranges, mut left) = (Vec::new(), len_bytes);
        for piece in PIECES {
            let is_spare = || frames::free_count() as u64 * FRAME_BYTES >= piece + others;
            while left >= piece && is_spare() {
                // Each buffer is zeroed when it is handed out.
                let Some(Hpa(start)) = frames::alloc_as_it_is((piece / FRAME_BYTES) as usize) else { break };
                ranges.push(HpaRange { start, end: start + piece });
                left -= piece;
            }
        }
        let ranges = joined(ranges);
        let mut free = FrameAllocator::new();
        for range in &ranges {
            free.add_frame((range.start / FRAME_BYTES) as usize, (range.end / FRAME_BYTES) as usize);
        }
        (!ranges.is_empty()).then_some(Self { ranges, free: Ranked::new(free) })
    }

    pub fn len_bytes(&self) -> u64 {
        self.ranges.iter().map(HpaRange::len_bytes).sum()
    }
}

/// A buffer may lie in two of them that touch.
fn joined(mut ranges: Vec<HpaRange>) -> Vec<HpaRange> {
    ranges.sort_by_key(|range| range.start);
    ranges.dedup_by(|next, before| {
        let touch = before.end == next.start;
        before.end = if touch { next.end } else { before.end };
        touch
    });
    ranges
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
        if !self.0.ranges.iter().any(|range| range.start <= at.0 && end <= range.end) {
            return Err(OutOfArena);
        }
        // SAFETY: inside the arena. Each buffer of it is one mediator's, which one CPU at a time calls, or lent to one work, which one
        // CPU performs; the contract wants the device quiet, and one that is not can only change the values of plain bytes.
        Ok(unsafe { core::slice::from_raw_parts_mut(direct::pointer(Hpa(at.0)), len_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let ranges = |ends: &[(u64, u64)]| ends.iter().map(|&(start, end)| HpaRange { start, end }).collect::<Vec<_>>();
        let joined = joined(ranges(&[(8, 12), (20, 24), (4, 8), (12, 14), (30, 31)]));
        assert_eq!(joined, ranges(&[(4, 14), (20, 24), (30, 31)]));
    }
}
