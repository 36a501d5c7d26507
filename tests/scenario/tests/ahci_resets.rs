//! Resets at each step, sleep, power cuts at every write, and an arena without memory.
#![forbid(unsafe_code)]

use scenario::ahci::{AhciRig, By, ODD, PAGES, PROTECTED, SECTORS};
use scenario::payload;
use sim::ahci::{Failure, at, fis, hba, px};
use sim::{Platter, SimRanges};

/// A few requests, one of them in parts.
fn script(rig: &mut AhciRig, by: By) -> Result<(), Failure> {
    rig.write_only(by, PROTECTED.start - 2, &payload(1, PROTECTED.start - 2, 12), ODD)?;
    let regions = rig.prepare(4, by, None, PROTECTED.start - 2, 12, PAGES);
    rig.guest(0).ring(1 << 4, by == By::Queued)?;
    rig.guest(0).finish(1 << 4)?;
    rig.expect_data(PROTECTED.start - 2, &regions);
    rig.write_only(by, 9000, &payload(2, 9000, 200), PAGES)
}

fn reset_at_every_step(by: By, reset: impl Fn(&mut AhciRig)) {
    for slow in [0, 3] {
        for steps in 0.. {
            let mut rig = AhciRig::new();
            rig.machine.ahci.ports[0].slow_stop = slow;
            rig.machine.budget = Some(steps);
            let outcome = script(&mut rig, by);
            rig.machine.budget = None;
            rig.check_secrecy();
            if outcome.is_ok() {
                break;
            }
            assert_eq!(outcome, Err(Failure::Stopped));
            reset(&mut rig);
            rig.check_secrecy();
            rig.recovers();
        }
    }
}

#[test]
fn the_port_may_be_stopped_at_every_step() {
    for by in [By::Queued, By::DmaExt] {
        reset_at_every_step(by, |rig| {
            let now = rig.guest(0).get(px::CMD).unwrap();
            rig.guest(0).put(px::CMD, now & !1).unwrap();
        });
    }
}

#[test]
fn the_link_may_be_reset_at_every_step() {
    reset_at_every_step(By::Queued, |rig| {
        rig.guest(0).put(px::SCTL, 0x301).unwrap();
        rig.guest(0).put(px::SCTL, 0x300).unwrap();
        rig.guest(0).recover(true).unwrap();
    });
}

#[test]
fn the_controller_may_be_reset_at_every_step() {
    for by in [By::Queued, By::Pio] {
        reset_at_every_step(by, |rig| {
            rig.machine.write(hba::GHC, 1);
            assert_eq!(rig.machine.read(at(0, px::CI)), 0);
        });
    }
}

#[test]
fn the_machine_may_sleep_at_every_step() {
    reset_at_every_step(By::Queued, |rig| {
        rig.machine.sleep();
        let on = mediator::Op::Write(6);
        rig.machine.config(4, mediator::Width::Word, on);
        assert_eq!(rig.machine.read(at(0, px::CMD)) & 1, 0, "the port does not run");
    });
}

#[test]
fn a_reset_by_another_cpu_while_data_is_encrypted_overtakes_it() {
    for reset in [(|machine| machine.write(hba::GHC, 1)) as fn(&mut sim::ahci::AhciMachine), |machine| {
        machine.write(at(0, px::CMD), 6)
    }] {
        for write in [true, false] {
            let mut rig = AhciRig::new();
            rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
            let before = rig.platter().written.len();
            let data = payload(2, 5000, 8);
            rig.prepare(4, By::Queued, write.then_some(&data[..]), 5000, 8, PAGES);
            rig.machine.meanwhile = Some(reset);
            rig.guest(0).ring(1 << 4, true).unwrap();
            (0..5).for_each(|_| rig.machine.tick());
            let _ = rig.guest(0).get(px::IS);
            assert!(rig.machine.meanwhile.is_none());
            assert_eq!(rig.platter().written.len(), before, "the write came too late");
            rig.recovers();
        }
    }
}

#[test]
fn what_was_issued_when_the_port_halted_is_forgotten_with_it() {
    let mut rig = AhciRig::new();
    rig.platter().inject_error(5000, 0x40);
    rig.prepare(4, By::Queued, None, 5000, 8, PAGES);
    rig.prepare(5, By::Queued, None, 6000, 8, PAGES);
    rig.guest(0).ring(1 << 4, true).unwrap();
    assert_eq!(rig.guest(0).finish(1 << 4), Err(Failure::Device { tfd: 0x4041 }));
    rig.guest(0).ring(1 << 5, true).unwrap();
    assert_eq!(rig.guest(0).get(px::CI).unwrap() & 1 << 5, 1 << 5);
    rig.guest(0).recover(false).unwrap();
    assert_eq!((rig.guest(0).get(px::CI), rig.guest(0).get(px::SACT)), (Ok(0), Ok(0)));
    rig.read(By::Queued, 6000, 8, PAGES).unwrap();
}

#[test]
fn writes_survive_a_power_cut_at_every_sector() {
    for by in [By::Queued, By::Pio] {
        for cut in 1..=33 {
            let mut platter = Platter::new(SECTORS);
            platter.cut_after = Some(cut);
            let mut rig = AhciRig::with(platter, SimRanges::new(PROTECTED));
            let mut sequence = || {
                for (seed, sectors) in [(1, 20), (2, 4), (3, 9)] {
                    rig.write_only(by, PROTECTED.start - 2, &payload(seed, PROTECTED.start - 2, sectors), ODD)?;
                    rig.guest(0).run(0, fis(0xea, 0, 0, 0), false, vec![])?;
                    rig.model.flushed();
                }
                Ok::<_, Failure>(())
            };
            assert!(sequence().is_err(), "cut at {cut}");
            let mut rig = rig.after_power_cut(|index| (index + cut) % 3 > 0);
            let ranges = rig.ranges.clone();
            let platter = &rig.machine.ahci.ports[0].disk.as_ref().unwrap().platter;
            rig.model.check_all(&ranges, platter);
        }
    }
}

#[test]
fn a_controller_without_memory_is_not_taken_over_or_its_ports_do_not_run() {
    for nth in 0..4 {
        let disk = match sim::ide::Kind::disk(100_000) {
            sim::ide::Kind::Disk(disk) => *disk,
            _ => unreachable!(),
        };
        let mut machine =
            sim::ahci::AhciMachine::new(sim::ahci::SimAhci::new(vec![sim::ahci::SimPort::new(Some(disk))]));
        machine.arena.fail_nth = Some(nth);
        let outcome = machine.attach(&ahci::DRIVER);
        match nth {
            0 | 1 => assert!(outcome.is_err(), "bounce buffers, memory of the port"),
            2 => assert!(outcome.is_ok() && machine.disks().is_empty(), "the answer to IDENTIFY"),
            _ => assert_eq!((outcome.is_ok(), machine.disks().len()), (true, 1)),
        }
        assert!(machine.faults.is_empty());
    }
    let mut rig = AhciRig::new();
    rig.machine.arena.exhausted = true;
    rig.guest(3).start().unwrap();
    assert_eq!(rig.guest(3).get(px::CMD).unwrap() & 0x11, 0, "a port without memory does not start");
    rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
}
