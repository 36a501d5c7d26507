//! Guests that ask for as much as the registers let them, while the device does nothing: what the mediators hold of it fits the part
//! of the VMM's heap that is each controller's. A VMM whose heap is full stops.

use scenario::ahci::{AhciRig, DATA as REGIONS};
use scenario::nvme::{DATA, LISTS, NvmeRig};
use sim::ahci::{Table, fis};
use sim::nvme::{Entry, Queue, read};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// As the VMM's heap has it for each controller (`hw::heap`).
const HEAP_BYTES_EACH: usize = 512 << 10;

/// Counts what is allocated; the mediators forbid unsafe code, which a global allocator cannot be without.
struct Counting;
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: hands every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(NOW.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// One test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Most bytes that were allocated at a time during a call, beyond those before.
fn most_bytes(call: impl FnOnce()) -> usize {
    let before = NOW.load(SeqCst);
    MOST.store(before, SeqCst);
    call();
    MOST.load(SeqCst) - before
}

#[test]
fn an_nvme_guest_with_all_queues_full_does_not_fill_the_heap_and_is_served_in_the_end() {
    const QUEUES: u16 = 16;
    const COMMANDS: usize = 62;
    let _alone = ALONE.lock().unwrap();
    let mut rig = NvmeRig::bare(sim::Platter::new(scenario::nvme::SECTORS), sim::SimRanges::new(1000..0x8_0000));
    rig.guest.enable(&mut rig.machine, 32, false).unwrap();
    let count = u32::from(QUEUES - 1) * 0x1_0001;
    rig.guest.admin(&mut rig.machine, Entry::new(9, 0).dword(10, 7).dword(11, count)).unwrap();
    (1..=QUEUES).for_each(|id| rig.guest.create(&mut rig.machine, Queue::new(id, 64, false)).unwrap());
    // Pages that do not follow each other.
    for n in 1..32 {
        rig.machine.ram.poke(LISTS + 8 * (n - 1), &(DATA + n * 0x2000).to_le_bytes());
    }
    for id in 1..=QUEUES {
        for _ in 0..COMMANDS {
            rig.guest.put(&mut rig.machine, id, read(1, 5000, 256).prps(DATA, LISTS));
        }
    }
    let most = most_bytes(|| (1..=QUEUES).for_each(|id| rig.guest.ring(&mut rig.machine, id)));
    assert!(most < HEAP_BYTES_EACH, "{most} bytes");
    let all = usize::from(QUEUES) * COMMANDS;
    for _ in 0..100 * all {
        rig.guest.look(&mut rig.machine);
        if rig.guest.seen.len() == all {
            break;
        }
        rig.machine.tick();
    }
    assert_eq!(rig.guest.seen.len(), all);
    assert!(rig.guest.seen.iter().all(|(_, reply)| reply.status == 0));
}

#[test]
fn an_ahci_guest_with_all_slots_in_small_pieces_does_not_fill_the_heap_and_is_served_in_the_end() {
    let _alone = ALONE.lock().unwrap();
    let mut rig = AhciRig::new();
    let pieces = |count: u64| (0..count).map(|n| (REGIONS + 4 * n, 2)).collect::<Vec<_>>();
    for slot in 0..32 {
        // 4096 bytes of the disk; one table for all.
        let table = Table { at: 0x60_0000, regions: pieces(2048) };
        rig.guest(0).prepare(slot, fis(0x25, 5000, 8, slot), false, &table);
    }
    let most = most_bytes(|| rig.guest(0).ring(u32::MAX, false).unwrap());
    assert!(most < HEAP_BYTES_EACH, "{most} bytes");
    rig.guest(0).finish(u32::MAX).unwrap();
    // More pieces than are followed.
    let table = Table { at: 0x60_0000, regions: pieces(5 * 2048) };
    rig.guest(0).prepare(3, fis(0x25, 5000, 40, 3), false, &table);
    let most = most_bytes(|| rig.guest(0).ring(1 << 3, false).unwrap());
    assert!(most < HEAP_BYTES_EACH, "{most} bytes");
    assert!(matches!(rig.guest(0).finish(1 << 3), Err(sim::ahci::Failure::Device { .. })));
    rig.recovers();
}
