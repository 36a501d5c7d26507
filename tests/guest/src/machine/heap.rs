//! A heap for what needs one: allocations lie one behind the other, and all memory is free again when the last
//! allocation has gone.

use super::memory::{BUFFER_BYTES, buffer_address};
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Behind the buffers that guests use.
const BUFFER: usize = 64;

struct Heap {
    used_bytes: AtomicUsize,
    allocations: AtomicUsize,
}

#[global_allocator]
static HEAP: Heap = Heap { used_bytes: AtomicUsize::new(0), allocations: AtomicUsize::new(0) };

// SAFETY: the program has one thread, and no interrupt handler allocates; each allocation lies behind the ones before it,
// and the space starts anew only when none is left.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = self.used_bytes.load(Relaxed).next_multiple_of(layout.align());
        let end = at + layout.size();
        if end > BUFFER_BYTES {
            return core::ptr::null_mut();
        }
        self.used_bytes.store(end, Relaxed);
        self.allocations.fetch_add(1, Relaxed);
        (buffer_address(BUFFER) + at as u64) as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        if self.allocations.fetch_sub(1, Relaxed) == 1 {
            self.used_bytes.store(0, Relaxed);
        }
    }
}
