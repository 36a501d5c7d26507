//! The heap: it grows page by page up to the program's budget.
//!
//! Unsafe: an allocator is; what the system call gives is nobody else's memory.

use crate::system_call::pass;
use abi::call::GROW;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use linked_list_allocator::Heap as FreeList;
use spin::Mutex;

/// Grown by at least so much at once.
const LEAST_BYTES: usize = 8 << 10;
const PAGE_BYTES: usize = 4096;

struct Heap(Mutex<FreeList>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(FreeList::empty()));
/// The budget did not suffice once.
static IS_FULL: AtomicBool = AtomicBool::new(false);

pub fn is_full() -> bool {
    IS_FULL.load(Relaxed)
}

// SAFETY: hands every call on to an allocator that fulfils the contract, one at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut list = self.0.lock();
        list.allocate_first_fit(layout)
            .or_else(|()| {
                grow(&mut list, layout)?;
                list.allocate_first_fit(layout)
            })
            .map_or_else(
                |()| {
                    IS_FULL.store(true, Relaxed);
                    null_mut()
                },
                NonNull::as_ptr,
            )
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if let Some(ptr) = NonNull::new(ptr) {
            // SAFETY: the caller's promise is handed on.
            unsafe { self.0.lock().deallocate(ptr, layout) }
        }
    }
}

fn grow(list: &mut FreeList, layout: Layout) -> Result<(), ()> {
    // What the list keeps of a hole, and what the alignment may cost.
    let wanted = layout.size().checked_add(layout.align() + 64).ok_or(())?;
    let bytes = wanted.max(LEAST_BYTES).next_multiple_of(PAGE_BYTES);
    let [at, _] = pass(GROW, [bytes as u64, 0, 0, 0]).map_err(|_| ())?;
    // SAFETY: new memory, which begins where the heap ended so far.
    unsafe { if list.size() == 0 { list.init(at as *mut u8, bytes) } else { list.extend(bytes) } }
    Ok(())
}
