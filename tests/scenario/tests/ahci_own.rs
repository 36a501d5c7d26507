//! The VMM's own requests beside the guest's, on AHCI.
#![forbid(unsafe_code)]

use mediator::disk::{OwnError, OwnOp, OwnRequest};
use scenario::ahci::{AhciRig, By, DATA, ODD, PAGES, PROTECTED, SECTORS};
use scenario::own::{
    OwnRig, Random, each_reads_what_the_other_has_written, flush, read, what_is_no_request_is_refused,
};
use scenario::payload;
use sim::ahci::{Failure, Table, at, fis, px};
use sim::{SECTOR_BYTES, SimRanges};
use std::sync::Arc;

const TAGS: u32 = 31;

#[test]
fn vmm_and_guest_read_what_the_other_has_written() {
    each_reads_what_the_other_has_written(PROTECTED, AhciRig::new);
}

#[test]
fn a_flush_reaches_the_disk_and_has_no_data() {
    let mut rig = AhciRig::new();
    rig.own_write(5000, &payload(1, 5000, 8)).unwrap();
    assert_eq!(rig.own(flush(), |_| ()), Ok(Vec::new()));
    assert_eq!(rig.machine.ahci.ports[0].commands.last().unwrap().0, 0xe7);
}

#[test]
fn what_is_no_request_is_refused_before_the_device_sees_it() {
    let mut rig = AhciRig::new();
    let before = rig.machine.ahci.ports[0].commands.len();
    assert_eq!(rig.machine.submit_own(7, read(0, 1)), Err(OwnError::Request));
    what_is_no_request_is_refused(&mut rig, SECTORS);
    assert!(rig.machine.ahci.ports[0].commands.len() <= before + 1);
}

#[test]
fn the_guest_sees_nothing_of_a_request_that_is_not_its_own() {
    for fails in [false, true] {
        let mut rig = AhciRig::new();
        rig.write(By::DmaExt, 6000, &payload(1, 6000, 8), PAGES).unwrap();
        rig.machine.ahci.ports[0].delay = 3;
        rig.machine.ahci.ports[0].slow_stop = 4;
        if fails {
            rig.platter().inject_error(5001, 0x40);
        }
        let look = |rig: &mut AhciRig| {
            let mut guest = rig.guest(0);
            let fis = guest.register_fis();
            let seen =
                [px::IS, px::IE, px::CMD, px::TFD, px::CI, px::SACT].map(|register| guest.get(register).unwrap());
            assert!(!rig.machine.ahci.irq(), "an interrupt for the guest");
            (seen, fis)
        };
        let before = look(&mut rig);
        let mut looks = 0;
        let end = rig.own(read(5000, 8), |rig| {
            looks += 1;
            assert_eq!(look(rig), before, "at look {looks}");
        });
        assert!(looks > 3);
        assert_eq!(end.err(), fails.then_some(OwnError::Device));
        assert_eq!(look(&mut rig), before);
        rig.read(By::Queued, 6000, 8, PAGES).unwrap();
        rig.own_read(6000, 8).unwrap();
    }
}

#[test]
fn a_guest_that_enables_interrupts_meanwhile_has_them_afterwards() {
    let mut rig = AhciRig::new();
    rig.machine.ahci.ports[0].delay = 5;
    rig.machine.submit_own(0, read(5000, 8)).unwrap();
    rig.guest(0).put(px::IE, 0).unwrap();
    rig.guest(0).put(px::IE, 0x7dc0_007f).unwrap();
    assert_eq!(rig.guest(0).get(px::IE), Ok(0x7dc0_007f));
    while rig.machine.poll_own(0).is_none() {
        rig.machine.tick();
    }
    rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
}

