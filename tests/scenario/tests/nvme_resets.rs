//! NVMe: resets, sleep, power cuts, failing memory and other CPUs, at every step of a request.
#![forbid(unsafe_code)]

use mediator::Width;
use scenario::nvme::{DATA, LISTS, Layout, NvmeRig, PLAIN, PROTECTED, SECTORS};
use scenario::payload;
use sim::nvme::{Entry, Failure, NvmeMachine, Queue, SimNamespace, SimNvme, read, status};
use sim::{Platter, SimRanges};

/// Requests on the way: plain, protected, across the border, on both queues, and an identification.
fn begin(rig: &mut NvmeRig) -> Vec<(u16, u16)> {
    let mut ids = Vec::new();
    for (n, lba) in (0..).zip([10, 990, 5000, 20_000]) {
        let (data_at, lists) = (DATA + 0x10_0000 * n, LISTS + 0x8000 * n);
        ids.push((1, rig.put_write(1, lba, &payload(n as u32, lba, 200), Layout::SCATTERED, data_at, lists)));
        let (data_at, lists) = (data_at + 0x80_0000, lists + 0x4_0000);
        ids.push((2, rig.put_read(2, lba + 300, 200, Layout::LINUX, data_at, lists)));
    }
    ids.push((0, rig.guest.put(&mut rig.machine, 0, Entry::new(6, 0).prps(DATA - 0x1000, 0).dword(10, 1))));
    (0..3).for_each(|queue| rig.guest.ring(&mut rig.machine, queue));
    ids
}

fn step(rig: &mut NvmeRig, steps: u32) {
    rig.machine.nvme.per_tick = 1;
    for n in 0..steps {
        if n % 2 == 0 {
            rig.machine.tick();
        } else {
            rig.guest.look(&mut rig.machine);
        }
    }
}

#[test]
fn a_reset_at_every_step_loses_requests_and_nothing_else() {
    for ready_after in [0, 1, 7] {
        for steps in 0..40 {
            let mut rig = NvmeRig::new();
            rig.machine.nvme.ready_after = ready_after;
            begin(&mut rig);
            step(&mut rig, steps);
            // While it is being disabled it may still work on what it has.
            let now = rig.machine.read(0x14);
            rig.machine.write(0x14, now & !1);
            (0..4).for_each(|_| rig.machine.tick());
            rig.check_platter();
            rig.recovers();
        }
    }
}

#[test]
fn enabling_before_it_is_disabled_is_refused() {
    let mut rig = NvmeRig::new();
    rig.machine.nvme.ready_after = 1000;
    begin(&mut rig);
    rig.machine.write(0x14, 0);
    rig.machine.write(0x14, 1 | 6 << 16 | 4 << 20);
    assert_eq!(rig.machine.violations.len(), 1);
    assert_eq!(rig.machine.nvme.cc & 1, 0);
    rig.machine.nvme.ready_after = 0;
    (0..1000).for_each(|_| rig.machine.tick());
    rig.recovers();
}

#[test]
fn queues_deleted_at_every_step_leave_nothing_behind() {
    for backwards in [false, true] {
        for steps in 0..30 {
            let mut rig = NvmeRig::new();
            rig.machine.nvme.backwards = backwards;
            begin(&mut rig);
            step(&mut rig, steps);
            rig.machine.nvme.per_tick = 64;
            for id in [1, 2] {
                assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(0, 0).dword(10, id)), Ok(0), "{steps}");
                assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(4, 0).dword(10, id)), Ok(0), "{steps}");
            }
            rig.guest.queues.truncate(1);
            for id in [1, 2] {
                rig.guest.create(&mut rig.machine, Queue::new(id, 64, false)).unwrap();
            }
            rig.check();
            rig.recovers();
        }
    }
}

