//! Too few buffers.

use super::bench::{Bench, SECTOR, SMALL, payload};
use crate::{PAGE_BYTES, Pool};
use sim::SimArena;
use std::vec::Vec;

const AT: u64 = 0x20_0000;

#[test]
fn requests_beyond_the_pool_are_held_and_start_with_the_next_completion() {
    let mut bench = Bench::new(4 * PAGE_BYTES);
    for tag in 0..10 {
        bench.submit(tag, false, SMALL.start + u64::from(tag) * 8, 8, &[(AT, 4096)]);
    }
    assert_eq!((bench.device.len(), bench.queue.held()), (4, 6));
    bench.device_ends(0);
    assert_eq!(bench.queue.held(), 6, "the buffer is lent to work");
    bench.work_ends(0);
    assert_eq!((bench.device.len(), bench.queue.held()), (4, 5));
    bench.run();
    assert_eq!(bench.ended.len(), 10);
}

#[test]
fn a_request_larger_than_the_pool_goes_in_parts() {
    let mut bench = Bench::new(4 * PAGE_BYTES);
    let data = payload(9, SMALL.start, 100);
    bench.poke(AT, &data);
    bench.submit(1, true, SMALL.start, 100, &[(AT, 1000), (AT + 1000, 50200)]);
    bench.run();
    assert_eq!(bench.ended, [(1, 100, Ok(()))]);
    assert_eq!(bench.guest_view(SMALL.start, 100), data);
}

#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    let mut bench = Bench::new(32 * PAGE_BYTES);
    for tag in 0..17 {
        bench.submit(tag, false, SMALL.start, 8, &[(AT, 4096)]);
    }
    bench.submit(50, false, SMALL.start, 200, &[(AT, 200 * 512)]);
    bench.submit(51, false, SMALL.start, 8, &[(AT, 4096)]);
    assert_eq!(bench.queue.held(), 2, "the small one would fit, but comes later");
    bench.device_ends(16);
    bench.work_ends(0);
    assert_eq!(bench.queue.held(), 1, "the large one has gone ahead");
    bench.run();
}

#[test]
fn a_reset_at_any_step_leaves_no_buffer_in_use() {
    for steps in 0..6 {
        for write in [false, true] {
            let mut bench = Bench::new(4 * PAGE_BYTES);
            for tag in 0..9 {
                bench.submit(tag, write, SMALL.start + u64::from(tag) * 8, 8, &[(AT, 4096)]);
            }
            for step in 0..steps {
                if step % 2 == 0 && !bench.device.is_empty() {
                    bench.device_ends(0)
                }
                if !bench.work.is_empty() && step != steps - 1 {
                    bench.work_ends(0)
                }
            }
            bench.device.retain(|transfer| transfer.tag >= 5);
            bench.ended.clear();
            bench.with(|queue, cx| queue.cancel(cx, |tag| tag < 5));
            assert!(bench.ended.is_empty(), "a dropped request is not told");
            while !bench.device.is_empty() {
                bench.device_ends(0);
            }
            bench.run();
            let mut ended = bench.ended.iter().map(|end| end.0).collect::<Vec<_>>();
            ended.sort_unstable();
            assert_eq!(ended, [5, 6, 7, 8]);
            assert_eq!(bench.queue.pool().lent(), 0);
        }
    }
}

#[test]
fn memory_that_is_no_ram_fails_the_request_and_nothing_reaches_the_disk() {
    let mut bench = Bench::new(4 * PAGE_BYTES);
    bench.submit(1, true, SMALL.start, 2, &[(AT, 512), (sim::VMM.start, 512)]);
    bench.work_ends(0);
    assert_eq!(bench.ended, [(1, 0, Err(crate::Failure::Memory))]);
    assert_eq!(bench.guest_view(SMALL.start, 2), vec![0; 2 * SECTOR]);
    bench.run();
}

#[test]
fn a_small_payload_has_the_spare_page_whatever_the_device_keeps_and_whoever_waits() {
    let mut bench = Bench::with_pool(3 * PAGE_BYTES, Pool::with_spare);
    for tag in 1..=3 {
        bench.submit(tag, false, 0, 16, &[(AT, 16 * SECTOR as u32)]);
    }
    // The first has both pages, and the device keeps them.
    assert_eq!(bench.device.len(), 1);
    bench.with(|queue, cx| queue.abandon(cx, |tag| tag == 1));
    let kept = bench.device.remove(0);
    assert!(bench.device.is_empty());
    for tag in 4..=5 {
        bench.submit_payload(tag, PAGE_BYTES as u32);
    }
    bench.submit_payload(6, PAGE_BYTES as u32 + 2);
    // One after the other; what is no small payload has no part in it.
    for tag in 4..=5 {
        assert_eq!(bench.device.iter().map(|transfer| transfer.tag).collect::<Vec<_>>(), [tag]);
        let buffer = bench.device[0].buffer.0;
        assert!(!(kept.buffer.0..kept.buffer.0 + u64::from(kept.len_bytes)).contains(&buffer), "it is lent already");
        bench.device_ends(0);
        bench.work_ends(0);
    }
    assert!(bench.device.is_empty() && bench.work.is_empty());
    bench.with(|queue, cx| queue.release(cx, |_| true));
    bench.run();
    assert_eq!(bench.ended.iter().map(|end| end.0).collect::<Vec<_>>(), [4, 5, 2, 3, 6]);
    assert_eq!(bench.queue.pool().lent(), 0);
}

#[test]
fn a_pool_that_finds_no_memory_is_none() {
    let mut arena = SimArena::default();
    arena.exhausted = true;
    assert!(Pool::new(&mut arena, 0x1_0000, 4096).is_none());
}