#[test]
fn a_guest_that_never_rests_and_the_vmm_take_turns() {
    let mut rig = AhciRig::new();
    rig.machine.ahci.ports[0].delay = 1;
    let (mut own, mut guests) = (0, 0);
    let slots = (1 << TAGS) - 1;
    for slot in 0..TAGS {
        rig.prepare(slot, By::Queued, None, 5000 + u64::from(slot) * 64, 8, PAGES);
    }
    rig.guest(0).ring(slots, true).unwrap();
    rig.machine.submit_own(0, read(9000, 8)).unwrap();
    let mut most = 0;
    let mut since = 0;
    while own < 50 {
        rig.machine.tick();
        let causes = rig.guest(0).get(px::IS).unwrap();
        rig.guest(0).put(px::IS, causes).unwrap();
        let ended = slots & !(rig.guest(0).get(px::SACT).unwrap() | rig.guest(0).get(px::CI).unwrap());
        (guests, since) = (guests + ended.count_ones(), since + ended.count_ones());
        if ended != 0 {
            rig.guest(0).ring(ended, true).unwrap();
        }
        assert!(since < 10_000, "the VMM's request never has its turn");
        if let Some(end) = rig.machine.poll_own(0) {
            end.unwrap();
            own += 1;
            assert!(own == 1 || since > 0, "the guest waited for two of the VMM's requests");
            (most, since) = (most.max(since), 0);
            rig.machine.submit_own(0, read(9000, 8)).unwrap();
        }
    }
    assert!(guests >= own, "{guests} of the guest's while {own} of the VMM's");
    assert!(most <= 2 * TAGS, "the VMM waited for {most} of the guest's");
    rig.check();
}

#[test]
fn requests_of_both_mix_in_any_order() {
    for seed in 0..40 {
        let (mut rig, mut random) = (AhciRig::new(), Random(seed));
        rig.machine.ahci.ports[0].delay = random.below(4) as u32;
        let mut own_end = None;
        for round in 0..30 {
            let lba = PROTECTED.start - 8 + random.below(24);
            let sectors = 1 + random.below(12);
            let own_lba = 20_000 + random.below(24);
            // The VMM's lie elsewhere: what comes of two writes at once is nobody's promise.
            if own_end.is_none() {
                let write = random.below(2) == 0;
                let data = payload(100 + round, own_lba, sectors);
                if write {
                    rig.model.may_have_written(&rig.ranges.clone(), own_lba, &data);
                }
                let op = if write { OwnOp::Write } else { OwnOp::Read };
                rig.machine.submit_own(0, OwnRequest { op, lba: own_lba, data: data.clone() }).unwrap();
                own_end = Some((own_lba, write.then_some(data)));
            }
            (0..random.below(6)).for_each(|_| rig.machine.tick());
            let by = By::ALL[random.below(4) as usize];
            match random.below(2) {
                0 => rig.write(by, lba, &payload(round, lba, sectors), ODD).unwrap(),
                _ => rig.read(by, lba, sectors, PAGES).unwrap(),
            }
            if let (Some(end), Some((lba, written))) = (rig.machine.poll_own(0), own_end.clone()) {
                let data = end.unwrap();
                match written {
                    Some(data) => rig.model.wrote(lba, &data),
                    None => rig.expect_own(lba, &data),
                }
                own_end = None;
            }
            rig.check();
        }
    }
}

#[test]
fn a_reset_at_every_step_ends_the_request_and_the_next_one_works() {
    for reset in [
        (|rig| rig.guest(0).put(px::CMD, 6 | 1 << 4)) as fn(&mut AhciRig) -> Result<(), Failure>,
        |rig| {
            rig.machine.write(sim::ahci::hba::GHC, 1);
            Ok(())
        },
        |rig| {
            rig.machine.sleep();
            rig.machine.config(4, mediator::Width::Word, mediator::Op::Write(6));
            Ok(())
        },
    ] {
        for (steps, fails) in (0..8).flat_map(|steps| [(steps, false), (steps, true)]) {
            for asked_at_once in [false, true] {
                let mut rig = AhciRig::new();
                rig.write(By::DmaExt, 7000, &payload(1, 7000, 8), PAGES).unwrap();
                // The buffer holds something else then.
                rig.write(By::DmaExt, 8000, &payload(2, 8000, 8), PAGES).unwrap();
                rig.machine.ahci.ports[0].delay = 2;
                rig.machine.ahci.ports[0].slow_stop = 6;
                rig.machine.ahci.ports[0].late_wait = 9;
                if fails {
                    rig.platter().inject_error(7000, 0x40);
                }
                rig.machine.submit_own(0, read(7000, 8)).unwrap();
                for _ in 0..steps {
                    rig.machine.tick();
                    let _ = rig.guest(0).get(px::CI);
                }
                reset(&mut rig).unwrap();
                rig.platter().heal();
                let early = if asked_at_once { rig.machine.poll_own(0) } else { None };
                if let Some(Ok(data)) = &early {
                    rig.expect_own(7000, data);
                }
                rig.recovers();
                let end = early.or_else(|| rig.machine.poll_own(0)).expect("it has ended");
                match end {
                    Ok(data) => rig.expect_own(7000, &data),
                    Err(error) => assert!(matches!(error, OwnError::Lost | OwnError::Device), "{error:?}"),
                }
                rig.own_read(990, 20).unwrap();
            }
        }
    }
}

