//! The heap. It lies in the image's own `.bss`, so that it serves from the first instruction on and moves with the
//! image. Frames are added to it on machines of many CPUs.

use crate::{direct, frames};
use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use linked_list_allocator::Heap as FreeList;
use lock::{Ranked, rank::HEAP};

/// Enough for the decoder's tables (0.4 MiB), configuration, range maps, mediators, and for what [`FIRST_CPUS`] take.
const HEAP_BYTES: usize = 2 << 20;
const FIRST_CPUS: usize = 8;
/// What each further CPU takes: its ring of the log and its answers to hypercalls (16 KiB each), counters, decoded instructions, its part
/// of an answer that tells of all CPUs.
const CPU_BYTES: usize = 48 << 10;

#[repr(align(4096))]
struct Memory([MaybeUninit<u8>; HEAP_BYTES]);
static mut MEMORY: Memory = Memory([MaybeUninit::uninit(); HEAP_BYTES]);

/// Where the image's part of the heap lies, by virtual address.
pub fn range() -> Range<u64> {
    let start = &raw const MEMORY as u64;
    start..start + HEAP_BYTES as u64
}

/// First address of the part that was added, and the one behind it.
static ADDED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Where the part lies that was added, by virtual address; empty where there is none.
pub fn added() -> Range<u64> {
    let [start, end] = ADDED.each_ref().map(|at| at.load(Relaxed));
    start..end
}

/// Of both parts.
pub fn len_bytes() -> usize {
    let added = added();
    HEAP_BYTES + (added.end - added.start) as usize
}

/// What the mediator of a storage controller holds of the guest's requests at most; the guest chooses how much it is.
const CONTROLLER_BYTES: usize = 512 << 10;

/// What a network card and its tunnel hold of frames at most.
const CARD_BYTES: usize = 1 << 20;

/// Frames that so many CPUs, storage controllers and network cards add. Runs of frames are powers of two: the rest of one would serve
/// nobody else.
fn frames_for(cpus: usize, controllers: usize, cards: usize) -> usize {
    match cpus.saturating_sub(FIRST_CPUS) * CPU_BYTES + controllers * CONTROLLER_BYTES + cards * CARD_BYTES {
        0 => 0,
        bytes => bytes.div_ceil(frames::FRAME_BYTES as usize).next_power_of_two(),
    }
}

/// Registered as the global allocator by the binary.
pub struct Heap(Ranked<Lists, HEAP>);

struct Lists {
    image: FreeList,
    added: FreeList,
}

impl Heap {
    pub const fn new() -> Self {
        Self(Ranked::new(Lists { image: FreeList::empty(), added: FreeList::empty() }))
    }

    /// Must be called once, before the first allocation.
    pub fn init(&self) {
        let memory = &raw mut MEMORY;
        // SAFETY: called once, at the start, when nothing else refers to MEMORY.
        self.0.lock().image.init_from_slice(unsafe { &mut (*memory).0 });
    }

    /// Makes room for so many CPUs, storage controllers and network cards. Called once, when there are frames and the direct map.
    /// `None`: the frames do not suffice.
    pub fn grow_for(&self, cpus: usize, controllers: usize, cards: usize) -> Option<()> {
        let count = frames_for(cpus, controllers, cards);
        if count > 0 {
            let at = direct::pointer(frames::alloc_as_it_is(count)?);
            // SAFETY: the frames are the heap's for good, and the direct map covers them.
            unsafe { self.add(at, count * frames::FRAME_BYTES as usize) };
        }
        Some(())
    }

    /// # Safety
    /// The bytes are the heap's for good. It was not called before.
    unsafe fn add(&self, start: *mut u8, len: usize) {
        ADDED[0].store(start as u64, Relaxed);
        ADDED[1].store(start as u64 + len as u64, Relaxed);
        // SAFETY: the caller's promise is handed on.
        unsafe { self.0.lock().added.init(start, len) };
    }

    /// What is allocated, of [`len_bytes`].
    pub fn used_bytes(&self) -> usize {
        let lists = self.0.lock();
        lists.image.used() + lists.added.used()
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
        let Lists { image, added } = &mut *self.0.lock();
        let place = image.allocate_first_fit(layout).or_else(|()| added.allocate_first_fit(layout));
        place.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if let Some(ptr) = NonNull::new(ptr) {
            // Keys and what they were made from pass through many hands; here all of them come by.
            // SAFETY: as large as it was asked for, and the caller uses it no more.
            unsafe { core::ptr::write_bytes(ptr.as_ptr(), 0, layout.size()) };
            let Lists { image, added } = &mut *self.0.lock();
            let list = if range().contains(&(ptr.as_ptr() as u64)) { image } else { added };
            // SAFETY: the caller's promise is handed on; what is not of the image's part is of the other one.
            unsafe { list.deallocate(ptr, layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_heap_grows_with_the_number_of_cpus_of_storage_controllers_and_of_network_cards() {
        assert_eq!([1, 8, 9, 16, 40, 255].map(|cpus| frames_for(cpus, 0, 0)), [0, 0, 16, 128, 512, 4096]);
        assert_eq!([1, 2, 3].map(|controllers| frames_for(1, controllers, 0)), [128, 256, 512]);
        assert_eq!(frames_for(9, 1, 0), 256);
        assert_eq!([1, 2].map(|cards| frames_for(1, 1, cards)), [512, 1024]);
    }

    #[test]
    fn a_heap_that_is_full_goes_on_in_what_was_added() {
        let layout = Layout::from_size_align(16 << 10, 8).unwrap();
        let heap = Heap::new();
        heap.init();
        let fill = || -> Vec<*mut u8> {
            // SAFETY: the size is not 0.
            core::iter::repeat_with(|| unsafe { heap.alloc(layout) }).take_while(|at| !at.is_null()).collect()
        };
        let mut blocks = fill();
        let further = std::vec![0_u8; 1 << 19].leak();
        // SAFETY: leaked for it.
        unsafe { heap.add(further.as_mut_ptr(), further.len()) };
        assert_eq!(len_bytes(), HEAP_BYTES + (1 << 19));
        let further = fill();
        assert!(further.len() >= 31 && further.iter().all(|at| added().contains(&(*at as u64))), "{}", further.len());
        blocks.extend(further);
        assert_eq!(heap.used_bytes(), blocks.len() * layout.size());
        // SAFETY: blocks of this heap, each freed once.
        blocks.iter().for_each(|at| unsafe { heap.dealloc(*at, layout) });
        assert_eq!((heap.used_bytes(), fill().len()), (0, blocks.len()), "each came back to its part");
    }
}
