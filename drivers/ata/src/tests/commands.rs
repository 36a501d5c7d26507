use super::machine::*;
use crate::cmd::{Class, classify, set_features_passes, smart_passes};
use crate::spec::{code, reg, status};
use alloc::vec;
use alloc::vec::Vec;

const RANGE: Range = Range(100, 4000, 0);

/// The codes of a class.
fn codes(class: Class) -> Vec<u8> {
    (0..=255).filter(|command| classify(*command) == class).collect()
}

#[test]
fn every_command_of_the_issue_has_its_class() {
    let unlisted = [0x22, 0x23, 0x32, 0x33, 0x27, 0x37, 0xf8, 0xf9, 0xb1, 0x5b, 0x5c, 0x5e, 0xf1, 0xf2, 0xf3, 0xf4];
    for command in unlisted.into_iter().chain([0xf6, 0x92, 0x3f, 0x45, 0x50, 0x80, 0xb4, 0xc0, 0xff]) {
        assert_eq!(classify(command), Class::PlainOnly, "{command:#x}");
    }
    for command in [0x26, 0x36, 0x3e, 0xc7, 0xcc, 0x63, 0x64, 0xa2, 0x5d, 0x93, 0x47] {
        assert_eq!(classify(command), Class::Refused, "{command:#x}");
    }
    for command in [0x00, 0x10, 0x94, 0xe0, 0xe5, 0xe6, 0xe7, 0xea, 0xf5] {
        assert_eq!(classify(command), Class::Pass, "{command:#x}");
    }
    let transfers = (0..=255).filter(|command| matches!(classify(*command), Class::Transfer(_))).count();
    assert_eq!(transfers, 19);
    assert_eq!(codes(Class::SetFeatures), [0xef]);
    assert_eq!((codes(Class::ReadLog), codes(Class::Queued { write: true })), (vec![0x2f], vec![0x61]));
}

#[test]
fn smart_reads_pass_and_smart_writes_do_not() {
    assert!([0xd0, 0xd1, 0xd4, 0xd5, 0xd8, 0xda].into_iter().all(|sub| smart_passes(sub, true)));
    assert!(!smart_passes(0xd6, true) && smart_passes(0xd6, false));
    assert!(!smart_passes(0xe0, true));
}

#[test]
fn set_features_goes_by_subcommand() {
    assert!([0x02, 0x03, 0x82, 0xaa].into_iter().all(|sub| set_features_passes(sub, true)));
    assert!([0x01, 0x5d, 0x5e].into_iter().all(|sub| !set_features_passes(sub, false)));
    assert!(!set_features_passes(0x44, true) && set_features_passes(0x44, false));
}

#[test]
fn a_refused_command_is_aborted_with_an_interrupt_and_never_sent() {
    let mut machine = Machine::protected(RANGE);
    for command in [0x22, 0x32, 0xb1, 0xf9, 0x5c, 0x92, 0xf6, 0xc7, 0x06, 0x80, 0xe4, 0x60, 0x61] {
        let before = machine.drive.interrupts;
        machine.command28(command, 0x123_4567, 9);
        assert_eq!(machine.drive.interrupts, before + 1, "{command:#x}");
        assert_eq!(machine.alt_status() & (status::ERR | status::BSY | status::DRQ), status::ERR);
        assert_eq!(machine.read(COMMAND, reg::ERROR), 4, "ABRT");
        let shown = [2, 3, 4, 5, 6].map(|register| machine.read(COMMAND, register));
        assert_eq!(shown, [9, 0x67, 0x45, 0x23, 0xe1], "the guest's own task file");
        machine.status();
        assert!(!machine.drive.intrq);
    }
    assert!(machine.drive.commands.iter().all(|(command, ..)| *command == code::NOP));
}

#[test]
fn a_plain_disk_takes_commands_that_a_protected_one_refuses() {
    let mut machine = Machine::plain();
    for command in [0xb1, 0xf5, 0x92, 0x80] {
        machine.command28(command, 0, 1);
        assert_eq!(machine.drive.commands.pop().unwrap().0, command);
    }
    machine.command28(0xc7, 0, 1);
    assert_eq!(machine.drive.commands.pop().unwrap().0, code::NOP, "queued DMA cannot be followed");
}

#[test]
fn smart_write_log_is_refused_and_read_log_passes() {
    let mut machine = Machine::protected(RANGE);
    machine.write(COMMAND, reg::FEATURES, 0xd6);
    machine.command28(code::SMART, 0xc2_4f00, 1);
    machine.write(COMMAND, reg::FEATURES, 0xd5);
    machine.command28(code::SMART, 0xc2_4f00, 1);
    let sent: Vec<u8> = machine.drive.commands.iter().map(|c| c.0).collect();
    assert_eq!(sent, [code::NOP, code::SMART]);
}

#[test]
fn a_command_is_sent_with_the_registers_it_was_judged_by() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 5, 1);
    // The device is in DRQ and may ignore register writes; a real one would keep the old address.
    machine.insw(512);
    machine.command28(code::READ_SECTORS, 6, 1);
    assert_eq!(machine.insw(512), original(6, 1));
    assert_eq!(machine.drive.commands, [(code::READ_SECTORS, 5, 1), (code::READ_SECTORS, 6, 1)]);
}

#[test]
fn a_command_to_a_busy_drive_is_not_looked_at() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 200, 2);
    machine.write(COMMAND, reg::COMMAND, code::WRITE_DMA);
    assert_eq!(machine.drive.commands.len(), 1);
    assert_eq!(machine.insw(512), xor(100, original(200, 1)));
}

#[test]
fn a_request_past_the_end_of_the_disk_is_refused() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 8191, 2);
    machine.command48(code::READ_SECTORS_EXT, u64::MAX >> 16, 1);
    assert!(machine.drive.commands.iter().all(|(command, ..)| *command == code::NOP));
}

#[test]
fn chs_goes_by_the_geometry_that_the_guest_has_set() {
    let mut machine = Machine::protected(RANGE);
    let chs = |machine: &mut Machine, cylinder: u8, head: u8, sector: u8| {
        for (register, value) in [(6, 0xa0 | head), (2, 1), (3, sector), (4, cylinder), (5, 0), (7, 0x20)] {
            machine.write(COMMAND, register, value);
        }
        machine.insw(512)
    };
    // 16 heads, 63 sectors.
    assert_eq!(chs(&mut machine, 1, 2, 3), xor(1036, original(1008 + 126 + 2, 1)));
    assert_eq!(machine.read(COMMAND, reg::DEVICE), 0xa2, "the guest's device register, not ours");
    machine.write(COMMAND, reg::DEVICE, 0xa7);
    machine.write(COMMAND, reg::COUNT, 32);
    machine.write(COMMAND, reg::COMMAND, code::INITIALIZE_DEVICE_PARAMETERS);
    assert_eq!(chs(&mut machine, 1, 2, 3), xor(222, original(256 + 64 + 2, 1)));
    chs(&mut machine, 0, 0, 0);
    assert_eq!(machine.drive.commands.last().unwrap().0, code::NOP, "sector 0 does not exist");
}

#[test]
fn commands_to_an_absent_unit_go_nowhere() {
    let mut machine = Machine::protected(RANGE);
    machine.write(COMMAND, reg::DEVICE, 0xb0);
    machine.write(COMMAND, reg::COMMAND, code::IDENTIFY_DEVICE);
    assert_eq!(machine.status(), 0);
    assert!(machine.drive.commands.is_empty());
}
