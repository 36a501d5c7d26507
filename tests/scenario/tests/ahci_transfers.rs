//! Requests of well-behaved guests on AHCI.
#![forbid(unsafe_code)]

use scenario::ahci::{AhciRig, By, DATA, ODD, PAGES, PROTECTED};
use scenario::own::OwnRig;
use scenario::payload;
use sim::ahci::{Failure, Table, fis, hba, px};
use sim::ide::Kind;
use sim::{Platter, SimRanges};

#[test]
fn every_command_moves_sectors_in_and_across_the_range() {
    for by in By::ALL {
        for sizes in [PAGES, ODD] {
            for (lba, sectors) in [(10, 8), (5000, 1), (5001, 33), (PROTECTED.start - 3, 9), (PROTECTED.start - 1, 200)]
            {
                let mut rig = AhciRig::new();
                let data = payload(1, lba, sectors);
                rig.write(by, lba, &data, sizes).unwrap_or_else(|e| panic!("{by:?} {lba}+{sectors}: {e:?}"));
                rig.read(by, lba.saturating_sub(2), sectors + 4, sizes).unwrap();
            }
        }
    }
}

#[test]
fn a_request_larger_than_the_pool_goes_in_parts_and_shows_as_done_once() {
    let mut rig = AhciRig::new();
    let sectors = 3 * 2048 + 17;
    let data = payload(2, 7000, sectors);
    rig.write(By::DmaExt, 7000, &data, PAGES).unwrap();
    assert!(rig.machine.ahci.ports[0].commands.iter().filter(|command| command.0 == 0x35).count() >= 4);
    rig.read(By::Queued, 7000, sectors, PAGES).unwrap();
}

#[test]
fn a_guest_that_polls_for_the_fis_alone_sees_it_when_all_parts_are_there() {
    let mut rig = AhciRig::new();
    let regions = rig.prepare(4, By::DmaExt, None, 7000, 5000, PAGES);
    rig.guest(0).ring(1 << 4, false).unwrap();
    let mut causes = 0;
    for _ in 0..100 {
        rig.machine.tick();
        causes = rig.guest(0).get(px::IS).unwrap();
        if causes != 0 {
            break;
        }
    }
    assert_eq!(causes & 1, 1, "the register FIS");
    assert_eq!(rig.guest(0).get(px::CI), Ok(0));
    rig.expect_data(7000, &regions);
}

#[test]
fn a_guest_that_polls_for_the_command_alone_finds_the_fis_of_its_end_in_memory() {
    for (lba, sectors) in [(10, 8), (5000, 8), (7000, 5000)] {
        let mut rig = AhciRig::new();
        let regions = rig.prepare(4, By::DmaExt, None, lba, sectors, PAGES);
        let at = rig.guest(0).base + 0x440;
        rig.machine.ram.poke(at, &[0; 20]);
        rig.guest(0).ring(1 << 4, false).unwrap();
        for _ in 0..100 {
            rig.machine.tick();
            if rig.guest(0).get(px::CI) == Ok(0) {
                break;
            }
        }
        let fis = rig.guest(0).register_fis();
        assert_eq!(fis[..4], [0x34, 0x40, 0x50, 0], "{lba}+{sectors}");
        rig.expect_data(lba, &regions);
    }
}

#[test]
fn queued_commands_and_others_are_not_mixed_at_the_device() {
    let mut rig = AhciRig::new();
    rig.machine.ahci.ports[0].delay = 3;
    for lba in [10, 5000] {
        rig.prepare(4, By::Queued, None, lba, 8, PAGES);
        let table = sim::ahci::Table { at: rig.guest(0).table_at(5), regions: vec![] };
        rig.guest(0).prepare(5, fis(0xea, 0, 0, 5), false, &table);
        rig.guest(0).ring(1 << 5, false).unwrap();
        rig.guest(0).ring(1 << 4, true).unwrap();
        rig.guest(0).finish(3 << 4).unwrap();
        rig.guest(0).ring(1 << 4, true).unwrap();
        rig.machine.tick();
        rig.guest(0).ring(1 << 5, false).unwrap();
        rig.guest(0).finish(3 << 4).unwrap();
    }
}

#[test]
fn thirty_two_queued_commands_end_in_any_order() {
    for order in [0, 5, 31] {
        let mut rig = AhciRig::new();
        rig.machine.ahci.ports[0].order = order;
        let at = |slot: u32| 2000 + u64::from(slot) * 100;
        for slot in 0..32 {
            rig.prepare(slot, By::Queued, Some(&payload(slot, at(slot), 8)), at(slot), 8, ODD);
        }
        rig.guest(0).ring(u32::MAX, true).unwrap();
        rig.guest(0).finish(u32::MAX).unwrap();
        (0..32).for_each(|slot| rig.model.wrote(at(slot), &payload(slot, at(slot), 8)));
        rig.check();
        let regions: Vec<_> = (0..32).map(|slot| rig.prepare(slot, By::Queued, None, at(slot), 8, PAGES)).collect();
        rig.guest(0).ring(u32::MAX, true).unwrap();
        rig.guest(0).finish(u32::MAX).unwrap();
        for (slot, regions) in (0..).zip(regions) {
            rig.expect_data(at(slot), &regions);
        }
    }
}