/// The end of ours, with the length of its data, while the device does nothing any more.
fn looked_for(rig: &mut AhciRig) -> Option<Result<usize, OwnError>> {
    (0..20).find_map(|_| rig.machine.poll_own(0)).map(|end| end.map(|data| data.len()))
}

/// The same while it does.
fn ended(rig: &mut AhciRig) -> Option<Result<usize, OwnError>> {
    let end = (0..100).find_map(|_| {
        rig.machine.tick();
        rig.machine.poll_own(0)
    });
    end.map(|end| end.map(|data| data.len()))
}

/// The port stands still on paper: the device has let go of nothing yet.
fn stopped_with(request: OwnRequest) -> AhciRig {
    let mut rig = AhciRig::new();
    rig.machine.ahci.ports[0].delay = 50;
    rig.machine.ahci.ports[0].slow_stop = 6;
    rig.machine.ahci.ports[0].late_wait = 300;
    rig.machine.submit_own(0, request).unwrap();
    (0..2).for_each(|_| rig.machine.tick());
    rig.guest(0).put(px::CMD, 6 | 1 << 4).unwrap();
    rig
}

#[test]
fn a_request_that_the_guest_stopped_the_port_under_is_lost_and_not_done() {
    let data = payload(3, 5000, 8);
    for request in [read(5000, 8), OwnRequest { op: OwnOp::Write, lba: 5000, data }, flush()] {
        let mut rig = stopped_with(request);
        assert_eq!(looked_for(&mut rig), Some(Err(OwnError::Lost)), "nobody but the VMM looks");
        rig.recovers();
    }
}

#[test]
fn a_port_that_the_guest_stopped_while_ours_failed_stays_stopped() {
    let mut rig = AhciRig::new();
    rig.machine.ahci.ports[0].slow_stop = 8;
    rig.platter().inject_error(5000, 0x40);
    rig.machine.submit_own(0, read(5000, 8)).unwrap();
    (0..6).for_each(|_| rig.machine.tick());
    assert!(rig.machine.poll_own(0).is_none(), "the port is being started anew");
    rig.guest(0).put(px::CMD, 6 | 1 << 4).unwrap();
    assert_eq!(looked_for(&mut rig), Some(Err(OwnError::Lost)));
    assert_eq!(rig.machine.ahci.ports[0].read_only(px::CMD) & 1, 0, "started against the guest's will");
    rig.guest(0).stop().unwrap();
    rig.guest(0).start().unwrap();
    rig.read(By::DmaExt, 9000, 8, PAGES).unwrap();
    rig.recovers();
}

#[test]
fn nothing_of_ours_is_sent_inside_a_soft_reset_and_all_of_it_afterwards() {
    let mut rig = AhciRig::new();
    let control = |rig: &mut AhciRig, value: u8| {
        let mut bytes = [0; 20];
        (bytes[0], bytes[15]) = (0x27, value);
        let table = Table { at: rig.guest(0).table_at(1), regions: Vec::new() };
        rig.guest(0).prepare(1, bytes, false, &table);
        rig.guest(0).ring(1 << 1, false).unwrap();
        for _ in 0..5 {
            rig.machine.tick();
            let _ = rig.guest(0).get(px::CI);
        }
        assert_eq!(rig.guest(0).get(px::CI), Ok(0), "device control {value:#x} is done");
    };
    control(&mut rig, 4);
    let before = rig.machine.ahci.ports[0].commands.len();
    rig.machine.submit_own(0, read(5000, 8)).unwrap();
    for _ in 0..5 {
        rig.machine.tick();
        assert!(rig.machine.poll_own(0).is_none());
    }
    assert_eq!(rig.machine.ahci.ports[0].commands.len(), before, "a command inside the reset");
    control(&mut rig, 0);
    assert_eq!(rig.machine.ahci.ports[0].controls, [4, 0]);
    assert_eq!(ended(&mut rig), Some(Ok(8 * SECTOR_BYTES)), "it is sent now");
    rig.read(By::DmaExt, 5000, 8, PAGES).unwrap();
}

