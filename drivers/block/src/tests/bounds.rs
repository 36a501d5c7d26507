//! How much of the heap a guest can have: what is beyond is left with it.

use super::bench::{Bench, SMALL};
use crate::{Failure, MAX_SEGMENTS};
use std::vec::Vec;

const PAGE: u64 = 4096;

/// Reads until the queue has no room; gives how many it took.
fn fill(bench: &mut Bench) -> u32 {
    let mut tag = 0;
    while bench.queue.has_room() {
        bench.submit(tag, false, SMALL.start, 8, &[(0x10_0000 + PAGE * u64::from(tag), PAGE as u32)]);
        tag += 1;
    }
    tag
}

#[test]
fn a_guest_is_not_heard_beyond_what_keeps_a_disk_busy_until_a_request_ends() {
    let mut bench = Bench::new(0x1_0000);
    for _ in 0..3 {
        assert_eq!(fill(&mut bench), 128);
        assert!(bench.queue.in_flight() > 0 && bench.queue.held() > 0);
        bench.device_ends(0);
        assert!(!bench.queue.has_room(), "the part is not with the guest");
        bench.work_ends(0);
        assert!(bench.queue.has_room());
        bench.run();
        assert!(bench.ended.drain(..).all(|(_, sectors, result)| (sectors, result) == (8, Ok(()))));
    }
}

#[test]
fn what_cannot_wait_is_taken_beyond_but_not_without_end() {
    let mut bench = Bench::new(0x1_0000);
    let first = fill(&mut bench);
    (0..65).for_each(|n| bench.submit(first + n, false, SMALL.start, 8, &[(0x40_0000, PAGE as u32)]));
    assert_eq!(bench.ended, [(first + 64, 0, Err(Failure::Unserved))]);
    bench.with(|queue, cx| queue.cancel(cx, |tag| tag < first));
    assert!(bench.queue.has_room());
    bench.device.clear();
    bench.work.clear();
}

#[test]
fn the_pieces_of_guest_memory_count_and_are_few_for_one_request() {
    let mut bench = Bench::new(0x1_0000);
    let pieces = |count: usize| (0..count as u64).map(|n| (0x10_0000 + 4 * n, 2)).collect::<Vec<_>>();
    bench.submit(1, false, SMALL.start, 8, &pieces(MAX_SEGMENTS));
    assert!(!bench.queue.has_room());
    bench.run();
    assert!(bench.queue.has_room());
    bench.submit(2, false, SMALL.start, 8, &pieces(MAX_SEGMENTS + 1));
    assert_eq!(bench.ended, [(1, 8, Ok(())), (2, 0, Err(Failure::Unserved))]);
}

#[test]
fn abandoned_requests_keep_their_buffers_but_no_pieces_so_that_the_next_is_heard() {
    let mut bench = Bench::new(0x1_0000);
    let pieces: Vec<_> = (0..MAX_SEGMENTS as u64).map(|n| (0x10_0000 + 4 * n, 2)).collect();
    bench.submit(1, false, SMALL.start, 8, &pieces);
    assert!(!bench.queue.has_room() && bench.queue.in_flight() == 1);
    bench.with(|queue, cx| queue.abandon(cx, |_| true));
    assert!(bench.queue.has_room() && bench.queue.in_flight() == 1);
    bench.device.clear();
    bench.with(|queue, cx| queue.release(cx, |_| true));
    assert_eq!(bench.queue.pool().lent(), 0);
}
