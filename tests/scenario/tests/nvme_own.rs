//! The VMM's own requests beside the guest's, on NVMe.
#![forbid(unsafe_code)]

use mediator::disk::OwnError;
use scenario::nvme::{DATA, LISTS, Layout, NvmeRig, PROTECTED, SECTORS};
use scenario::own::{OwnRig, each_reads_what_the_other_has_written, flush, read, what_is_no_request_is_refused};
use scenario::payload;
use sim::nvme::Queue;
use sim::{Platter, SimRanges};

#[test]
fn vmm_and_guest_read_what_the_other_has_written() {
    each_reads_what_the_other_has_written(PROTECTED, NvmeRig::new);
}

#[test]
fn what_is_no_request_is_refused_before_the_device_sees_it() {
    let mut rig = NvmeRig::new();
    assert_eq!(rig.machine.submit_own(2, read(0, 1)), Err(OwnError::Request));
    what_is_no_request_is_refused(&mut rig, SECTORS);
}

#[test]
fn without_queues_of_the_guest_there_is_no_way_to_the_disk() {
    let mut rig = NvmeRig::bare(Platter::new(SECTORS), SimRanges::new(PROTECTED));
    assert_eq!(rig.machine.submit_own(0, read(0, 1)), Err(OwnError::NotReady));
    rig.start(false).unwrap();
    rig.own_read(5000, 8).unwrap();
    let now = rig.machine.read(0x14);
    rig.machine.write(0x14, now & !1);
    assert_eq!(rig.machine.submit_own(0, read(0, 1)), Err(OwnError::NotReady));
}

#[test]
fn a_flush_makes_what_was_written_last() {
    let mut rig = NvmeRig::new();
    rig.own_write(5000, &payload(1, 5000, 8)).unwrap();
    assert_eq!(rig.own(flush(), |_| ()), Ok(Vec::new()));
    rig.model.flushed();
    let mut after = rig.after_power_cut(|_| false);
    after.own_read(5000, 8).unwrap();
    assert_eq!(&after.expected(5000)[..], &payload(1, 5000, 1)[..]);
}

#[test]
fn the_guest_gets_no_completion_of_a_request_that_is_not_its_own() {
    for fails in [false, true] {
        let mut rig = NvmeRig::new();
        if fails {
            rig.machine.nvme.platter(1).inject_error(5001, 0x40);
        }
        let end = rig.own(read(5000, 8), |rig| rig.guest.look(&mut rig.machine));
        assert_eq!(end.err(), fails.then_some(OwnError::Device));
        rig.guest.look(&mut rig.machine);
        assert!(rig.guest.seen.is_empty(), "{:?}", rig.guest.seen);
        rig.read(6000, 8, Layout::LINUX).unwrap();
        rig.own_read(6000, 8).unwrap();
        rig.check();
    }
}

/// Requests of the guest that keep both queues full; gives their identifiers.
fn fill(rig: &mut NvmeRig, count: u64) -> Vec<(u16, u16)> {
    let put = |n: u64| {
        let (lba, at, lists) = (5000 + 64 * n, DATA + 0x1_0000 * n, LISTS + 0x8000 * n);
        (1 + (n % 2) as u16, rig.put_read(1 + (n % 2) as u16, lba, 16, Layout::LINUX, at, lists))
    };
    let ids = (0..count).map(put).collect();
    [1, 2].into_iter().for_each(|queue| rig.guest.ring(&mut rig.machine, queue));
    ids
}

#[test]
fn a_guest_that_never_rests_and_the_vmm_take_turns() {
    let mut rig = NvmeRig::new();
    rig.machine.nvme.per_tick = 1;
    let (mut own, mut guests, mut since, mut most) = (0, 0, 0, 0);
    let mut under_way = fill(&mut rig, 60);
    rig.machine.submit_own(0, read(9000, 8)).unwrap();
    while own < 40 {
        rig.machine.tick();
        rig.guest.look(&mut rig.machine);
        let seen = core::mem::take(&mut rig.guest.seen);
        for (queue, reply) in seen {
            let at = under_way.iter().position(|id| *id == (queue, reply.id)).expect("one of the guest's");
            under_way.remove(at);
            assert_eq!(reply.status, 0);
            (guests, since) = (guests + 1, since + 1);
        }
        if under_way.len() < 30 {
            under_way.extend(fill(&mut rig, 30));
        }
        assert!(since < 10_000, "the VMM's request never has its turn");
        if let Some(end) = rig.machine.poll_own(0) {
            end.unwrap();
            own += 1;
            (most, since) = (most.max(since), 0);
            rig.machine.submit_own(0, read(9000, 8)).unwrap();
        }
    }
    assert!(guests >= own, "{guests} of the guest's while {own} of the VMM's");
    assert!(most <= 130, "the VMM waited for {most} of the guest's");
}

#[test]
fn a_reset_at_every_step_ends_the_request_and_the_next_one_works() {
    for (steps, ready_after) in (0..12).flat_map(|steps| [(steps, 0), (steps, 5)]) {
        let mut rig = NvmeRig::new();
        (rig.machine.nvme.per_tick, rig.machine.nvme.ready_after) = (1, ready_after);
        fill(&mut rig, 4);
        rig.machine.submit_own(0, read(990, 20)).unwrap();
        (0..steps).for_each(|_| rig.machine.tick());
        let now = rig.machine.read(0x14);
        rig.machine.write(0x14, now & !1);
        (0..8).for_each(|_| rig.machine.tick());
        rig.recovers();
        let end = rig.machine.poll_own(0).expect("it has ended");
        assert!(matches!(end, Ok(_) | Err(OwnError::Lost)), "{end:?}");
        rig.own_read(990, 20).unwrap();
        rig.check();
    }
}

#[test]
fn the_machine_may_sleep_at_every_step() {
    for steps in 0..6 {
        let mut rig = NvmeRig::new();
        rig.machine.nvme.per_tick = 1;
        rig.machine.submit_own(0, read(990, 20)).unwrap();
        (0..steps).for_each(|_| rig.machine.tick());
        rig.machine.sleep();
        assert_eq!(rig.machine.poll_own(0), Some(Err(OwnError::Lost)));
        rig.machine.config_write(4, mediator::Width::Word, 6);
        rig.recovers();
        rig.own_read(990, 20).unwrap();
    }
}

#[test]
fn a_queue_deleted_under_a_request_ends_it() {
    for steps in 0..6 {
        let mut rig = NvmeRig::new();
        rig.machine.nvme.per_tick = 1;
        rig.machine.submit_own(0, read(990, 20)).unwrap();
        (0..steps).for_each(|_| rig.machine.tick());
        for queue in [1, 2] {
            rig.guest.delete(&mut rig.machine, queue).unwrap();
        }
        let end = rig.machine.poll_own(0).expect("it has ended");
        assert!(matches!(end, Ok(_) | Err(OwnError::Lost)), "{end:?}");
        assert_eq!(rig.machine.submit_own(0, read(990, 20)), Err(OwnError::NotReady));
        rig.guest.create(&mut rig.machine, Queue::new(1, 64, false)).unwrap();
        rig.own_read(990, 20).unwrap();
    }
}