#[test]
fn more_than_the_pool_holds_at_once_is_held_and_all_of_it_ends() {
    let mut rig = AhciRig::new();
    let at = |slot: u32| 0x1_0000 + u64::from(slot) * 0x1000;
    for slot in 0..16 {
        rig.prepare(slot, By::Queued, Some(&payload(slot, at(slot), 400)), at(slot), 400, PAGES);
    }
    rig.guest(0).ring(0xffff, true).unwrap();
    assert!(rig.machine.ahci.ports[0].read_only(px::CI).count_ones() < 16, "some are held");
    rig.guest(0).finish(0xffff).unwrap();
    (0..16).for_each(|slot| rig.model.wrote(at(slot), &payload(slot, at(slot), 400)));
    rig.check();
}

#[test]
fn a_command_is_not_done_for_the_guest_before_its_data_is_there() {
    let mut rig = AhciRig::new();
    rig.write(By::DmaExt, 3000, &payload(1, 3000, 8), PAGES).unwrap();
    for register in [px::IS, px::CI, px::SACT, px::TFD] {
        let regions = rig.prepare(4, By::Queued, None, 3000, 8, PAGES);
        rig.machine.ram.poke(regions[0].0, &[0; 4096]);
        rig.guest(0).ring(1 << 4, true).unwrap();
        rig.machine.tick();
        rig.machine.tick();
        assert_eq!(rig.machine.ram.peek(regions[0].0, 8), [0; 8], "the device has no way to guest memory");
        rig.guest(0).get(register).unwrap();
        rig.expect_data(3000, &regions);
        rig.guest(0).finish(1 << 4).unwrap();
    }
}

