//! Requests that cut the sectors of a transform, and the order of what touches the same ones.

use super::bench::{Bench, LARGE, SECTOR, SHIFT, payload};
use crate::Failure;

const AT: u64 = 0x20_0000;

#[test]
fn one_sector_written_within_a_large_one_leaves_its_neighbours() {
    let mut bench = Bench::new(0x1_0000);
    let lba = LARGE.start + 10;
    bench.poke(AT, &payload(1, lba, 1));
    bench.submit(1, true, lba, 1, &[(AT, 512)]);
    assert_eq!(bench.device.len(), 1);
    let read = bench.device[0];
    assert!(!read.write, "the large sector is read first");
    assert_eq!((read.disk_lba, read.sectors), (LARGE.start + SHIFT + 8, 8));
    bench.run();
    assert_eq!(bench.ended, [(1, 1, Ok(()))]);
    assert_eq!(bench.guest_view(lba, 1), payload(1, lba, 1));
    assert_eq!(bench.guest_view(lba - 2, 2), vec![0; 2 * SECTOR]);
    assert_eq!(bench.guest_view(lba + 1, 5), vec![0; 5 * SECTOR]);
}

#[test]
fn an_unaligned_write_goes_as_head_middle_and_tail() {
    let mut bench = Bench::new(0x10_0000);
    let (lba, sectors) = (LARGE.start + 3, 8 * 20);
    bench.poke(AT, &payload(2, lba, sectors));
    bench.submit(7, true, lba, sectors as u32, &[(AT, 6), (AT + 6, sectors as u32 * 512 - 6)]);
    let mut commands = 0;
    while !bench.work.is_empty() || !bench.device.is_empty() {
        commands += bench.device.len();
        if bench.work.is_empty() { bench.device_ends(0) } else { bench.work_ends(0) }
    }
    assert_eq!(commands, 5, "head and tail are read and written, the middle is written at once");
    assert_eq!(bench.guest_view(lba, sectors), payload(2, lba, sectors));
    assert_eq!(bench.guest_view(LARGE.start, 3), vec![0; 3 * SECTOR]);
    assert_eq!(bench.guest_view(lba + sectors, 5), vec![0; 5 * SECTOR]);
}

#[test]
fn an_unaligned_read_gives_what_was_asked_for_and_nothing_else() {
    let mut bench = Bench::new(0x10_0000);
    let (lba, sectors) = (LARGE.start + 5, 30);
    bench.poke(AT, &payload(3, lba, sectors));
    bench.submit(1, true, lba, sectors as u32, &[(AT, 30 * 512)]);
    bench.run();
    bench.poke(AT, &[0xee; 32 * SECTOR]);
    bench.submit(2, false, lba, sectors as u32, &[(AT + 512, 30 * 512)]);
    bench.run();
    assert_eq!(bench.ram.peek(AT + 512, 30 * SECTOR), payload(3, lba, sectors));
    assert_eq!(bench.ram.peek(AT, SECTOR), [0xee; SECTOR]);
    assert_eq!(bench.ram.peek(AT + 31 * 512, SECTOR), [0xee; SECTOR]);
}

#[test]
fn two_writes_within_one_large_sector_both_last() {
    let mut bench = Bench::new(0x10_0000);
    let lba = LARGE.start;
    bench.poke(AT, &payload(4, lba, 2));
    bench.submit(1, true, lba, 1, &[(AT, 512)]);
    bench.submit(2, true, lba + 1, 1, &[(AT + 512, 512)]);
    assert_eq!((bench.device.len(), bench.queue.held()), (1, 1), "the second waits for the first");
    bench.run();
    assert_eq!(bench.guest_view(lba, 2), payload(4, lba, 2));
}

#[test]
fn a_whole_write_and_one_within_do_not_undo_each_other() {
    for whole_first in [true, false] {
        let mut bench = Bench::new(0x10_0000);
        let lba = LARGE.start + 8;
        bench.poke(AT, &payload(5, lba, 8));
        let requests = [(1, lba, 8), (2, lba + 3, 1)];
        for &(tag, lba, sectors) in
            if whole_first { [&requests[0], &requests[1]] } else { [&requests[1], &requests[0]] }
        {
            let offset = (lba - LARGE.start - 8) * 512;
            bench.submit(tag, true, lba, sectors, &[(AT + offset, sectors * 512)]);
        }
        while !bench.work.is_empty() || !bench.device.is_empty() {
            // The last one first: the order that does most harm.
            if bench.work.is_empty() { bench.device_ends(bench.device.len() - 1) } else { bench.work_ends(0) }
        }
        assert_eq!(bench.guest_view(lba, 8), payload(5, lba, 8));
    }
}

#[test]
fn an_error_in_the_sector_that_is_read_to_be_changed_fails_the_write() {
    let mut bench = Bench::new(0x10_0000);
    let lba = LARGE.start + 2;
    bench.bad = Some(LARGE.start + SHIFT + 2);
    bench.submit(1, true, lba, 1, &[(AT, 512)]);
    bench.run();
    assert_eq!(bench.ended, [(1, 0, Err(Failure::Device { lba: Some(lba) }))]);
}

#[test]
fn an_error_lba_is_told_in_the_guests_numbers_and_what_was_read_before_is_delivered() {
    let mut bench = Bench::new(0x10_0000);
    let lba = LARGE.start + 8;
    bench.poke(AT, &payload(6, lba, 32));
    bench.submit(1, true, lba, 32, &[(AT, 32 * 512)]);
    bench.run();
    bench.poke(AT, &[0; 32 * SECTOR]);
    bench.bad = Some(lba + SHIFT + 17);
    bench.submit(2, false, lba, 32, &[(AT, 32 * 512)]);
    bench.run();
    assert_eq!(bench.ended[1], (2, 16, Err(Failure::Device { lba: Some(lba + 17) })));
    assert_eq!(bench.ram.peek(AT, 16 * SECTOR), payload(6, lba, 16));
    assert_eq!(bench.ram.peek(AT + 16 * 512, 16 * SECTOR), [0; 16 * SECTOR], "a cut sector cannot be decrypted");
}
