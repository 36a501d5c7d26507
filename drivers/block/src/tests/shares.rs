//! Disks of one controller whose requests never end.

use super::bench::{Bench, SMALL};
use crate::PAGE_BYTES;

const AT: u64 = 0x20_0000;
const POOL: usize = 64 * PAGE_BYTES;

/// A read of 64 KiB that the device is given and does not end.
fn hang(bench: &mut Bench, disk: u32, tag: u32) {
    bench.submit_to(disk, tag, false, SMALL.start, 128, &[(AT, 0x1_0000)]);
}

/// What the device has of other disks ends, part by part, with those of this disk left where they are.
fn run_others(bench: &mut Bench, hung: impl Fn(u32) -> bool) {
    loop {
        while !bench.work.is_empty() {
            bench.work_ends(0);
        }
        let Some(index) = bench.device.iter().position(|transfer| !hung(transfer.tag)) else { return };
        bench.device_ends(index);
    }
}

#[test]
fn disks_whose_requests_never_end_hold_up_no_other() {
    let mut bench = Bench::new(POOL);
    bench.queue.share([0, 1, 2, 3].into_iter());
    // Two of them, with more than there are buffers and places for, small ones between so that what is free lies scattered.
    for tag in 0..200 {
        let disk = tag % 2;
        if bench.queue.has_room_for(disk) {
            hang(&mut bench, disk, tag);
            bench.submit_to(disk, 300 + tag, false, SMALL.start, 8, &[(AT, 4096)]);
        }
    }
    assert!(bench.queue.held() > 0 && !bench.queue.has_room_for(0) && !bench.queue.has_room_for(1));
    let stuck = bench.device.len();
    // One that was known, and one that has come since.
    for (disk, tag) in [(2, 1000), (7, 2000), (3, 3000)] {
        for n in 0..10 {
            assert!(bench.queue.has_room_for(disk));
            bench.submit_to(disk, tag + n, n % 2 == 0, SMALL.start + 200, 120, &[(AT, 120 * 512)]);
        }
        run_others(&mut bench, |tag| tag < 1000);
        assert_eq!(
            bench.ended.drain(..).filter(|(_, sectors, result)| (*sectors, *result) == (120, Ok(()))).count(),
            10
        );
    }
    assert_eq!(bench.device.len(), stuck);
    bench.run();
}

#[test]
fn a_disk_alone_has_all_but_what_is_kept_for_one_that_may_come() {
    for (newcomers, parts) in [(false, 1), (true, 2)] {
        let mut bench = Bench::new(POOL);
        if newcomers {
            bench.queue.share([0].into_iter());
        }
        let sectors = (POOL / 512) as u32;
        bench.submit(1, false, SMALL.start, sectors, &[(AT, POOL as u32)]);
        let mut seen = 0;
        while !bench.device.is_empty() {
            seen += 1;
            bench.device_ends(0);
            bench.work_ends(0);
        }
        assert_eq!((seen, bench.ended.len()), (parts, 1));
    }
}

#[test]
fn what_many_pieces_of_one_disk_take_is_not_taken_from_another() {
    let mut bench = Bench::new(POOL);
    bench.queue.share([0, 1].into_iter());
    let pieces = |count: u64| (0..count).map(|n| (0x10_0000 + 4 * n, 2)).collect::<std::vec::Vec<_>>();
    let mut tag = 0;
    while bench.queue.has_room_for(0) {
        bench.submit_to(0, tag, false, SMALL.start, 8, &pieces(168));
        tag += 1;
    }
    assert!((4..32).contains(&tag), "{tag} requests");
    assert!(bench.queue.has_room_for(1));
    // One piece after the other, as no driver does it: in the end the heap counts for more than the shares.
    for disk in 1..20 {
        if bench.queue.has_room_for(disk) {
            bench.submit_to(disk, 100 + disk, false, SMALL.start, 8, &pieces(4096));
        }
    }
    assert!(!bench.queue.has_room_for(50));
    bench.run();
    assert!(bench.queue.has_room_for(50));
}
