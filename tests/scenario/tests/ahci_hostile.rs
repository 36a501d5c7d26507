//! Guests that attack an AHCI controller.
#![forbid(unsafe_code)]

use scenario::ahci::{AhciRig, By, DATA, ODD, PAGES};
use scenario::payload;
use sim::ahci::{Failure, Table, fis, px};
use sim::{ARENA, RAM_TOP, VMM};

/// The drive aborted it, as one that does not know the command.
const ABORTED: Result<(), Failure> = Err(Failure::Device { tfd: 0x0441 });

/// Runs a command of slot 5 over these regions on the protected disk.
fn run(
    rig: &mut AhciRig,
    command: u8,
    lba: u64,
    count: u32,
    write: bool,
    regions: Vec<(u64, u64)>,
) -> Result<(), Failure> {
    rig.guest(0).run(5, fis(command, lba, count, 5), write, regions)
}

#[test]
fn a_region_in_no_memory_of_the_guest_is_refused_by_every_command() {
    for (command, write) in [(0x60, false), (0x61, true), (0x25, false), (0x35, true), (0xec, false), (0x2f, false)] {
        // A plain sector, so that the device would be pointed at the memory itself, and a protected one.
        for lba in [10, 5000] {
            // Of the VMM, or of devices, where the registers of guarded controllers are.
            let devices = [0xa_0000, RAM_TOP.end - 256, RAM_TOP.end];
            let vmm = [VMM.start - 256, VMM.start, ARENA.start, VMM.end - 512, u64::MAX - 0xff];
            for at in vmm.into_iter().chain(devices) {
                let mut rig = AhciRig::new();
                assert_eq!(
                    run(&mut rig, command, lba, 1, write, vec![(at, 512)]),
                    ABORTED,
                    "{command:#x} {lba} {at:#x}"
                );
                rig.check();
                assert!(rig.platter().written.is_empty());
                rig.guest(0).recover(false).unwrap();
                rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
            }
        }
    }
}

#[test]
fn a_list_table_or_received_area_in_memory_of_the_vmm_gives_the_device_nothing() {
    for at in [VMM.start, ARENA.start, ARENA.start + 0x1000, RAM_TOP.end, 0xffff_f000] {
        let mut rig = AhciRig::new();
        rig.guest(0).put(px::CLB, at as u32).unwrap();
        rig.guest(0).ring(1, false).unwrap();
        assert_eq!(rig.guest(0).finish(1), ABORTED);
        rig.check();
        let mut rig = AhciRig::new();
        rig.guest(0).put(px::FB, at as u32).unwrap();
        rig.write(By::DmaExt, 5000, &payload(1, 5000, 8), PAGES).unwrap();
        let mut rig = AhciRig::new();
        rig.guest(0).put_header(0, 5, at & !0x7f);
        rig.guest(0).ring(1, false).unwrap();
        assert_eq!(rig.guest(0).finish(1), ABORTED);
        rig.check();
    }
}

#[test]
fn descriptors_that_point_at_their_own_table_are_only_data() {
    let mut rig = AhciRig::new();
    let mut guest = rig.guest(0);
    let at = guest.table_at(5);
    // The read overwrites FIS and descriptors while it runs.
    let regions = vec![(at, 512), (at, 512), (at + 0x80, 3072)];
    guest.run(5, fis(0x25, 5000, 8, 5), false, regions.clone()).unwrap();
    guest.run(5, fis(0x60, 10, 8, 5), false, regions).unwrap();
    rig.check();
}

#[test]
fn a_command_rewritten_after_the_doorbell_changes_nothing() {
    for by in By::ALL {
        let mut rig = AhciRig::new();
        let data = payload(1, 5000, 300);
        rig.prepare(6, by, Some(&data), 5000, 300, ODD);
        rig.guest(0).ring(1 << 6, by == By::Queued).unwrap();
        let other = Table { at: rig.guest(0).table_at(6), regions: vec![(VMM.start, 4096); 100] };
        rig.guest(0).prepare(6, by.fis(false, 10, 300, 6), false, &other);
        rig.guest(0).finish(1 << 6).unwrap();
        rig.model.wrote(5000, &data);
        rig.check();
    }
}

#[test]
fn memory_that_changes_after_every_read_cannot_make_a_checked_command_another() {
    for by in By::ALL {
        for lba in [10, 5000] {
            let mut rig = AhciRig::new();
            rig.machine.ram.changes_after_read = true;
            rig.prepare(6, by, Some(&payload(1, lba, 20)), lba, 20, PAGES);
            let _ = rig.guest(0).ring(1 << 6, by == By::Queued).and_then(|()| rig.guest(0).finish(1 << 6));
            rig.check_secrecy();
            rig.recovers();
        }
    }
}

