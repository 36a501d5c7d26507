//! The heap. It lies in the image's own `.bss`, so that it serves from the first instruction on and moves with the
//! image.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use linked_list_allocator::LockedHeap;

/// Enough for the decoder's tables (0.4 MiB), configuration, range maps and mediators.
pub const HEAP_BYTES: usize = 2 << 20;

#[repr(align(4096))]
struct Memory([MaybeUninit<u8>; HEAP_BYTES]);
static mut MEMORY: Memory = Memory([MaybeUninit::uninit(); HEAP_BYTES]);

/// Where the heap lies, by virtual address.
pub fn range() -> core::ops::Range<u64> {
    let start = &raw const MEMORY as u64;
    start..start + HEAP_BYTES as u64
}

/// Registered as the global allocator by the binary.
pub struct Heap(LockedHeap);

impl Heap {
    pub const fn new() -> Self {
        Self(LockedHeap::empty())
    }

    /// Must be called once, before the first allocation.
    pub fn init(&self) {
        let memory = &raw mut MEMORY;
        // SAFETY: called once, at the start, when nothing else refers to MEMORY.
        self.0.lock().init_from_slice(unsafe { &mut (*memory).0 });
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: hands every call on to an allocator that fulfils the contract.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is handed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { self.0.dealloc(ptr, layout) }
    }
}
