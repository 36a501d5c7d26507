//! The VMM's own requests beside the guest's, on IDE.
#![forbid(unsafe_code)]

use mediator::Width;
use mediator::disk::OwnError;
use scenario::busy::{busy_rig, received, slow, slow_down};
use scenario::own::{
    OwnRig, Random, each_reads_what_the_other_has_written, flush, read, what_is_no_request_is_refused, write,
};
use scenario::{DATA, PLAIN, PROTECTED, Rig, SECTORS, Way, command, payload};
use sim::guest::{Command, GuestDriver, Style};
use sim::ide::{Kind, status};
use sim::{Machine, SECTOR_BYTES, SimIde, SimRanges};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const UNC: u8 = 0x40;
const FLUSH_CACHE: u8 = 0xe7;

#[test]
fn vmm_and_guest_read_what_the_other_has_written() {
    each_reads_what_the_other_has_written(PROTECTED, Rig::new);
}

#[test]
fn what_is_no_request_is_refused_before_the_device_sees_it() {
    let mut rig = Rig::new();
    let before = received(&rig.machine).len();
    for disk in [2, 3, usize::MAX] {
        assert_eq!(rig.machine.submit_own(disk, read(0, 1)), Err(OwnError::Request), "a CD drive, or nothing");
        assert_eq!(rig.machine.poll_own(disk), Some(Err(OwnError::Request)));
    }
    what_is_no_request_is_refused(&mut rig, SECTORS);
    assert_eq!(received(&rig.machine).len(), before + 1);
}

#[test]
fn a_flush_makes_what_was_written_last() {
    let mut rig = Rig::new();
    rig.own_write(5000, &payload(1, 5000, 8)).unwrap();
    assert_eq!(rig.own(flush(), |_| ()), Ok(Vec::new()));
    assert_eq!(received(&rig.machine).last(), Some(&FLUSH_CACHE));
    rig.model.flushed();
    let mut after = rig.after_power_cut(|_| false);
    after.own_read(5000, 8).unwrap();
    assert_eq!(&after.expected(5000)[..], &payload(1, 5000, 1)[..]);
}

/// All that a guest can read of the channel: the registers of both units, with both contents of the two-deep ones, and the bus
/// master's. Unit 0 is selected afterwards.
fn registers(machine: &mut Machine, nien: u8) -> Vec<u8> {
    let mut seen = Vec::new();
    for unit in [1, 0] {
        let mut guest = GuestDriver::new(machine, 0, unit);
        guest.out(6, 0xa0 | (unit as u8) << 4).unwrap();
        for control in [0x80, 0] {
            guest.out(8, control | nien).unwrap();
            seen.extend((1..=6).map(|offset| guest.input(offset).unwrap()));
        }
        seen.extend([8, 7].map(|offset| guest.input(offset).unwrap()));
        seen.extend([0, 2, 4, 5, 6, 7].map(|offset| guest.bm_in(offset).unwrap()));
    }
    seen
}

/// What a guest has done before.
const PASTS: &[fn(&mut Rig)] = &[
    |_| (),
    |rig| rig.write(Way::LINUX, 6000, &payload(1, 6000, 8)).unwrap(),
    |rig| rig.read(Way::PIO, 6000, 3).unwrap(),
    |rig| rig.write(Way::MULTIPLE, 6000, &payload(1, 6000, 20)).unwrap(),
    |rig| {
        rig.disk().soft_reset().unwrap();
    },
    |rig| {
        rig.machine.ide.disk(0, 0).platter.inject_error(6007, UNC);
        rig.read(Way::LINUX, 6000, 16).unwrap_err();
        rig.machine.ide.disk(0, 0).platter.heal();
    },
    // CHECK POWER MODE answers in the count register, here of unit 1.
    |rig| {
        rig.plain().non_data(Command { command: 0xe5, ..Command::default() }).unwrap();
    },
    // Not known, so refused.
    |rig| {
        rig.disk().non_data(Command { command: 0x87, ..Command::default() }).unwrap_err();
    },
    // Registers half written, the two-deep ones to one depth.
    |rig| {
        for (offset, value) in [(6, 0xe5), (2, 0x11), (3, 0x22), (2, 0x33), (5, 0x44), (1, 0x55)] {
            rig.disk().out(offset, value).unwrap();
        }
    },
];

