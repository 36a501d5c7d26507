//! Guests that mean harm. Whatever they do, the device only gets addresses of the arena or of guest RAM, the platter
//! only gets transformed sectors, and the disk works again after a reset.
#![forbid(unsafe_code)]

use mediator::Width;
use scenario::{DATA, Rig, Way, command, payload, pieces};
use sim::guest::{Entry, GuestDriver, SCRATCH, Style, write_prds};
use sim::{ARENA, RAM_HIGH, RAM_TOP, VMM};

/// The disk is reset and works.
fn recovers(rig: &mut Rig) {
    rig.machine.budget = None;
    rig.disk().bm_stop().unwrap();
    rig.disk().soft_reset().unwrap();
    rig.check();
    rig.write(Way::ODD, 998, &payload(77, 998, 20)).unwrap();
    rig.read(Way::LINUX, 998, 20).unwrap();
    rig.read(Way::BIOS, 998, 20).unwrap();
}

#[test]
fn guest_memory_that_changes_after_every_read_changes_nothing() {
    for way in Way::ALL {
        let mut rig = Rig::new();
        rig.machine.ram.changes_after_read = true;
        rig.write(way, 990, &payload(1, 990, 40)).unwrap();
        rig.read(way, 990, 40).unwrap();
    }
    let mut rig = Rig::new();
    rig.machine.ram.changes_after_read = true;
    rig.write(Way::ODD, 990, &payload(1, 990, 4096)).unwrap();
    rig.read(Way::ODD, 990, 4096).unwrap();
}

#[test]
fn guest_rewriting_table_and_registers_after_the_doorbell_changes_nothing() {
    for write in [true, false] {
        let mut rig = Rig::new();
        let data = payload(1, 995, 4096);
        let entries = pieces(DATA, data.len() as u64, &[4096, 512]);
        if write {
            rig.store(&entries, &data);
            rig.model.may_have_written(&rig.ranges, 995, &data);
        }
        rig.start_dma(write, 995, 4096, &entries).unwrap();
        write_prds(&mut rig.machine, SCRATCH, &[(VMM.start, 65536); 32]);
        rig.disk().bm_out(4, Width::Dword, VMM.start + 4096).unwrap();
        for (offset, value) in [(1, 0), (2, 1), (3, 0), (4, 0), (5, 0), (6, 0xf0), (6, 0xe0)] {
            rig.disk().out(offset, value).unwrap();
        }
        rig.disk().dma_end().unwrap();
        if write {
            rig.model.wrote(995, &data);
        } else {
            let expected: Vec<u8> = (995..995 + 4096).flat_map(|lba| rig.expected(lba)).collect();
            assert!(rig.load(&entries) == expected);
        }
        rig.check();
        rig.read(Way::LINUX, 995, 4096).unwrap();
    }
}

#[test]
fn a_second_doorbell_or_command_during_a_request_does_no_harm() {
    for extra in 0..6 {
        let mut rig = Rig::new();
        rig.machine.ide.channels[0].sectors_per_tick = 3;
        let data = payload(1, 995, 64);
        let entries = pieces(DATA, data.len() as u64, &[4096]);
        rig.store(&entries, &data);
        rig.model.may_have_written(&rig.ranges, 995, &data);
        rig.start_dma(true, 995, 64, &entries).unwrap();
        rig.machine.tick();
        let mut guest = rig.disk();
        match extra {
            0 => guest.bm_out(0, Width::Byte, 1).unwrap(),
            1 => guest.bm_out(0, Width::Byte, 9).unwrap(),
            2 => guest.out(7, 0xc8).unwrap(),
            3 => guest.out(7, 0x30).unwrap(),
            4 => guest.bm_out(2, Width::Byte, 0xff).unwrap(),
            _ => guest.out(8, 0x80).unwrap(),
        }
        let _ = rig.disk().dma_end();
        rig.check_platter();
        recovers(&mut rig);
    }
}

#[test]
fn selecting_the_other_unit_during_a_command_leads_no_plaintext_past() {
    // A direct transfer of the protected disk's plain part is under way; the busy device does not see the selection.
    let mut rig = Rig::new();
    rig.start_dma(false, 10, 8, &[(DATA, 4096)]).unwrap();
    rig.disk().out(6, 0xf0).unwrap();
    (0..3).for_each(|_| rig.machine.tick());
    let mut guest = rig.disk();
    guest.bm_stop().unwrap();
    guest.acknowledge().unwrap();
    for (offset, value) in [(2, 1), (3, 0xd0), (4, 0x07), (5, 0), (7, 0x30)] {
        guest.out(offset, value).unwrap();
    }
    rig.machine.tick();
    rig.disk().move_out(Style::default(), &payload(1, 2000, 1)).unwrap();
    rig.machine.tick();
    rig.check_secrecy();
}

