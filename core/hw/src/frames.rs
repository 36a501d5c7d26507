//! Page frames of the memory that Shoji keeps.

use crate::{Hpa, HpaRange, direct};
use buddy_system_allocator::FrameAllocator;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use lock::{Ranked, rank::FRAMES as RANK};

pub const FRAME_BYTES: u64 = 4096;

// Order 16 reaches runs of 128 MiB, more than a reservation's free part ever is.
/// How many are free.
static FREE: AtomicUsize = AtomicUsize::new(0);

static FRAMES: Ranked<FrameAllocator<16>, RANK> = Ranked::new(FrameAllocator::new());

/// Adds free memory. It must be reachable through the direct map.
///
/// # Safety
/// The range is Shoji's and nobody else uses it.
pub unsafe fn add(range: HpaRange) {
    let (start, end) = ((range.start / FRAME_BYTES) as usize, (range.end / FRAME_BYTES) as usize);
    FRAMES.lock().add_frame(start, end);
    FREE.fetch_add(end - start, Relaxed);
}

/// `count` contiguous frames, aligned to the next power of two of their size, with whatever was in them.
pub fn alloc_as_it_is(count: usize) -> Option<Hpa> {
    let first = FRAMES.lock().alloc(count)?;
    FREE.fetch_sub(count.next_power_of_two(), Relaxed);
    Some(Hpa(first as u64 * FRAME_BYTES))
}

/// The same, zeroed.
pub fn alloc(count: usize) -> Option<Hpa> {
    let at = alloc_as_it_is(count)?;
    // SAFETY: the frames were free a moment ago and are now ours alone; the direct map covers them.
    unsafe { core::ptr::write_bytes(direct::pointer(at), 0, count * FRAME_BYTES as usize) };
    Some(at)
}

/// Gives `count` frames back that one call of [`alloc`] gave.
///
/// # Safety
/// Nobody uses them any more, nor a device.
pub unsafe fn free(first: Hpa, count: usize) {
    FRAMES.lock().dealloc((first.0 / FRAME_BYTES) as usize, count);
    FREE.fetch_add(count.next_power_of_two(), Relaxed);
}

/// How many are free.
pub fn free_count() -> usize {
    FREE.load(Relaxed)
}