/// One of ours from its start to its end; the guest, with this nIEN, sees `before` all the time, if it looks.
fn passes_unseen(rig: &mut Rig, disk: usize, guest_looks: bool, nien: u8, before: &[u8]) -> Result<Vec<u8>, OwnError> {
    let (settled, commands) = (rig.machine.ide.irq(0), received(&rig.machine).len());
    rig.machine.submit_own(disk, read(5000, 8)).unwrap();
    let mut steps = 0;
    let end = loop {
        if guest_looks {
            assert_eq!(registers(&mut rig.machine, nien), before, "at step {steps}");
        }
        rig.machine.tick();
        assert_eq!(rig.machine.ide.irq(0), settled, "an interrupt for the guest at step {steps}");
        steps += usize::from(received(&rig.machine).len() > commands);
        assert!(steps < 100);
        if let Some(end) = rig.machine.poll_own(disk) {
            break end;
        }
    };
    assert!(steps > 3);
    for _ in 0..3 {
        assert_eq!(rig.machine.ide.irq(0), settled, "an interrupt for the guest afterwards");
        assert_eq!(registers(&mut rig.machine, nien), before, "afterwards");
        rig.machine.tick();
    }
    end
}

#[test]
fn the_guest_sees_nothing_of_a_request_that_is_not_its_own() {
    for (number, past) in PASTS.iter().enumerate() {
        for (fails, disk, nien) in [(false, 0, 0), (true, 0, 0), (false, 1, 0), (false, 0, 2)] {
            println!("past {number}, {fails} {disk} {nien}");
            let mut rig = Rig::new();
            past(&mut rig);
            slow_down(&mut rig.machine);
            if fails {
                rig.machine.ide.disk(0, 0).platter.inject_error(5003, UNC);
            }
            let before = registers(&mut rig.machine, nien);
            assert_eq!(registers(&mut rig.machine, nien), before);
            for guest_looks in [false, false, true] {
                let end = passes_unseen(&mut rig, disk, guest_looks, nien, &before);
                assert_eq!(end.err(), fails.then_some(OwnError::Device));
            }
            for way in [Way::LINUX, Way::PIO, Way::BIOS] {
                rig.write(way, 998, &payload(3, 998, 6)).unwrap();
                rig.read(way, 998, 6).unwrap();
            }
            let mut sector = vec![0; SECTOR_BYTES];
            rig.plain().pio_in(command(Way::PIO, false, 5, 1), SECTOR_BYTES, Style::default(), &mut sector).unwrap();
            assert!(rig.machine.violations.is_empty());
        }
    }
}

#[test]
fn registers_that_the_guest_loads_meanwhile_are_those_of_its_command() {
    for unit in [0, 1] {
        let mut rig = slow();
        rig.submit_own(read(5000, 8)).unwrap();
        let mut guest = GuestDriver::new(&mut rig.machine, 0, unit);
        let mut sector = vec![0; SECTOR_BYTES];
        for (offset, value) in [(6, 0xe0 | (unit as u8) << 4), (1, 0), (2, 9), (2, 1), (3, 7), (4, 0), (5, 0)] {
            guest.out(offset, value).unwrap();
        }
        assert_eq!([2, 3].map(|offset| guest.input(offset).unwrap()), [1, 7]);
        guest.out(8, 0x80).unwrap();
        assert_eq!(guest.input(2), Ok(9), "the older content");
        guest.out(8, 0).unwrap();
        guest.out(7, 0x20).unwrap();
        assert_eq!(guest.input(8).unwrap() & status::BSY, status::BSY);
        guest.wait_not_busy().unwrap();
        guest.move_in(Style::default(), &mut sector).unwrap();
        let expected = if unit == 0 { rig.expected(7) } else { sim::Platter::new(PLAIN).read(7) };
        assert!(sector == expected, "unit {unit}");
        assert!(rig.poll_own().expect("it had to end first").is_ok());
    }
}

