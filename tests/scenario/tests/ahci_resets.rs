//! Resets at each step, sleep, power cuts at every write, and an arena without memory.
#![forbid(unsafe_code)]

use mediator::{Op, Width};
use scenario::ahci::{AhciRig, By, DATA, ODD, PAGES, PROTECTED, SECTORS};
use scenario::payload;
use sim::ahci::{Failure, Table, at, fis, hba, px};
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
    for slow in [0, 1, 3] {
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
fn a_link_reset_of_a_port_that_runs_delivers_no_buffer() {
    let mut rig = AhciRig::new();
    // What the buffer holds from before.
    rig.write(By::DmaExt, 5000, &payload(1, 5000, 8), PAGES).unwrap();
    rig.machine.ahci.ports[0].delay = 100;
    let regions = rig.prepare(3, By::Queued, None, PROTECTED.start - 8, 16, PAGES);
    let nothing = [0xcc; 16 * 512];
    rig.machine.ram.poke(regions[0].0, &nothing);
    rig.guest(0).ring(1 << 3, true).unwrap();
    (0..2).for_each(|_| rig.machine.tick());
    rig.guest(0).put(px::SCTL, 0x301).unwrap();
    rig.guest(0).put(px::SCTL, 0x300).unwrap();
    assert_eq!(rig.guest(0).get(px::SACT), Ok(1 << 3), "it is not done");
    assert!(rig.machine.ram.peek(regions[0].0, nothing.len()) == nothing, "data that the disk never sent");
    rig.recovers();
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
fn the_controller_may_be_exchanged_at_every_step_and_is_found_at_another_place() {
    reset_at_every_step(By::Queued, |rig| {
        rig.machine.exchange();
        rig.machine.config(0x24, Width::Dword, Op::Write(0xe000_0000));
        rig.machine.config(4, Width::Word, Op::Write(6));
        assert_eq!(rig.machine.config(0x24, Width::Dword, Op::Read), 0xe000_0000);
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

#[test]
fn what_a_stopped_port_forgets_is_not_done_and_tells_nobody_who_the_disk_is() {
    let mut rig = AhciRig::new();
    // The buffer of the answer holds something else.
    rig.write(By::DmaExt, 6000, &payload(1, 6000, 8), PAGES).unwrap();
    rig.machine.ahci.ports[0].delay = 50;
    rig.machine.ahci.ports[0].slow_stop = 3;
    let table = Table { at: rig.guest(0).table_at(5), regions: vec![(DATA, 512)] };
    rig.guest(0).prepare(5, fis(0xec, 0, 0, 5), false, &table);
    rig.guest(0).ring(1 << 5, false).unwrap();
    rig.machine.tick();
    rig.guest(0).put(px::CMD, 6 | 1 << 4).unwrap();
    // The list is empty, and the port still runs down.
    rig.guest(0).get(px::IS).unwrap();
    rig.guest(0).get(px::CI).unwrap();
    rig.guest(0).recover(false).unwrap();
    rig.machine.ahci.ports[0].delay = 0;
    rig.machine.ram.poke(DATA, &payload(1, 5000, 8));
    let _ = rig.guest(0).run(5, fis(0x35, 5000, 8, 5), true, vec![(DATA, 4096)]);
    rig.check_secrecy();
}

#[test]
fn a_port_that_is_stopped_sends_nothing_of_what_it_was_given_before() {
    for slow in [1, 2, 5] {
        let mut rig = AhciRig::new();
        rig.machine.ahci.ports[0].slow_stop = slow;
        rig.prepare(4, By::Queued, Some(&payload(1, 5000, 8)), 5000, 8, PAGES);
        // While the data is encrypted.
        rig.machine.meanwhile = Some(|machine| machine.write(at(0, px::CMD), 6 | 1 << 4));
        rig.guest(0).ring(1 << 4, true).unwrap();
        rig.guest(0).recover(false).unwrap();
        // Anything makes the mediator send what it has.
        let _ = rig.guest(0).get(px::CI);
        rig.prepare(7, By::DmaExt, None, 9000, 8, PAGES);
        rig.guest(0).ring(1 << 7, false).unwrap();
        rig.guest(0).finish(1 << 7).unwrap();
        (0..10).for_each(|_| rig.machine.tick());
        assert!(rig.platter().written.is_empty(), "a forgotten write was sent, {slow} reads to stop");
        assert_eq!(rig.machine.ahci.ports[0].commands.iter().filter(|it| it.0 == 0x61).count(), 0);
    }
}

#[test]
fn buffers_that_a_device_works_on_after_the_port_was_stopped_are_nobody_elses_until_it_is_reset() {
    for by in [By::Queued, By::DmaExt] {
        let mut rig = AhciRig::new();
        rig.write(by, 7000, &payload(1, 7000, 8), PAGES).unwrap();
        let port = &mut rig.machine.ahci.ports[0];
        (port.lingers, port.delay, port.late_wait) = (true, 50, 0);
        let late = payload(2, 5000, 8);
        rig.prepare(4, by, Some(&late), 5000, 8, PAGES);
        rig.guest(0).ring(1 << 4, by == By::Queued).unwrap();
        rig.machine.tick();
        rig.machine.tick();
        rig.machine.ahci.ports[0].late_wait = 40;
        rig.guest(0).recover(false).unwrap();
        rig.machine.ahci.ports[0].delay = 0;
        // What is read now would lie in clear in the buffer of the write.
        rig.read(by, 7000, 8, PAGES).unwrap();
        (0..100).for_each(|_| rig.machine.tick());
        assert!(rig.platter().written.contains(&5000), "the device still had it");
        rig.check_secrecy();
        rig.model.wrote(5000, &late);
        rig.read(by, 5000, 8, PAGES).unwrap();
        // Over and over: the buffers come back with a reset of the link.
        for round in 0..40 {
            rig.machine.ahci.ports[0].delay = 50;
            rig.prepare(4, by, Some(&late), 5000, 8, PAGES);
            rig.guest(0).ring(1 << 4, by == By::Queued).unwrap();
            rig.machine.tick();
            rig.guest(0).recover(round % 4 == 0).unwrap();
            rig.machine.ahci.ports[0].delay = 0;
            if round % 4 == 0 {
                rig.identify(0).unwrap();
            }
            rig.read(by, 7000, 8, PAGES).unwrap();
        }
    }
}

#[test]
fn the_log_of_a_failed_queued_command_gives_the_buffers_of_the_others_back() {
    let mut rig = AhciRig::new();
    rig.platter().inject_error(5000, 0x40);
    for _ in 0..8 {
        for slot in 4..12 {
            rig.prepare(slot, By::Queued, None, 5000 + u64::from(slot - 4) * 64, 64, PAGES);
        }
        rig.guest(0).ring(0xff0, true).unwrap();
        while rig.guest(0).interrupt().is_ok() {}
        rig.guest(0).recover(false).unwrap();
        rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    }
    rig.read(By::Queued, 6000, 8, PAGES).unwrap();
}

#[test]
fn after_sleep_a_port_runs_on_our_memory_whatever_is_started_first() {
    let mut rig = AhciRig::new();
    rig.machine.sleep();
    rig.machine.config(4, mediator::Width::Word, mediator::Op::Write(6));
    rig.guest(0).put(px::CMD, 7).unwrap();
    assert_ne!(rig.machine.ahci.ports[0].read_only(px::CLB), 0, "the list is the one of before");
    assert_ne!(rig.machine.ahci.ports[0].read_only(px::FB), 0);
    rig.guest(0).ring(1, false).unwrap();
    (0..5).for_each(|_| rig.machine.tick());
    rig.check_secrecy();
    // Firmware that has started it on its own list: it is not started by us.
    rig.machine.sleep();
    rig.machine.config(4, mediator::Width::Word, mediator::Op::Write(6));
    rig.machine.ahci.ports[0].write(px::FB, 0x40_0000);
    rig.machine.ahci.ports[0].write(px::CMD, 6 | 1 << 4);
    rig.guest(0).put(px::CMD, 7 | 1 << 4).unwrap();
    assert_eq!(rig.machine.ahci.ports[0].read_only(px::CMD) & 0x11, 0, "it stops");
    rig.guest(0).start().unwrap();
    rig.identify(0).unwrap();
    rig.read(By::Queued, 6000, 8, PAGES).unwrap();
}

#[test]
fn a_reset_by_software_after_a_failed_command_is_no_failure_itself() {
    let mut rig = AhciRig::new();
    rig.platter().inject_error(5000, 0x40);
    assert!(rig.read(By::DmaExt, 5000, 8, PAGES).is_err());
    rig.guest(0).recover(false).unwrap();
    let mut control = fis(0, 0, 0, 0);
    (control[1], control[15]) = (0, 4);
    let table = Table { at: rig.guest(0).table_at(0), regions: vec![] };
    rig.guest(0).prepare(0, control, false, &table);
    rig.guest(0).ring(1, false).unwrap();
    rig.machine.tick();
    assert_eq!(rig.guest(0).get(px::CI), Ok(0), "the frame was sent");
    control[15] = 0;
    rig.guest(0).prepare(0, control, false, &table);
    rig.guest(0).ring(1, false).unwrap();
    rig.machine.tick();
    assert_eq!(rig.guest(0).get(px::CI), Ok(0));
    assert_eq!(rig.machine.ahci.ports[0].controls, [4, 0]);
    rig.identify(0).unwrap();
    rig.read(By::DmaExt, 6000, 8, PAGES).unwrap();
}

#[test]
fn a_reset_that_the_controller_does_not_hear_of_gives_no_buffer_back() {
    for (zeros, by) in [(false, By::Queued), (true, By::Queued), (false, By::DmaExt), (true, By::DmaExt)] {
        let mut rig = AhciRig::new();
        if zeros {
            rig.machine.read_zeros_of_nobody();
        }
        rig.write(by, 7000, &payload(1, 7000, 8), PAGES).unwrap();
        let port = &mut rig.machine.ahci.ports[0];
        (port.lingers, port.delay, port.late_wait) = (true, 50, 0);
        let late = payload(2, 5000, 8);
        rig.prepare(4, by, Some(&late), 5000, 8, PAGES);
        rig.guest(0).ring(1 << 4, by == By::Queued).unwrap();
        rig.machine.tick();
        rig.machine.tick();
        rig.machine.ahci.ports[0].late_wait = 40;
        rig.guest(0).recover(false).unwrap();
        // Neither of the controller, with or without it the port has let go of nothing.
        rig.machine.config(4, Width::Word, Op::Write(4));
        let gone = rig.machine.read(4);
        assert_eq!(gone, u32::MAX, "no register answers, whatever is read from nobody");
        rig.machine.write(4, 1 << 31 | 1);
        rig.machine.config(4, Width::Word, Op::Write(6));
        rig.guest(0).recover(false).unwrap();
        rig.machine.ahci.ports[0].delay = 0;
        rig.read(by, 7000, 8, PAGES).unwrap();
        (0..100).for_each(|_| rig.machine.tick());
        assert!(rig.platter().written.contains(&5000), "the device still had it");
        rig.check_secrecy();
    }
}

#[test]
fn what_the_guest_has_issued_keeps_the_registers_decoded() {
    let mut rig = AhciRig::new();
    rig.machine.read_zeros_of_nobody();
    rig.machine.ahci.ports[0].delay = 5;
    rig.prepare(4, By::DmaExt, None, 5000, 8, PAGES);
    rig.guest(0).ring(1 << 4, false).unwrap();
    rig.machine.config(4, Width::Word, Op::Write(4));
    assert_eq!(rig.machine.violations.len(), 1, "in mid-transfer");
    while rig.guest(0).get(px::CI).unwrap() != 0 {
        rig.machine.tick();
    }
    rig.machine.config(4, Width::Word, Op::Write(4));
    assert_eq!(rig.machine.violations.len(), 1);
}