#[test]
fn queues_deleted_again_and_again_give_their_buffers_back() {
    let mut rig = NvmeRig::new();
    for round in 0..20 {
        let layout = Layout::LINUX;
        for n in 0..4 {
            rig.put_read(1, 5000 + 300 * n, 256, layout, DATA + 0x4_0000 * n, LISTS + 0x8000 * n);
        }
        rig.guest.ring(&mut rig.machine, 1);
        // The device has them, and is told to forget them before it begins.
        rig.guest.delete(&mut rig.machine, 1).unwrap();
        rig.guest.create(&mut rig.machine, Queue::new(1, 64, false)).unwrap();
        rig.read(5000, 256, layout).unwrap_or_else(|failure| panic!("round {round}: {failure:?}"));
    }
}

#[test]
fn the_disk_works_after_sleep_whatever_was_under_way() {
    for steps in [0, 3, 9, 17, 33] {
        let mut rig = NvmeRig::new();
        begin(&mut rig);
        step(&mut rig, steps);
        rig.machine.sleep();
        assert_eq!(rig.machine.config.command & 6, 0, "decodes nothing");
        assert_eq!(rig.machine.config.bars[0] & !0xf, sim::nvme::BAR as u32, "where it was");
        rig.machine.config_write(4, mediator::Width::Word, 6);
        assert_eq!((rig.machine.read(0x14), rig.machine.read(0x24), rig.machine.read(0x28)), (0, 0, 0));
        rig.recovers();
    }
}

#[test]
fn a_power_cut_at_every_write_leaves_old_or_new() {
    for cut in (0..820).step_by(7) {
        let mut rig = NvmeRig::new();
        rig.machine.nvme.platter(1).cut_after = Some(rig.machine.nvme.platter(1).written.len() + cut);
        begin(&mut rig);
        step(&mut rig, 60);
        rig.check_secrecy();
        for keep in 0..3 {
            let mut after = rig.after_power_cut(|write| keep == 0 || keep == 1 && write % 2 == 0);
            let platter = after.machine.nvme.platter(1).clone();
            after.model.check_all(&rig.ranges, &platter);
        }
    }
}

#[test]
fn a_machine_that_loses_its_power_in_mid_access_comes_back() {
    for budget in (0..60).step_by(3) {
        let mut rig = NvmeRig::new();
        rig.machine.budget = Some(budget);
        begin(&mut rig);
        step(&mut rig, 20);
        rig.check_platter();
        rig.recovers();
    }
}

#[test]
fn every_allocation_that_fails_is_survived() {
    for nth in 0..12 {
        let mut rig = NvmeRig::bare(Platter::new(SECTORS), SimRanges::new(PROTECTED));
        rig.machine.arena.fail_nth = Some(rig.machine.arena.asked + nth);
        let outcome = rig.start(false);
        assert_eq!(outcome.is_ok(), nth >= 9, "{nth}: {outcome:?}");
        rig.machine.arena.fail_nth = None;
        rig.check_platter();
        rig.recovers();
    }
}

#[test]
fn without_memory_the_controller_is_not_taken_over() {
    for nth in 0..8 {
        let mut machine = NvmeMachine::new(sim::nvme::SimNvme::new([]));
        machine.arena.fail_nth = Some(nth);
        assert!(machine.attach(&nvme::DRIVER).is_err(), "{nth}");
    }
}

#[test]
fn a_controller_that_never_gets_ready_is_not_taken_over() {
    let mut machine = NvmeMachine::new(sim::nvme::SimNvme::new([]));
    machine.nvme.ready_after = 100_000_000;
    assert!(machine.attach(&nvme::DRIVER).is_err());
}

#[test]
fn injected_errors_reach_the_guest_with_the_devices_status() {
    for (lba, bad) in [(10, 15), (990, 1003), (5000, 5000), (5000, 5199)] {
        let mut rig = NvmeRig::new();
        rig.machine.nvme.platter(1).inject_error(bad, 0x40);
        let failed = rig.write(lba, &payload(1, lba, 200), Layout::SCATTERED);
        assert_eq!(failed, Err(Failure::Status(status::WRITE_FAULT)), "{lba} {bad}");
        assert_eq!(rig.read(lba, 200, Layout::LINUX), Err(Failure::Status(status::UNRECOVERED_READ)), "{lba} {bad}");
        rig.machine.nvme.platter(1).heal();
        rig.write(lba, &payload(2, lba, 200), Layout::SCATTERED).unwrap();
        rig.read(lba, 200, Layout::LINUX).unwrap();
    }
}