#[test]
fn a_guest_that_clears_causes_blindly_does_not_hide_our_failure() {
    let mut rig = AhciRig::new();
    rig.platter().inject_error(5000, 0x40);
    rig.machine.submit_own(0, read(5000, 8)).unwrap();
    (0..6).for_each(|_| rig.machine.tick());
    let before = rig.machine.ahci.ports[0].commands.len();
    rig.guest(0).put(px::IS, u32::MAX).unwrap();
    assert_eq!(ended(&mut rig), Some(Err(OwnError::Device)));
    assert_eq!(rig.machine.ahci.ports[0].commands.len(), before, "a port that has halted went on");
    rig.read(By::DmaExt, 6000, 8, PAGES).unwrap();
}

#[test]
fn our_failure_is_seen_beside_one_that_the_guest_has_not_cleared() {
    let mut rig = AhciRig::new();
    rig.platter().inject_error(5000, 0x40);
    rig.prepare(4, By::DmaExt, None, 5000, 8, PAGES);
    rig.guest(0).ring(1 << 4, false).unwrap();
    (0..6).for_each(|_| rig.machine.tick());
    // Started anew with the cause still there.
    rig.guest(0).put(px::IE, 0).unwrap();
    rig.guest(0).get(px::IS).unwrap();
    rig.guest(0).put(px::CMD, 6 | 1 << 4).unwrap();
    rig.guest(0).put(px::CMD, 7 | 1 << 4).unwrap();
    let before = rig.guest(0).get(px::IS).unwrap();
    assert_ne!(before & 1 << 30, 0);
    assert_eq!(rig.own_read(5000, 8), Err(OwnError::Device));
    assert_eq!(rig.guest(0).get(px::IS), Ok(before), "the guest's own cause is still there");
    rig.guest(0).put(px::IS, u32::MAX).unwrap();
    assert_eq!(rig.guest(0).get(px::IS), Ok(0));
    rig.recovers();
}

/// The link of a port is reset, and the port runs.
fn reset_link(rig: &mut AhciRig, port: u32) {
    let mut guest = rig.guest(port);
    guest.stop().unwrap();
    guest.put(px::SCTL, 0x301).and_then(|()| guest.put(px::SCTL, 0x300)).unwrap();
    guest.start().unwrap();
}

#[test]
fn a_buffer_of_ours_stays_lent_to_the_port_that_works_on_it_wherever_the_disk_was_before() {
    let mut rig = stopped_with(read(5000, 8));
    assert_eq!(looked_for(&mut rig), Some(Err(OwnError::Lost)));
    // From port 0 to port 3, where nothing was.
    let disk = rig.machine.ahci.ports[0].unplug().unwrap();
    rig.guest(0).put(px::SERR, u32::MAX).unwrap();
    rig.machine.ahci.ports[3].plug(disk);
    reset_link(&mut rig, 3);
    rig.guest(3).run(0, fis(0xec, 0, 0, 0), false, vec![(DATA, 512)]).unwrap();
    assert_eq!(rig.machine.submit_own(0, read(6000, 8)), Err(OwnError::NotReady), "port 0 has its buffer yet");
    reset_link(&mut rig, 0);
    let port = &mut rig.machine.ahci.ports[3];
    (port.delay, port.lingers, port.late_wait) = (50, true, 100);
    let data = payload(9, 100, 8);
    rig.machine.submit_own(0, OwnRequest { op: OwnOp::Write, lba: 100, data: data.clone() }).unwrap();
    (0..2).for_each(|_| rig.machine.tick());
    rig.guest(3).put(px::CMD, 6 | 1 << 4).unwrap();
    assert_eq!(looked_for(&mut rig), Some(Err(OwnError::Lost)));
    // The reset of another port frees nothing, and another disk gets other buffers.
    reset_link(&mut rig, 0);
    rig.machine.set_ranges(1, Arc::new(SimRanges::new(1000..90_000))).unwrap();
    rig.guest(1).run(0, fis(0xec, 0, 0, 0), false, vec![(DATA, 512)]).unwrap();
    rig.guest(1).run(3, fis(0x25, 5000, 8, 3), false, vec![(DATA, 4096)]).unwrap();
    (0..200).for_each(|_| rig.machine.tick());
    let platter = &rig.machine.ahci.ports[3].disk.as_ref().unwrap().platter;
    assert!(platter.written.contains(&100), "the device never came so far");
    assert!(platter.read(100) == data[..SECTOR_BYTES], "another disk's data was written");
}