/// Tables that no honest guest writes.
fn bad_tables() -> Vec<Vec<Entry>> {
    vec![
        vec![(VMM.start, 4096)],
        vec![(ARENA.start, 4096)],
        vec![(ARENA.end - 4096, 4096)],
        vec![(DATA, 2048), (VMM.start + 0x1000, 2048)],
        vec![(RAM_HIGH.end - 2048, 4096)],
        vec![(VMM.end - 2048, 4096)],
        vec![(VMM.start - 0x8000, 0)],
        vec![(RAM_TOP.end - 2048, 4096)],
        vec![(0xffff_fffe, 4096)],
        vec![(0xa_0000, 4096)],
        vec![(DATA + 0xff00, 4096)],
        vec![(DATA + 1, 4096)],
        vec![(DATA, 4095), (DATA + 4096, 1)],
        vec![(DATA, 510)],
        vec![(DATA, 4096), (VMM.start, 4096)],
        vec![(DATA, 2); 8192],
    ]
}

#[test]
fn tables_into_the_vmm_or_nowhere_reach_no_device() {
    for table in bad_tables() {
        for (write, unit) in [(true, 0), (false, 0), (true, 1), (false, 1)] {
            let mut rig = Rig::new();
            rig.machine.ram.poke(DATA, &payload(1, 1000, 128));
            rig.model.may_hold_anything(2000, 8);
            let _ = GuestDriver::new(&mut rig.machine, 0, unit).dma(command(Way::LINUX, write, 2000, 8), write, &table);
            rig.check_platter();
            recovers(&mut rig);
        }
    }
}

#[test]
fn data_of_a_plain_disk_cannot_be_sent_into_the_arena() {
    for at in [ARENA.start, ARENA.start + 0x1_0000, ARENA.end - 4096] {
        let mut rig = Rig::new();
        let _ = rig.plain().dma(command(Way::LINUX, false, 2000, 8), false, &[(at, 4096)]);
        let landed = rig.machine.arena.peek()[(at - ARENA.start) as usize..].starts_with(&sim::untouched(2000));
        assert!(!landed, "{at:#x}");
        recovers(&mut rig);
    }
}

#[test]
fn a_table_that_lies_in_the_vmm_or_nowhere_is_not_followed() {
    for table in [VMM.start, ARENA.start, ARENA.end - 8, 0xa_0000, RAM_TOP.end - 4, 0xffff_fff8, 0x9_fffc] {
        for unit in [0, 1] {
            let mut rig = Rig::new();
            let mut guest = GuestDriver::new(&mut rig.machine, 0, unit);
            guest.dma_start(command(Way::LINUX, false, 2000, 8), false, table).unwrap();
            let _ = guest.dma_end();
            assert!(rig.machine.faults.is_empty(), "{table:#x}: {:x?}", rig.machine.faults);
            recovers(&mut rig);
        }
    }
}

#[test]
fn a_table_without_an_end_stops_after_64_kib() {
    let mut rig = Rig::new();
    for index in 0..8192 {
        rig.machine.ram.poke(SCRATCH + 8 * index, &(DATA | 2 << 32).to_le_bytes());
    }
    rig.disk().dma_start(command(Way::LINUX, false, 2000, 256), false, SCRATCH).unwrap();
    let _ = rig.disk().dma_end();
    recovers(&mut rig);
}

#[test]
fn a_moved_bar4_is_followed() {
    for base in [0xd000, 0xfff0, 0xc050] {
        let mut rig = Rig::new();
        rig.machine.guest_config_write(0x20, Width::Dword, base | 1);
        rig.write(Way::ODD, 998, &payload(1, 998, 20)).unwrap();
        rig.read(Way::LINUX, 998, 20).unwrap();
        rig.cd().packet_dma([0x28, 0, 0, 0, 0, 7, 0, 0, 1, 0, 0, 0], &[(DATA, 2048)]).unwrap();
    }
}