/// Another CPU takes every interrupt there is, and its handler looks at its queues, while this one's data is being decrypted.
fn other_cpu_takes_interrupts(machine: &mut NvmeMachine) {
    while machine.take_interrupt().is_some() {}
}

#[test]
fn an_interrupt_that_another_cpu_takes_too_early_is_followed_by_another() {
    let mut rig = NvmeRig::new();
    let id = rig.put_read(1, 5000, 8, Layout::LINUX, DATA, LISTS);
    rig.guest.ring(&mut rig.machine, 1);
    rig.machine.tick();
    // The interrupt of something else leads to the mediator, which finds the completion and decrypts; meanwhile the device's own
    // interrupt is taken by another CPU, whose handler finds nothing.
    assert_eq!(rig.machine.nvme.interrupts, [1]);
    rig.machine.meanwhile = Some(other_cpu_takes_interrupts);
    rig.machine.other_interrupt();
    assert!(rig.machine.meanwhile.is_none(), "it was decrypted without the lock");
    rig.guest.wait(&mut rig.machine, 1, id).unwrap();
    rig.expect_data(5000, 8, Layout::LINUX, DATA);
    rig.check();
}

#[test]
fn answers_of_the_mediator_itself_are_announced() {
    let mut rig = NvmeRig::new();
    // Refused without the device, with an interrupt all the same; and again while another command is under way.
    for _ in 0..3 {
        let slow = rig.put_read(1, 5000, 8, Layout::LINUX, DATA, LISTS);
        let refused = rig.guest.put(&mut rig.machine, 1, Entry::new(0x55, 1));
        rig.guest.ring(&mut rig.machine, 1);
        assert_eq!(rig.guest.wait(&mut rig.machine, 1, refused), Err(Failure::Status(status::INVALID_OPCODE)));
        rig.guest.wait(&mut rig.machine, 1, slow).unwrap();
        assert_eq!(
            rig.guest.admin(&mut rig.machine, Entry::new(0x80, 1)),
            Err(Failure::Status(status::INVALID_OPCODE))
        );
    }
    rig.check();
}

#[test]
fn events_come_whenever_they_come() {
    let mut rig = NvmeRig::new();
    let ids: Vec<u16> = (0..3).map(|_| rig.guest.submit(&mut rig.machine, 0, Entry::new(0x0c, 0))).collect();
    rig.machine.tick();
    assert!(rig.machine.raise_event(0x0002_0100));
    // Its interrupt comes while nothing is under way, so nobody looks before the guest does; the next command brings another.
    while rig.machine.take_interrupt().is_some() {}
    rig.read(5000, 8, Layout::LINUX).unwrap();
    let seen = rig.guest.wait(&mut rig.machine, 0, ids[2]);
    assert_eq!(seen, Ok(0x0002_0100));
    rig.check_platter();
    rig.recovers();
}

#[test]
fn a_guest_is_not_kept_waiting_for_ever() {
    let mut rig = NvmeRig::bare(Platter::new(SECTORS), SimRanges::new(PROTECTED));
    rig.start(true).unwrap();
    rig.machine.frozen = true;
    let before = rig.machine.now.0;
    let id = rig.guest.submit(&mut rig.machine, 1, read(1, 5000, 8).prps(DATA, 0));
    assert!((1..100_000_000).contains(&(rig.machine.now.0 - before)), "{}", rig.machine.now.0 - before);
    rig.machine.frozen = false;
    // Later any interrupt will do.
    rig.machine.tick();
    rig.machine.nvme.interrupts.clear();
    rig.machine.other_interrupt();
    rig.guest.handle(&mut rig.machine, 1);
    assert!(rig.guest.seen.iter().any(|(queue, reply)| (*queue, reply.id, reply.status) == (1, id, 0)));
}