#[test]
fn the_plain_disk_and_the_cd_drive_work_on_guest_memory_themselves() {
    let mut rig = AhciRig::new();
    rig.identify(1).unwrap();
    let data = payload(1, 50, 8);
    rig.machine.ram.poke(DATA, &data);
    rig.guest(1).run(2, fis(0x61, 50, 8, 2), true, vec![(DATA, 4096)]).unwrap();
    let plain = &rig.machine.ahci.ports[1].disk.as_ref().unwrap().platter;
    assert_eq!(plain.read(50)[..], data[..512]);
    rig.guest(1).run(2, fis(0x60, 50, 8, 2), false, vec![(DATA + 0x8000, 4096)]).unwrap();
    assert_eq!(rig.machine.ram.peek(DATA + 0x8000, 4096), data);
    let mut guest = rig.guest(2);
    let packet = guest.table_at(1) + 0x40;
    guest.machine.ram.poke(packet, &[0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    guest.run(1, fis(0xa0, 0, 0, 0), false, vec![(DATA, 4096)]).unwrap();
    assert_eq!(rig.machine.ram.peek(DATA, 2), [7, 0]);
    assert_eq!(rig.machine.ram.peek(DATA + 2048, 2), [8, 0]);
    rig.check();
}

#[test]
fn regions_of_4_mib_and_many_of_them_are_followed() {
    let mut rig = AhciRig::new();
    let data = payload(3, 9000, 5000);
    rig.write(By::DmaExt, 9000, &data, &[4 << 20]).unwrap();
    // More regions than our table has entries: through the arena, plain or not.
    let sizes: &[u64] = &[2];
    rig.write(By::Queued, 40, &payload(4, 40, 2), sizes).unwrap();
    rig.read(By::Queued, 40, 2, sizes).unwrap();
    rig.read(By::Dma, 9000, 64, sizes).unwrap();
}

#[test]
fn sectors_that_lie_elsewhere_on_the_disk_are_found_and_error_lbas_are_told_back() {
    let mut ranges = SimRanges::new(1000..5000);
    ranges.shift = 0x10_0000;
    let mut rig = AhciRig::with(Platter::new(scenario::ahci::SECTORS), ranges);
    rig.write(By::Queued, 990, &payload(1, 990, 40), PAGES).unwrap();
    rig.read(By::Pio, 990, 40, ODD).unwrap();
    rig.platter().inject_error(2010 + 0x10_0000, 0x40);
    let regions = rig.prepare(4, By::DmaExt, None, 2000, 16, PAGES);
    rig.guest(0).ring(1 << 4, false).unwrap();
    assert_eq!(rig.guest(0).finish(1 << 4), Err(Failure::Device { tfd: 0x4041 }));
    let told = rig.guest(0).register_fis();
    assert_eq!([told[4], told[5], told[6], told[8]], [0xda, 0x07, 0, 0], "sector 2010");
    rig.expect_data(2000, &[(regions[0].0, 10 * 512)]);
    rig.guest(0).recover(false).unwrap();
    rig.check();
}

#[test]
fn the_log_of_a_failed_queued_command_tells_the_guests_own_sector() {
    let mut ranges = SimRanges::new(1000..5000);
    ranges.shift = 0x10_0000;
    let mut rig = AhciRig::with(Platter::new(scenario::ahci::SECTORS), ranges);
    rig.platter().inject_error(2003 + 0x10_0000, 0x40);
    for slot in 4..8 {
        rig.prepare(slot, By::Queued, None, 2000 + u64::from(slot - 4) * 100, 8, PAGES);
    }
    rig.guest(0).ring(0xf0, true).unwrap();
    assert!(matches!(rig.guest(0).finish(0xf0), Err(Failure::Device { .. })));
    assert_ne!(rig.guest(0).get(px::SACT).unwrap() & 1 << 4, 0, "the failed one is not done");
    rig.guest(0).recover(false).unwrap();
    rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    let log = rig.machine.ram.peek(DATA, 512);
    assert_eq!((log[0], log[3]), (4, 0x40));
    assert_eq!([log[4], log[5], log[6], log[8]], [0xd3, 0x07, 0, 0], "sector 2003");
    assert_eq!(log.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    rig.read(By::Queued, 2100, 8, PAGES).unwrap();
}

#[test]
fn the_log_of_a_failed_queued_command_is_read_although_the_stopped_port_has_every_buffer() {
    let mut rig = AhciRig::new();
    rig.platter().inject_error(5000, 0x40);
    rig.machine.ahci.ports[0].delay = 5;
    for slot in 4..12 {
        rig.prepare(slot, By::Queued, None, 5000 + u64::from(slot - 4) * 512, 512, PAGES);
    }
    rig.guest(0).ring(0xff0, true).unwrap();
    assert!(matches!(rig.guest(0).finish(0xff0), Err(Failure::Device { .. })));
    rig.guest(0).recover(false).unwrap();
    // Twice: what the log takes comes back.
    for _ in 0..2 {
        rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    }
    assert_eq!(rig.machine.ram.peek(DATA, 4)[3], 0x40);
    rig.read(By::Queued, 9000, 512, PAGES).unwrap();
}

#[test]
fn what_the_controller_cannot_be_given_is_not_shown() {
    let mut rig = AhciRig::new();
    assert_eq!(rig.machine.read(hba::CAP), 1 << 31 | 1 << 30 | 31 << 8 | 2);
    assert_eq!(rig.machine.read(hba::CAP2), 1);
    for register in [0x14, 0x18, 0x1c, 0x20, 0xa0] {
        rig.machine.write(register, 0xffff_ffff);
        assert_eq!(rig.machine.read(register), 0);
    }
    assert_eq!(rig.guest(0).get(px::FBS), Ok(0));
    assert_eq!(rig.machine.read(hba::IS), 0);
    // The firmware's way through an index and a data port is gone.
    assert_eq!(rig.machine.config(0x20, mediator::Width::Dword, mediator::Op::Read), 0);
}

#[test]
fn a_disk_that_never_answers_holds_up_no_other() {
    for queued in [true, false] {
        let mut rig = AhciRig::new();
        rig.machine.set_ranges(1, std::sync::Arc::new(SimRanges::new(1000..90_000))).unwrap();
        rig.guest(1).run(0, fis(0xec, 0, 0, 0), false, vec![(DATA, 512)]).unwrap();
        rig.machine.ahci.ports[1].delay = u32::MAX;
        // As much as a driver ever asks for: 31 commands of 1 MiB in 168 pieces.
        let pieces = (0..168).map(|n| (DATA + 0x2000 * n, if n < 167 { 4096 } else { 0x10_0000 - 167 * 4096 }));
        let code = if queued { 0x60 } else { 0x25 };
        for slot in 0..31 {
            let table = Table { at: 0x60_0000, regions: pieces.clone().collect() };
            rig.guest(1).prepare(slot, fis(code, 2000, 2048, slot), false, &table);
        }
        rig.guest(1).ring(u32::MAX >> 1, queued).unwrap();
        (0..20).for_each(|_| rig.machine.tick());
        let taken = rig.machine.ahci.ports[1].commands.len();
        for lba in [PROTECTED.start - 4, 5000] {
            for sectors in [8, 3000] {
                rig.write(By::Queued, lba, &payload(1, lba, sectors), ODD).unwrap();
                rig.read(By::DmaExt, lba, sectors, PAGES).unwrap();
            }
        }
        rig.own_read(5000, 100).unwrap();
        rig.identify(0).unwrap();
        // A disk that has come since.
        let Kind::Disk(new) = Kind::with_platter(Platter::new(1000)) else { unreachable!() };
        rig.machine.ahci.ports[3].plug(*new);
        rig.guest(3).start().unwrap();
        rig.identify(3).unwrap();
        assert_eq!(rig.machine.ahci.ports[1].commands.len(), taken, "the hung disk has ended something");
        assert_ne!(rig.guest(1).get(if queued { px::SACT } else { px::CI }).unwrap(), 0);
    }
}