#[test]
fn a_command_that_waited_ends_with_its_interrupt_although_nobody_asks_for_ours() {
    for way in Way::ALL {
        for steps in 0..12 {
            let mut rig = slow();
            rig.submit_own(read(5000, 8)).unwrap();
            rig.machine.drop_own(0);
            (0..steps).for_each(|_| rig.machine.tick());
            rig.write(way, 998, &payload(1, 998, 6)).unwrap();
            rig.read(way, 998, 6).unwrap();
            assert!(!rig.machine.ide.irq(0), "an interrupt is left");
            rig.own_read(998, 6).unwrap();
            rig.check();
        }
    }
}

#[test]
fn a_command_that_waited_interrupts_the_guest_as_often_as_on_its_own() {
    // A guest that looks at nothing before it is interrupted.
    let interrupts = |own: bool, steps: usize| {
        let mut rig = slow();
        if own {
            rig.submit_own(read(5000, 4)).unwrap();
        }
        rig.machine.ide.channels[0].bm.write(2, 4);
        rig.start_dma(false, 998, 6, &[(DATA, 6 * 512)]).unwrap();
        let (mut edges, mut level, mut seen) = (0, false, 0);
        for step in 0..60 {
            rig.machine.tick();
            let now = rig.machine.ide.irq(0);
            edges += usize::from(now && !level);
            level = now;
            if now {
                let mut guest = rig.disk();
                seen += usize::from(guest.bm_in(2).unwrap() & 4 != 0);
                if guest.bm_in(2).unwrap() & 4 != 0 {
                    guest.bm_stop().unwrap();
                    guest.bm_out(2, Width::Byte, 6).unwrap();
                }
                level = rig.machine.ide.irq(0);
            }
            if own && step == steps {
                // The requester looks before the guest does.
                drop(rig.poll_own());
            }
        }
        (edges, seen)
    };
    assert_eq!(interrupts(false, 0), (1, 1));
    for steps in 0..20 {
        let (edges, seen) = interrupts(true, steps);
        assert_eq!(seen, 1, "interrupts with a cause");
        assert!(edges <= 2, "{edges} edges: one is for the end of ours, without a cause");
    }
}

#[test]
fn requests_of_both_mix_at_every_step_of_the_guest() {
    for seed in 0..40 {
        let ((mut rig, busy), mut random) = (busy_rig(seed), Random(seed + 1000));
        rig.machine.ide.channels[0].patience = [None, Some(0), Some(3)][random.below(3) as usize];
        rig.machine.ide.channels[0].sectors_per_tick = 1 + random.below(6) as u32;
        let (others, often) = (busy.clone(), 1 + random.below(5));
        let mut when = Random(seed + 2000);
        rig.machine.beside = Some(Box::new(move |machine| {
            if when.below(often) == 0 {
                others.borrow_mut().turn(machine);
            }
        }));
        for round in 0..20 {
            let way = Way::ALL[random.below(6) as usize];
            let (lba, sectors) = (PROTECTED.start - 8 + random.below(24), 1 + random.below(12));
            match random.below(5) {
                0 | 1 => rig.write(way, lba, &payload(round, lba, sectors)).unwrap(),
                2 | 3 => rig.read(way, lba, sectors).unwrap(),
                _ => {
                    let answer = rig.plain().identify(0xec).unwrap();
                    assert_eq!(answer, rig.plain().identify(0xec).unwrap());
                }
            }
        }
        assert!(busy.borrow().ended > 3, "{} of ours beside 20 of the guest's", busy.borrow().ended);
        assert!(rig.machine.violations.is_empty(), "{:?}", rig.machine.violations);
    }
}

#[test]
fn a_guest_that_never_rests_and_the_vmm_take_turns() {
    for way in [Way::LINUX, Way::BIOS, Way::PIO] {
        let mut rig = slow();
        let before = received(&rig.machine).len();
        for round in 0..20 {
            // Both disks wait for the guest's next command.
            for disk in [0, 1] {
                let _ = rig.machine.submit_own(disk, read(5000, 4));
            }
            rig.read(way, 998, 1 + round % 3).unwrap();
            for disk in [0, 1] {
                if let Some(end) = rig.machine.poll_own(disk) {
                    end.unwrap();
                }
            }
        }
        let ours = |command: &u8| usize::from(*command == 0x25);
        let commands = received(&rig.machine)[before..].to_vec();
        let all: usize = commands.iter().map(ours).sum();
        let ours = if way == Way::LINUX { all - 20 } else { all };
        assert!((15..=45).contains(&ours), "{way:?}: {ours} of ours to 20 of the guest's");
    }
}

