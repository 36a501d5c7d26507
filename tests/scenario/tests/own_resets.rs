//! What ends a request of the VMM's own on IDE: resets, sleep, a device that hangs, and configuration.
#![forbid(unsafe_code)]

use mediator::Width;
use mediator::disk::{OwnError, OwnOp};
use scenario::busy::{busy_rig, received, slow};
use scenario::own::{OwnRig, flush, read, write};
use scenario::{DATA, Rig, Way, payload};
use sim::guest::Failure;
use sim::ide::{BUS_MASTER_BASE, status};

#[test]
fn a_reset_at_every_step_ends_the_request_and_the_next_one_works() {
    let resets: [fn(&mut Rig); 3] = [
        |rig| {
            rig.disk().soft_reset().unwrap();
        },
        |rig| {
            rig.disk().bm_stop().unwrap();
            rig.disk().soft_reset().unwrap();
        },
        |rig| {
            rig.machine.sleep(|_| ());
            for (offset, value) in [(0x40, 0x8000_8000), (0x20, u32::from(BUS_MASTER_BASE) | 1), (4, 5)] {
                rig.machine.guest_config_write(offset, Width::Dword, value);
            }
            assert_eq!(rig.machine.violations, []);
            rig.disk().identify(0xec).unwrap();
        },
    ];
    for (number, reset) in resets.into_iter().enumerate() {
        for (steps, held) in (0..14).flat_map(|steps| [(steps, false), (steps, true)]) {
            for request in [read(990, 20), write(5000, &payload(5, 5000, 9)), flush()] {
                let mut rig = slow();
                rig.write(Way::LINUX, 990, &payload(1, 990, 20)).unwrap();
                let op = request.op;
                if op == OwnOp::Write {
                    rig.model.may_have_written(&rig.ranges, 5000, &request.data);
                }
                rig.submit_own(request).unwrap();
                if held {
                    rig.start_dma(true, 7000, 4, &[(DATA, 2048)]).unwrap();
                    rig.model.may_hold_anything(7000, 4);
                }
                (0..steps).for_each(|_| rig.machine.tick());
                reset(&mut rig);
                assert!(!rig.machine.ide.channels[0].bm.is_started(), "the bus master runs on after a reset");
                let end = (0..200).find_map(|_| {
                    rig.machine.tick();
                    rig.poll_own()
                });
                match end.unwrap_or_else(|| panic!("{number} {steps} {held} {op:?}: it never ends")) {
                    Ok(data) if op == OwnOp::Read => rig.expect_own(990, &data),
                    Ok(_) => {}
                    Err(error) => assert_eq!(error, OwnError::Lost),
                }
                rig.check();
                rig.own_read(990, 20).unwrap();
                for way in [Way::ODD, Way::BIOS, Way::PIO] {
                    rig.read(way, 989, 12).unwrap();
                    rig.write(way, 995, &payload(9, 995, 10)).unwrap();
                }
                rig.own_read(990, 20).unwrap();
                assert!(!rig.machine.ide.irq(0));
            }
        }
    }
}

#[test]
fn a_guest_that_stops_at_every_step_and_resets_has_a_working_disk_beside_ours() {
    for way in [Way::LINUX, Way::ODD, Way::BIOS, Way::PIO, Way::MULTIPLE] {
        for (step, is_write) in (0..).step_by(3).zip([true, false].into_iter().cycle()) {
            let (mut rig, busy) = busy_rig(step);
            rig.machine.ide.channels[0].sectors_per_tick = 2;
            rig.write(Way::LINUX, 998, &payload(1, 998, 12)).unwrap();
            let others = busy.clone();
            rig.machine.beside = Some(Box::new(move |machine| others.borrow_mut().turn(machine)));
            rig.machine.budget = Some(step as u32);
            let outcome = match is_write {
                true => rig.write_only(way, 999, &payload(2, 999, 6)),
                false => rig.read(way, 999, 6),
            };
            rig.machine.beside = None;
            rig.machine.budget = None;
            rig.check_platter();
            if outcome.is_ok() {
                break;
            }
            assert_eq!(outcome, Err(Failure::Stopped), "{way:?} at step {step}");
            rig.disk().soft_reset().unwrap();
            rig.disk().bm_stop().unwrap();
            for disk in [0, 1] {
                let end = (0..2000).find_map(|_| {
                    rig.machine.tick();
                    rig.machine.poll_own(disk)
                });
                let end = end.expect("it ends");
                assert!(matches!(end, Ok(_) | Err(OwnError::Lost | OwnError::Request)), "{end:?}");
            }
            rig.check();
            rig.read(way, 998, 12).unwrap_or_else(|e| panic!("{way:?} at step {step}: {e:?}"));
            rig.write(Way::LINUX, 997, &payload(3, 997, 14)).unwrap();
            rig.own_read(996, 16).unwrap();
        }
    }
}