#[test]
fn a_tag_that_is_not_the_slot_is_refused() {
    let mut rig = AhciRig::new();
    let command = fis(0x61, 5000, 8, 9);
    let table = Table { at: rig.guest(0).table_at(5), regions: vec![(DATA, 4096)] };
    rig.guest(0).prepare(5, command, true, &table);
    rig.guest(0).ring(1 << 5, true).unwrap();
    assert_eq!(rig.guest(0).finish(1 << 5), ABORTED);
    assert!(rig.platter().written.is_empty());
}

#[test]
fn odd_regions_short_tables_and_upper_halves_that_the_controller_lacks_are_refused() {
    for regions in [vec![(DATA + 1, 512)], vec![(DATA, 511)], vec![(DATA, 510)], vec![]] {
        let mut rig = AhciRig::new();
        for lba in [10, 5000] {
            assert_eq!(run(&mut rig, 0x25, lba, 1, false, regions.clone()), ABORTED, "{regions:x?}");
            rig.guest(0).recover(false).unwrap();
        }
    }
    // A controller without 64 address lines would make VMM memory of it.
    for lba in [10, 5000] {
        let mut rig = AhciRig::bare(sim::Platter::new(scenario::ahci::SECTORS), sim::SimRanges::new(1000..5000));
        rig.machine.ahci.wide = false;
        let mut narrow = sim::ahci::AhciMachine::new(rig.machine.ahci);
        narrow.attach(&ahci::DRIVER).unwrap();
        rig.machine = narrow;
        rig.guest(0).start().unwrap();
        rig.identify(0).unwrap();
        assert_eq!(run(&mut rig, 0x25, lba, 1, false, vec![(VMM.start | 1 << 32, 512)]), ABORTED);
        rig.check();
    }
}

#[test]
fn frames_that_are_no_commands_for_the_drive_are_refused() {
    for (at, byte) in
        [(0, 0x34), (0, 0x41), (1, 0x81), (1, 0x8f), (2, 0x63), (2, 0x64), (2, 0xb1), (2, 0xf4), (2, 0x92)]
    {
        let mut rig = AhciRig::new();
        let mut command = fis(0x25, 5000, 1, 5);
        command[at] = byte;
        assert_eq!(rig.guest(0).run(5, command, false, vec![(DATA, 512)]), ABORTED, "{at} {byte:#x}");
        let sent = rig.machine.ahci.ports[0].commands.last().map(|command| command.0);
        assert_eq!(sent, Some(0), "a NOP was sent in its place");
    }
    // In the header: a built-in self test, a port of a multiplier, a FIS of two dwords.
    for flags in [5 | 1 << 9, 5 | 3 << 12, 2, 0, 0x1f] {
        let mut rig = AhciRig::new();
        let at = rig.guest(0).table_at(5);
        rig.guest(0).prepare(5, fis(0xe7, 0, 0, 5), false, &Table { at, regions: vec![] });
        rig.guest(0).put_header(5, flags, at);
        rig.guest(0).ring(1 << 5, false).unwrap();
        assert_eq!(rig.guest(0).finish(1 << 5), ABORTED, "{flags:#x}");
    }
}

#[test]
fn two_cpus_ring_for_one_slot_and_it_runs_once() {
    let mut rig = AhciRig::new();
    let data = payload(1, 5000, 8);
    rig.prepare(6, By::Queued, Some(&data), 5000, 8, PAGES);
    // The other CPU rings while the first one's data is being encrypted.
    rig.machine.meanwhile = Some(|machine| {
        // For other sectors now: LBA 5000 becomes 4976.
        machine.ram.poke(0x10_0000 + 0x1000 + 6 * 0x4000 + 4, &[0x70]);
        machine.write(sim::ahci::at(0, px::SACT), 1 << 6);
        machine.write(sim::ahci::at(0, px::CI), 1 << 6);
    });
    rig.guest(0).ring(1 << 6, true).unwrap();
    rig.guest(0).finish(1 << 6).unwrap();
    (0..10).for_each(|_| rig.machine.tick());
    let _ = rig.guest(0).get(px::IS);
    rig.model.wrote(5000, &data);
    rig.check();
    let writes = rig.machine.ahci.ports[0].commands.iter().filter(|command| command.0 == 0x61).count();
    assert_eq!(writes, 1);
}

#[test]
fn another_cpu_that_looks_while_data_is_on_its_way_sees_a_command_under_way() {
    let mut rig = AhciRig::new();
    rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
    let regions = rig.prepare(6, By::Queued, None, 5000, 8, PAGES);
    rig.guest(0).ring(1 << 6, true).unwrap();
    rig.machine.tick();
    rig.machine.tick();
    rig.machine.meanwhile = Some(|machine| {
        for register in [px::IS, px::CI, px::SACT, px::TFD] {
            assert_eq!(machine.read_once(sim::ahci::at(0, register)), None, "{register:#x}");
        }
        assert_eq!(machine.read_once(sim::ahci::hba::IS), None);
    });
    rig.guest(0).finish(1 << 6).unwrap();
    assert!(rig.machine.meanwhile.is_none());
    rig.expect_data(5000, &regions);
}