#[test]
fn aborts_name_the_devices_own_command() {
    let mut rig = NvmeRig::new();
    let id = rig.guest.submit(&mut rig.machine, 1, read(1, 10, 8).prps(DATA, 0));
    let aborted = rig.guest.admin(&mut rig.machine, Entry::new(8, 0).dword(10, 1 | u32::from(id) << 16));
    assert_eq!(aborted, Ok(1), "it was too late");
    assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(8, 0).dword(10, 2 | 77 << 16)), Ok(1), "no such command");
    rig.guest.wait(&mut rig.machine, 1, id).unwrap();
    rig.check();
}

#[test]
fn a_controller_that_does_not_decode_is_not_taken_for_a_disabled_one() {
    for zeros in [false, true] {
        let mut rig = NvmeRig::new();
        rig.machine.config.zeros_of_nobody = zeros;
        let kept = rig.machine.arena.live_buffers();
        begin(&mut rig);
        rig.machine.config_write(4, mediator::Width::Word, 4);
        assert_eq!(rig.machine.read(0x1c), u32::MAX, "no register answers, whatever is read from nobody");
        rig.machine.write(0x14, 0);
        (0..10).for_each(|_| rig.machine.tick());
        assert!(rig.machine.arena.live_buffers() >= kept, "the device may still reach its queues");
        rig.check_secrecy();
        rig.machine.config_write(4, mediator::Width::Word, 6);
        rig.recovers();
    }
}

/// What the rig's controller is made of, but for its sectors.
fn like_new(sectors: u64) -> SimNvme {
    SimNvme::new([SimNamespace::new(Platter::new(sectors), 512), SimNamespace::new(Platter::new(PLAIN), 512)])
}

/// The guest finds the new controller and has it decode its memory, at another place than the old one.
fn find(rig: &mut NvmeRig) {
    rig.machine.config_write(0x10, Width::Dword, 0xe000_0000);
    rig.machine.config_write(0x04, Width::Word, 6);
    assert_eq!(rig.machine.config.bars, [sim::nvme::BAR as u32 | 4, 0], "the device is at home");
}

/// IDENTIFY of the controller, or of a namespace.
fn identify(rig: &mut NvmeRig, nsid: u32) {
    let what = u32::from(nsid == 0);
    assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(6, nsid).prps(DATA, 0).dword(10, what)), Ok(0));
}

fn reads(rig: &mut NvmeRig, nsid: u32, lba: u64) -> bool {
    rig.guest.io(&mut rig.machine, 1, read(nsid, lba, 1).prps(DATA, 0)).is_ok()
}

#[test]
fn a_controller_in_the_place_of_another_moves_no_sectors_before_it_has_told_that_it_is_the_same() {
    for steps in [0, 3, 11] {
        let mut rig = NvmeRig::new();
        begin(&mut rig);
        step(&mut rig, steps);
        rig.machine.exchange(like_new(SECTORS));
        find(&mut rig);
        assert_eq!(rig.machine.read(0x14), 0, "it is disabled");
        rig.start(false).unwrap();
        for (asked, served) in
            [(None, [false, false]), (Some(1), [false, false]), (Some(0), [true, false]), (Some(2), [true, true])]
        {
            if let Some(nsid) = asked {
                identify(&mut rig, nsid);
            }
            assert_eq!([reads(&mut rig, 1, 2000), reads(&mut rig, 2, 10)], served, "{asked:?}");
        }
        assert_eq!(rig.machine.faults, []);
    }
}

#[test]
fn another_controller_moves_no_sectors_at_all() {
    let another_serial = || {
        let mut nvme = like_new(SECTORS);
        nvme.serial = "OTHER".into();
        nvme
    };
    for (new, served) in [(another_serial(), [false, false]), (like_new(SECTORS / 2), [false, true])] {
        let mut rig = NvmeRig::new();
        rig.machine.exchange(new);
        find(&mut rig);
        rig.start(false).unwrap();
        for nsid in [0, 1, 2, 0] {
            identify(&mut rig, nsid);
        }
        assert_eq!([reads(&mut rig, 1, 2000), reads(&mut rig, 2, 10)], served);
    }
}