#[test]
fn a_device_that_hangs_ends_the_request_and_the_guest_finds_a_busy_drive_until_it_resets() {
    for held in [false, true] {
        let mut rig = slow();
        rig.machine.ide.channels[0].sectors_per_tick = 0;
        rig.submit_own(write(5000, &payload(1, 5000, 8))).unwrap();
        rig.model.may_hold_anything(5000, 8);
        if held {
            rig.start_dma(false, 7000, 4, &[(DATA, 2048)]).unwrap();
        }
        let end = (0..40_000).find_map(|_| {
            rig.machine.tick();
            rig.poll_own()
        });
        assert_eq!(end, Some(Err(OwnError::Lost)));
        assert!(!rig.machine.ide.channels[0].bm.is_started(), "it reaches memory that others may have now");
        assert_eq!(rig.disk().input(7).unwrap() & status::BSY, status::BSY);
        rig.machine.ide.channels[0].sectors_per_tick = 1;
        (0..20).for_each(|_| rig.machine.tick());
        rig.disk().soft_reset().unwrap();
        rig.read(Way::LINUX, 998, 6).unwrap();
        rig.own_read(998, 6).unwrap();
        rig.check();
    }
}

#[test]
fn configuration_waits_for_ours_and_not_for_ever() {
    let mut rig = slow();
    rig.submit_own(write(5000, &payload(1, 5000, 8))).unwrap();
    rig.model.may_have_written(&rig.ranges, 5000, &payload(1, 5000, 8));
    // Bus mastering off, as a guest does that shuts down.
    rig.machine.guest_config_write(4, Width::Word, 1);
    assert!(rig.machine.violations.is_empty());
    assert_eq!(rig.machine.guest_config_read(4, Width::Word) & 5, 1);
    assert_eq!(rig.poll_own(), Some(Ok(payload(1, 5000, 8))));
    assert_eq!(rig.submit_own(read(5000, 8)), Err(OwnError::NotReady));
    rig.machine.guest_config_write(4, Width::Word, 5);
    // One that hangs.
    rig.machine.ide.channels[0].sectors_per_tick = 0;
    rig.submit_own(read(5000, 8)).unwrap();
    rig.machine.guest_config_write(4, Width::Word, 1);
    assert_eq!(rig.machine.violations.len(), 1);
    assert_eq!(rig.machine.guest_config_read(4, Width::Word) & 5, 5);
    rig.machine.violations.clear();
    rig.machine.ide.channels[0].sectors_per_tick = 1;
    rig.disk().soft_reset().unwrap();
    assert_eq!(rig.poll_own(), Some(Err(OwnError::Lost)));
    rig.own_read(5000, 8).unwrap();
}

#[test]
fn none_begins_inside_a_soft_reset_and_it_begins_afterwards() {
    let mut rig = slow();
    rig.disk().out(8, 4).unwrap();
    let before = received(&rig.machine).len();
    rig.submit_own(read(5000, 8)).unwrap();
    for _ in 0..5 {
        rig.machine.tick();
        assert!(rig.poll_own().is_none());
    }
    assert_eq!(received(&rig.machine).len(), before, "a command inside the reset");
    rig.disk().out(8, 0).unwrap();
    let end = (0..20).find_map(|_| {
        rig.machine.tick();
        rig.poll_own()
    });
    rig.expect_own(5000, &end.unwrap().unwrap());
}