#[test]
fn bar4_moved_byte_by_byte_or_sized_is_followed() {
    let mut rig = Rig::new();
    rig.machine.guest_config_write(0x20, Width::Dword, 0xffff_ffff);
    let size = rig.machine.guest_config_read(0x20, Width::Dword);
    assert_eq!(size & 0xffff, 0xfff1);
    rig.machine.guest_config_write(0x20, Width::Dword, 0xc041);
    rig.write(Way::ODD, 998, &payload(1, 998, 20)).unwrap();
    rig.machine.guest_config_write(0x21, Width::Byte, 0xd0);
    rig.read(Way::LINUX, 998, 20).unwrap();
    rig.machine.guest_config_write(0x20, Width::Word, 0xe021);
    rig.read(Way::LINUX, 998, 20).unwrap();
}

#[test]
fn bar4_cannot_be_moved_over_guarded_ports() {
    for base in [0x1f1, 0x171, 0x3f1, 0x371, 0x0001] {
        let mut rig = Rig::new();
        rig.machine.guest_config_write(0x20, Width::Dword, base);
        rig.read(Way::BIOS, 998, 20).unwrap();
        rig.machine.guest_config_write(0x20, Width::Dword, 0xc041);
        rig.write(Way::ODD, 998, &payload(1, 998, 20)).unwrap();
    }
}

#[test]
fn configuration_writes_of_every_kind_keep_the_guard() {
    for offset in (0..256u16).step_by(4) {
        for value in [0, 0xffff_ffff, 0x1234_5678] {
            let mut rig = Rig::new();
            rig.machine.guest_config_write(offset, Width::Dword, value);
            let _ = rig.write(Way::LINUX, 998, &payload(1, 998, 4));
            rig.check_platter();
            let _ = rig.write_only(Way::BIOS, 998, &payload(2, 998, 4));
            rig.check_platter();
        }
    }
}

#[test]
fn bar4_moved_in_the_midst_of_a_request_does_no_harm() {
    let mut rig = Rig::new();
    let data = payload(1, 995, 64);
    let entries = pieces(DATA, data.len() as u64, &[4096]);
    rig.store(&entries, &data);
    rig.model.may_have_written(&rig.ranges, 995, &data);
    rig.start_dma(true, 995, 64, &entries).unwrap();
    rig.machine.guest_config_write(0x20, Width::Dword, 0xd001);
    let _ = rig.disk().dma_end();
    rig.check_platter();
    recovers(&mut rig);
}

#[test]
fn the_bus_master_in_the_wrong_direction_leaks_nothing() {
    for write in [true, false] {
        let mut rig = Rig::new();
        let data = payload(1, 998, 8);
        rig.machine.ram.poke(DATA, &data);
        write_prds(&mut rig.machine, SCRATCH, &[(DATA, 4096)]);
        rig.model.may_have_written(&rig.ranges, 998, &data);
        rig.disk().dma_start(command(Way::LINUX, write, 998, 8), !write, SCRATCH).unwrap();
        let _ = rig.disk().dma_end();
        rig.check_platter();
        recovers(&mut rig);
    }
}

#[test]
fn a_doorbell_before_the_command_is_safe() {
    let mut rig = Rig::new();
    let data = payload(1, 998, 8);
    rig.machine.ram.poke(DATA, &data);
    write_prds(&mut rig.machine, SCRATCH, &[(DATA, 4096)]);
    rig.model.may_have_written(&rig.ranges, 998, &data);
    rig.disk().bm_out(4, Width::Dword, SCRATCH).unwrap();
    rig.disk().bm_out(0, Width::Byte, 1).unwrap();
    rig.disk().issue(command(Way::LINUX, true, 998, 8)).unwrap();
    let _ = rig.disk().dma_end();
    rig.check_platter();
    recovers(&mut rig);
}

#[test]
fn registers_in_odd_widths_do_no_harm() {
    for width in [Width::Byte, Width::Word, Width::Dword] {
        let mut rig = Rig::new();
        for base in [0x1f0, 0x170, 0x3f6, 0x376, 0xc040, 0xc048] {
            for offset in 0..8 {
                rig.machine.guest_in(base + offset, width);
                rig.machine.guest_out(base + offset, width, 0x3535_3535);
                rig.check_platter();
            }
        }
        (0..50).for_each(|_| rig.machine.tick());
        rig.check_platter();
    }
}