#[test]
fn two_of_ours_never_pass_a_command_of_the_guest() {
    let mut rig = slow();
    let before = received(&rig.machine).len();
    rig.machine.submit_own(0, read(5000, 4)).unwrap();
    rig.machine.submit_own(1, read(5000, 4)).unwrap();
    let mut sector = vec![0; SECTOR_BYTES];
    rig.disk().pio_in(command(Way::PIO, false, 7, 1), SECTOR_BYTES, Style::default(), &mut sector).unwrap();
    assert_eq!(received(&rig.machine)[before..], [0x25, 0x24], "ours, the guest's, and no other");
    assert!(rig.machine.poll_own(0).is_some());
    for _ in 0..2000 {
        rig.machine.tick();
        if let Some(end) = rig.machine.poll_own(1) {
            end.unwrap();
            return;
        }
    }
    panic!("the other of ours never has its turn");
}

#[test]
fn an_interrupt_that_the_guest_has_not_taken_yet_is_left_to_it() {
    let mut rig = slow();
    rig.start_dma(false, 998, 2, &[(DATA, 1024)]).unwrap();
    // The device is done, and the guest has not looked.
    while !rig.machine.ide.irq(0) {
        rig.machine.tick();
        rig.disk().input(8).unwrap();
    }
    let before = received(&rig.machine).len();
    rig.submit_own(read(5000, 4)).unwrap();
    for _ in 0..100 {
        rig.machine.tick();
        assert!(rig.poll_own().is_none());
        assert!(rig.machine.ide.irq(0), "it is lost");
    }
    assert_eq!(received(&rig.machine).len(), before);
    rig.disk().dma_end().unwrap();
    let end = (0..20).find_map(|_| {
        rig.machine.tick();
        rig.poll_own()
    });
    assert!(end.expect("the guest is done").is_ok());
}

#[test]
fn a_guest_that_never_looks_at_the_bus_master_does_not_keep_ours_waiting() {
    for (sees_status, patience_ms) in [(true, 20), (false, 600)] {
        let mut rig = slow();
        // PIO leaves the interrupt in the bus master's status.
        rig.read(Way::PIO, 998, 2).unwrap();
        assert_ne!(rig.disk().bm_in(2).unwrap() & 4, 0);
        rig.submit_own(read(5000, 4)).unwrap();
        if sees_status {
            rig.disk().input(7).unwrap();
        }
        let end = (0..patience_ms).find_map(|_| {
            rig.machine.tick();
            rig.poll_own()
        });
        assert!(end.expect("it has begun").is_ok(), "{sees_status}");
        assert_ne!(rig.disk().bm_in(2).unwrap() & 4, 0, "the guest's bit is still there");
    }
}

#[test]
fn a_request_that_nobody_asks_for_any_more_makes_room() {
    let mut rig = slow();
    rig.submit_own(read(5000, 8)).unwrap();
    rig.machine.drop_own(0);
    assert_eq!(rig.submit_own(read(5000, 8)), Err(OwnError::Busy));
    (0..12).for_each(|_| rig.machine.tick());
    assert_eq!(rig.poll_own().map(|end| end.is_err()), Some(true), "it is not this one's answer");
    rig.submit_own(read(6000, 8)).unwrap();
    rig.machine.drop_own(0);
    (0..12).for_each(|_| rig.machine.tick());
    rig.own_read(5000, 8).unwrap();
    // One that has not begun is gone at once.
    rig.start_dma(false, 998, 2, &[(DATA, 1024)]).unwrap();
    rig.submit_own(read(5000, 8)).unwrap();
    rig.machine.drop_own(0);
    rig.submit_own(read(6000, 8)).unwrap();
    rig.disk().dma_end().unwrap();
    let end = (0..100).find_map(|_| {
        rig.machine.tick();
        rig.poll_own()
    });
    rig.expect_own(6000, &end.unwrap().unwrap());
}

