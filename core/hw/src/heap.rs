//! The heap. It lies in the image's own `.bss`, so that it serves from the first instruction on and moves with the
//! image.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use linked_list_allocator::Heap as FreeList;
use lock::{Ranked, rank::HEAP};

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
pub struct Heap(Ranked<FreeList, HEAP>);

impl Heap {
    pub const fn new() -> Self {
        Self(Ranked::new(FreeList::empty()))
    }

    /// Must be called once, before the first allocation.
    pub fn init(&self) {
        let memory = &raw mut MEMORY;
        // SAFETY: called once, at the start, when nothing else refers to MEMORY.
        self.0.lock().init_from_slice(unsafe { &mut (*memory).0 });
    }

    /// What is allocated, of [`HEAP_BYTES`].
    pub fn used_bytes(&self) -> usize {
        self.0.lock().used()
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: hands every call on to an allocator that fulfils the contract, one at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if let Some(ptr) = NonNull::new(ptr) {
            // Keys and what they were made from pass through many hands; here all of them come by.
            // SAFETY: as large as it was asked for, and the caller uses it no more.
            unsafe { core::ptr::write_bytes(ptr.as_ptr(), 0, layout.size()) };
            // SAFETY: the caller's promise is handed on.
            unsafe { self.0.lock().deallocate(ptr, layout) }
        }
    }
}
