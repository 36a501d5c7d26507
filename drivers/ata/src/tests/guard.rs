use super::machine::*;
use crate::spec::{bm, code};
use ::mediator::pci::Place;
use ::mediator::{RegionId, Width};

const BAR4: u16 = 0x20;

#[test]
fn moving_the_bus_master_moves_its_hook_first() {
    let mut machine = Machine::plain();
    machine.config_write(BAR4, Width::Dword, 0xd001).unwrap();
    assert_eq!(machine.hooks.moved, [(BUS_MASTER, Some(0xd000))]);
    machine.config_write(BAR4 + 1, Width::Byte, 0xd1).unwrap();
    machine.config_write(BAR4, Width::Word, 0xe001).unwrap();
    let moved: alloc::vec::Vec<_> = machine.hooks.moved.iter().map(|(_, base)| base.unwrap()).collect();
    assert_eq!(moved, [0xd000, 0xd100, 0xe000]);
}

#[test]
fn sizing_is_followed_there_and_back() {
    let mut machine = Machine::plain();
    machine.config_write(BAR4, Width::Dword, 0xffff_ffff).unwrap();
    machine.config_write(BAR4, Width::Dword, 0xc001).unwrap();
    assert_eq!(machine.hooks.moved, [(BUS_MASTER, Some(0xfff0)), (BUS_MASTER, Some(0xc000))]);
}

#[test]
fn a_place_that_is_taken_is_refused() {
    let mut machine = Machine::plain();
    machine.hooks.conflict = Some(0xcf0);
    assert!(machine.config_write(BAR4, Width::Dword, 0xcf1).is_err());
    assert_eq!(machine.drive.config[0x20], 0x01);
}

#[test]
fn port_0_is_refused_while_ports_are_decoded() {
    let mut machine = Machine::plain();
    assert!(machine.config_write(BAR4, Width::Dword, 0).is_err());
    machine.config_write(4, Width::Word, 0).unwrap();
    machine.config_write(BAR4, Width::Dword, 0x0000_0001).unwrap();
    assert_eq!(machine.hooks.moved, [(BUS_MASTER, None)]);
    assert!(machine.config_write(4, Width::Word, 1).is_err());
}

#[test]
fn a_change_of_mode_is_refused_and_timing_registers_pass() {
    let mut machine = Machine::plain();
    assert!(machine.config_write(9, Width::Byte, 0x81).is_err());
    assert!(machine.config_write(8, Width::Dword, 0x0101_8500).is_err());
    machine.config_write(9, Width::Byte, 0x80).unwrap();
    machine.config_write(0x40, Width::Dword, 0xa307_a307).unwrap();
    machine.config_write(0x10, Width::Dword, 0x1f1).unwrap();
    assert!(machine.hooks.moved.is_empty(), "BAR0 does not count in compatibility mode");
}

#[test]
fn native_channels_lie_where_their_bars_say() {
    let mut machine = Machine::plain();
    machine.drive.config[9] = 0x8f;
    machine.drive.config[0x10..0x20].copy_from_slice(&[1, 0x90, 0, 0, 1, 0x91, 0, 0, 1, 0x92, 0, 0, 1, 0x93, 0, 0]);
    let regions = (crate::DRIVER.regions)(&FUNCTION, &mut machine.drive);
    let at = |id| {
        regions
            .iter()
            .find(|region| region.region == RegionId(id))
            .map(|r| (r.place.and_then(Place::port).unwrap(), r.len))
            .unwrap()
    };
    assert_eq!([0, 1, 2, 3, 4].map(at), [(0x9000, 8), (0x9102, 1), (0x9200, 8), (0x9302, 1), (0xc000, 16)]);
    machine.config_write(0x14, Width::Dword, 0xa001).unwrap();
    assert_eq!(machine.hooks.moved, [(CONTROL, Some(0xa002))]);
}

#[test]
fn decoding_cannot_be_switched_off_or_moved_in_mid_transfer() {
    let mut machine = Machine::protected(Range(100, 4000, 0));
    machine.prd(&[(0x20_0000, 512)]);
    machine.command28(code::READ_DMA, 200, 1);
    machine.start(true);
    assert!(machine.config_write(4, Width::Word, 0).is_err());
    assert!(machine.config_write(BAR4, Width::Dword, 0xd001).is_err());
    machine.run();
    machine.bm_status();
    machine.config_write(4, Width::Word, 0).unwrap();
}

#[test]
fn the_chips_own_registers_stay_while_the_device_waits_for_sectors() {
    let mut machine = Machine::protected(Range(100, 4000, 0));
    machine.command28(code::WRITE_SECTORS, 200, 1);
    assert!(machine.config_write(0x40, Width::Word, 0x2307).is_err(), "IDETIM: channel 0 no longer decoded");
    assert_eq!(machine.drive.config[0x41], 0);
    machine.outsw(&pattern(1));
    machine.config_write(0x40, Width::Word, 0x2307).unwrap();
}

#[test]
fn no_transfer_starts_while_bus_mastering_is_off() {
    let mut machine = Machine::protected(Range(100, 4000, 0));
    for off in [0_u32, 1, 4] {
        machine.config_write(4, Width::Word, off).unwrap();
        machine.prd(&[(0x20_0000, 512)]);
        machine.command28(code::WRITE_DMA, 200, 1);
        machine.start(false);
        machine.config_write(4, Width::Word, 5).unwrap();
        assert_eq!(machine.bm_status() & (bm::ERROR | bm::ACTIVE), bm::ERROR);
        machine.run();
        machine.stop();
    }
    assert!(machine.drive.commands.iter().all(|(command, ..)| *command == code::NOP));
}