/// A disk with a CD drive beside it on the same channel.
fn with_cd() -> Machine {
    let mut machine = Machine::new(SimIde::new([Kind::disk(100_000), Kind::cdrom(), Kind::Empty, Kind::Empty]));
    machine.attach(&ata::DRIVER).unwrap();
    machine.set_ranges(0, Arc::new(SimRanges::new(1000..50_000))).unwrap();
    machine
}

#[test]
fn packets_to_a_cd_drive_pass_beside_ours_to_the_disk_of_its_channel() {
    const READ_10: [u8; 12] = [0x28, 0, 0, 0, 0, 7, 0, 0, 3, 0, 0, 0];
    let expected: Vec<u8> = (7..10).flat_map(sim::ide::atapi::block).collect();
    for often in 1..6 {
        let mut machine = with_cd();
        machine.ide.channels[0].sectors_per_tick = 1;
        let ended = Rc::new(RefCell::new(0));
        let (count, mut step) = (ended.clone(), 0);
        machine.beside = Some(Box::new(move |machine| {
            step += 1;
            if step % often == 0
                && machine.submit_own(0, read(2000, 8)) == Err(OwnError::Busy)
                && let Some(end) = machine.poll_own(0)
            {
                assert_eq!(end.unwrap().len(), 8 * SECTOR_BYTES);
                *count.borrow_mut() += 1;
            }
        }));
        for round in 0..10 {
            let mut cd = GuestDriver::new(&mut machine, 0, 1);
            assert_eq!(cd.packet_in(READ_10, 2048).unwrap(), expected, "round {round}");
            cd.packet_dma(READ_10, &[(DATA, 6144)]).unwrap();
            assert!(machine.ram.peek(DATA, 6144) == expected, "round {round}");
            GuestDriver::new(&mut machine, 0, 1).device_reset().unwrap();
        }
        assert!(*ended.borrow() > 5, "{} of ours", ended.borrow());
        assert!(machine.violations.is_empty());
    }
}

#[test]
fn device_reset_and_diagnostics_that_come_while_ours_runs_reach_the_units_afterwards() {
    for (command, unit) in [(0x08, 1), (0x90, 0), (0x90, 1)] {
        let mut machine = with_cd();
        slow_down(&mut machine);
        machine.submit_own(0, read(2000, 8)).unwrap();
        let mut guest = GuestDriver::new(&mut machine, 0, unit);
        guest.out(6, 0xa0 | (unit as u8) << 4).unwrap();
        guest.out(7, command).unwrap();
        assert_eq!(guest.input(8).unwrap() & status::BSY, status::BSY);
        guest.wait_not_busy().unwrap();
        let last = *machine.ide.channels[0].received.last().unwrap();
        assert_eq!((last.command, last.unit), (command, if command == 0x08 { 1 } else { 0 }));
        assert!(machine.poll_own(0).unwrap().is_ok());
        let mut guest = GuestDriver::new(&mut machine, 0, unit);
        assert_eq!(
            [4, 5].map(|offset| guest.input(offset).unwrap()),
            if command == 0x08 { [0x14, 0xeb] } else { [0, 0] }
        );
    }
}

#[test]
fn the_data_port_is_nobodys_while_ours_runs() {
    let mut rig = slow();
    rig.read(Way::PIO, 998, 1).unwrap();
    rig.disk().bm_out(2, Width::Byte, 6).unwrap();
    let data = payload(1, 5000, 8);
    rig.model.may_have_written(&rig.ranges, 5000, &data);
    rig.submit_own(write(5000, &data)).unwrap();
    let port = sim::ide::COMMAND[0];
    for _ in 0..4 {
        rig.machine.guest_rep_out(port, Width::Word, &[0xaa; 64]);
        let mut words = [0; 64];
        rig.machine.guest_rep_in(port, Width::Word, &mut words);
        assert_eq!(words, [0xff; 64]);
        assert_eq!(rig.machine.guest_in(port, Width::Word), 0xffff);
        rig.machine.tick();
    }
    let end = (0..20).find_map(|_| {
        rig.machine.tick();
        rig.poll_own()
    });
    assert!(end.unwrap().is_ok());
    rig.model.wrote(5000, &data);
    rig.check();
    rig.own_read(5000, 8).unwrap();
}