#[test]
fn registers_that_are_not_the_guests_neither_answer_nor_change() {
    let mut rig = AhciRig::new();
    for offset in (0x40..0x100).chain(0x148..0x180).step_by(4) {
        rig.machine.write(offset, 0xffff_ffff);
        assert_eq!(rig.machine.read(offset), 0, "{offset:#x}");
    }
    rig.machine.write_wide(0x118, mediator::Width::Byte, 0);
    assert_eq!(rig.machine.violations.len(), 1, "a part of a register is not written");
    assert_eq!(rig.machine.read_wide(0x100, mediator::Width::Qword), 0x10_0000);
    rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
}

#[test]
fn the_list_moved_while_the_port_runs_is_followed_and_no_slot_of_ours_is_lost() {
    let mut rig = AhciRig::new();
    rig.prepare(6, By::DmaExt, Some(&payload(1, 5000, 8)), 5000, 8, PAGES);
    rig.guest(0).ring(1 << 6, false).unwrap();
    rig.guest(0).put(px::CLB, 0x30_0000).unwrap();
    rig.guest(0).put(px::FB, 0x30_0400).unwrap();
    rig.guest(0).finish(1 << 6).unwrap();
    rig.model.wrote(5000, &payload(1, 5000, 8));
    rig.check();
}

#[test]
fn a_48_bit_command_without_the_lba_bit_names_the_same_sectors_as_with_it() {
    for code in [0x34, 0x35, 0x3d] {
        let mut rig = AhciRig::new();
        // As cylinder 1, head 0, sector 10 it would be sector 1017, which is protected; as an LBA it is plain.
        let mut command = fis(code, 0x10a, 1, 5);
        command[7] = 0;
        let data = payload(1, 0x10a, 1);
        rig.machine.ram.poke(DATA, &data);
        rig.guest(0).run(5, command, true, vec![(DATA, 512)]).unwrap();
        assert_eq!(rig.platter().written, [0x10a], "{code:#x}");
        rig.check_secrecy();
        // And a protected one stays where it is: LBA 5000 would be sector 19 * 1008 + 135.
        let mut command = fis(code, 5000, 1, 5);
        command[7] = 0;
        rig.model.may_have_written(&rig.ranges, 5000, &payload(2, 5000, 1));
        rig.machine.ram.poke(DATA, &payload(2, 5000, 1));
        rig.guest(0).run(5, command, true, vec![(DATA, 512)]).unwrap();
        assert_eq!(rig.platter().written, [0x10a, 5000], "{code:#x}");
        rig.model.wrote(5000, &payload(2, 5000, 1));
        rig.check_secrecy();
    }
}

#[test]
fn a_disk_that_is_kept_busy_keeps_no_other_one_waiting() {
    let mut rig = AhciRig::new();
    rig.machine.set_ranges(1, std::sync::Arc::new(sim::SimRanges::new(1000..90_000))).unwrap();
    rig.identify(1).unwrap();
    // More than the queue takes at a time: each of 32 commands is made of 128 pieces.
    let regions: Vec<(u64, u64)> = (0..128).map(|n| (DATA + n * 0x2000, 0x1000)).collect();
    for slot in 0..32_u32 {
        let table = Table { at: 0x60_0000 + u64::from(slot) * 0x4000, regions: regions.clone() };
        rig.guest(0).prepare(slot, fis(0x60, 5000, 1024, slot), false, &table);
    }
    rig.guest(0).ring(u32::MAX, true).unwrap();
    rig.machine.tick();
    let table = Table { at: rig.guest(1).table_at(3), regions: vec![(DATA, 512)] };
    rig.guest(1).prepare(3, fis(0x25, 2000, 1, 3), false, &table);
    rig.guest(1).ring(1 << 3, false).unwrap();
    let mut ended = 0;
    while rig.guest(1).get(px::CI).unwrap() != 0 {
        rig.machine.tick();
        let free = !(rig.guest(0).get(px::SACT).unwrap() | rig.guest(0).get(px::CI).unwrap());
        // One ends, one begins.
        rig.guest(0).ring(free, true).unwrap();
        ended += free.count_ones();
        assert!(ended < 128, "the other disk is never served");
    }
    let left = rig.guest(0).get(px::SACT).unwrap();
    assert_ne!(left, 0, "the first disk is busy all the time");
}