#[test]
fn nothing_of_the_arena_is_lost_over_sleep() {
    let mut rig = AhciRig::new();
    let mut after_sleep = || {
        rig.own_read(5000, 8).unwrap();
        rig.machine.sleep();
        rig.machine.config(4, mediator::Width::Word, mediator::Op::Write(6));
        rig.recovers();
        rig.own_read(990, 20).unwrap();
        (rig.machine.arena.live_buffers(), rig.machine.arena.live_bytes())
    };
    let first = after_sleep();
    assert_eq!([after_sleep(), after_sleep()], [first; 2]);
}

#[test]
fn a_request_that_nobody_asks_for_any_more_makes_room() {
    let mut rig = AhciRig::new();
    rig.machine.submit_own(0, read(5000, 8)).unwrap();
    rig.machine.drop_own(0);
    assert_eq!(rig.machine.submit_own(0, read(5000, 8)), Err(OwnError::Busy));
    (0..4).for_each(|_| rig.machine.tick());
    assert_eq!(rig.machine.poll_own(0).map(|end| end.is_err()), Some(true), "it is not this one's answer");
    // And who asks for the next one at once gets it, with nobody looking in between.
    rig.machine.submit_own(0, read(6000, 8)).unwrap();
    rig.machine.drop_own(0);
    (0..4).for_each(|_| rig.machine.tick());
    rig.own_read(5000, 8).unwrap();
}

#[test]
fn a_disk_that_is_gone_or_stopped_is_an_error() {
    let mut rig = AhciRig::new();
    rig.machine.submit_own(0, read(5000, 8)).unwrap();
    rig.machine.ahci.ports[0].unplug();
    (0..4).for_each(|_| rig.machine.tick());
    assert!(rig.machine.poll_own(0).is_none());
    rig.guest(0).put(px::SERR, u32::MAX).unwrap();
    rig.guest(0).stop().unwrap();
    assert_eq!(rig.machine.poll_own(0), Some(Err(OwnError::Lost)));
    assert_eq!(rig.machine.submit_own(0, read(5000, 8)), Err(OwnError::NotReady));
    assert_eq!(rig.machine.read(at(0, px::CI)), 0);
}

#[test]
fn the_last_fis_is_the_guests_although_a_request_that_is_not_its_own_ended_since() {
    let mut rig = AhciRig::new();
    rig.machine.ahci.ports[0].commands.clear();
    rig.prepare(4, By::DmaExt, None, 6000, 8, PAGES);
    rig.guest(0).ring(1 << 4, false).unwrap();
    (0..4).for_each(|_| rig.machine.tick());
    // The guest has not looked yet.
    rig.platter().inject_error(5001, 0x40);
    assert_eq!(rig.own_read(5000, 8), Err(OwnError::Device));
    assert_eq!(rig.machine.ahci.ports[0].commands.len(), 2);
    assert_eq!(rig.guest(0).get(px::IS).unwrap() & 1, 1, "its own cause is still there");
    let fis = rig.guest(0).register_fis();
    assert_eq!(fis[2..4], [0x50, 0], "status and error: {fis:x?}");
    rig.guest(0).finish(1 << 4).unwrap();
}
