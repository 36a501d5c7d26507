//! The machine sleeps (S3) at every step of every kind of request: old or new sectors, no buffer in use, and a disk that works
//! again once the guest has placed the controller as it does.
#![forbid(unsafe_code)]

use mediator::Width;
use scenario::{Rig, Way, payload};
use sim::SimIde;
use sim::guest::{Command, Failure};
use sim::ide::BUS_MASTER_BASE;

const COMMAND: u16 = 0x04;
const BAR4: u16 = 0x20;
const TIMING: u16 = 0x40;
const BUS_MASTER: mediator::RegionId = mediator::RegionId(4);

fn nothing(_: &mut SimIde) {}

/// As firmware that places everything anew, and elsewhere.
fn places_elsewhere(ide: &mut SimIde) {
    ide.config_write(BAR4, Width::Dword, 0xd001);
    ide.config_write(COMMAND, Width::Word, 5);
}

/// The guest writes back what it has saved of configuration space, as Linux does.
fn restore(rig: &mut Rig) {
    rig.machine.guest_config_write(TIMING, Width::Dword, 0x8000_8000);
    rig.machine.guest_config_write(BAR4, Width::Dword, u32::from(BUS_MASTER_BASE) | 1);
    rig.machine.guest_config_write(COMMAND, Width::Word, 5);
    assert_eq!(rig.machine.violations, []);
    rig.disk().identify(0xec).unwrap();
}

fn sleep(rig: &mut Rig, firmware: fn(&mut SimIde)) {
    rig.machine.budget = None;
    rig.machine.sleep(firmware);
    rig.check();
    restore(rig);
}

fn at_each_step(stride: u32, firmware: fn(&mut SimIde), mut request: impl FnMut(&mut Rig) -> Result<(), Failure>) {
    for step in (0..).step_by(stride as usize) {
        let mut rig = Rig::new();
        rig.machine.ide.channels[0].sectors_per_tick = 2;
        rig.write(Way::LINUX, 998, &payload(1, 998, 12)).unwrap();
        rig.machine.budget = Some(step);
        let outcome = request(&mut rig);
        rig.check_platter();
        if outcome.is_ok() {
            return;
        }
        assert_eq!(outcome, Err(Failure::Stopped), "step {step}");
        sleep(&mut rig, firmware);
        for way in [Way::ODD, Way::BIOS, Way::MULTIPLE] {
            rig.read(way, 998, 12).unwrap_or_else(|e| panic!("{way:?} after a sleep at step {step}: {e:?}"));
        }
        rig.write(Way::LINUX, 997, &payload(3, 997, 14)).unwrap();
        rig.read(Way::PIO, 996, 16).unwrap();
    }
}

#[test]
fn sleep_at_every_step() {
    for way in [Way::LINUX, Way::ODD, Way::BIOS, Way::PIO, Way::MULTIPLE] {
        at_each_step(1, nothing, |rig| rig.write_only(way, 999, &payload(2, 999, 6)));
        at_each_step(1, nothing, |rig| rig.read(way, 999, 6));
    }
}

#[test]
fn sleep_at_some_steps_of_a_request_in_parts() {
    at_each_step(29, places_elsewhere, |rig| {
        rig.machine.ide.channels[0].sectors_per_tick = 512;
        rig.write_only(Way::LINUX, 900, &payload(2, 900, 4096))
    });
}

#[test]
fn sleep_after_sleep_costs_nothing() {
    let mut rig = Rig::new();
    for round in 0..50 {
        rig.write(Way::ODD, 990, &payload(round, 990, 20)).unwrap();
        sleep(&mut rig, nothing);
        rig.read(Way::LINUX, 990, 20).unwrap();
    }
}

#[test]
fn hooks_lie_where_firmware_has_placed_the_registers() {
    let mut rig = Rig::new();
    rig.machine.sleep(places_elsewhere);
    assert_eq!(rig.machine.hooks.base(BUS_MASTER), Some(0xd000));
    assert_eq!(rig.machine.hooks.find(BUS_MASTER_BASE), None);
    restore(&mut rig);
    assert_eq!(rig.machine.hooks.base(BUS_MASTER), Some(BUS_MASTER_BASE));
    rig.write(Way::LINUX, 999, &payload(2, 999, 6)).unwrap();
}

#[test]
fn registers_that_cannot_be_hooked_are_not_decoded() {
    let mut rig = Rig::new();
    rig.machine.hooks.forbidden = Some((0xd000, 16));
    rig.machine.sleep(places_elsewhere);
    assert_eq!(rig.machine.hooks.base(BUS_MASTER), None);
    assert_eq!(rig.machine.ide.config_read(COMMAND, Width::Word) & 5, 0);
    assert_eq!(rig.machine.ide.config_read(BAR4, Width::Dword), 1);
    // Decoded at port 0 it would be no one's.
    rig.machine.guest_config_write(COMMAND, Width::Word, 5);
    assert_eq!(rig.machine.violations.len(), 1);
    assert_eq!(rig.machine.ide.config_read(COMMAND, Width::Word) & 1, 0);
    rig.machine.violations.clear();
    restore(&mut rig);
    rig.write(Way::LINUX, 999, &payload(2, 999, 6)).unwrap();
}

#[test]
fn firmware_that_switches_decoding_on_with_the_bus_master_at_port_0_is_put_right() {
    let mut rig = Rig::new();
    rig.machine.sleep(|ide| ide.config_write(COMMAND, Width::Word, 5));
    assert_eq!(rig.machine.ide.config_read(COMMAND, Width::Word) & 5, 0);
    restore(&mut rig);
    rig.write(Way::LINUX, 999, &payload(2, 999, 6)).unwrap();
}

#[test]
fn a_translation_set_before_a_sleep_means_nothing_after_it() {
    let mut rig = Rig::new();
    // INITIALIZE DEVICE PARAMETERS: 8 heads of 32 sectors.
    rig.disk().non_data(Command { command: 0x91, count: 32, chs: Some(7), ..Command::default() }).unwrap();
    rig.machine.sleep(nothing);
    rig.machine.guest_config_write(TIMING, Width::Dword, 0x8000_8000);
    rig.machine.guest_config_write(BAR4, Width::Dword, u32::from(BUS_MASTER_BASE) | 1);
    rig.machine.guest_config_write(COMMAND, Width::Word, 5);
    // Cylinder 4, head 1, sector 1: sector 1056 before, 4095 in the disk's own translation.
    let read = Command { command: 0x20, count: 1, lba: 4 << 8 | 1, chs: Some(1), ..Command::default() };
    let mut data = vec![0; 512];
    let refused = rig.disk().pio_in(read, 512, sim::guest::Style::default(), &mut data);
    assert!(matches!(refused, Err(Failure::Device { .. })), "{refused:?}");
    rig.disk().identify(0xec).unwrap();
    rig.disk().pio_in(read, 512, sim::guest::Style::default(), &mut data).unwrap();
    assert_eq!(data, rig.expected(4095));
}
