use super::fake::Drive;
use super::machine::*;
use crate::spec::{bm, code, reg, status};

const RANGE: Range = Range(100, 4000, 0);
const BUFFER: u32 = 0x20_0000;

fn write_in_flight() -> Machine {
    let mut machine = Machine::protected(RANGE);
    machine.put(BUFFER, &pattern(8));
    machine.prd(&[(BUFFER, 4096)]);
    machine.command28(code::WRITE_DMA, 200, 8);
    machine.start(false);
    machine
}

#[test]
fn a_soft_reset_in_mid_transfer_stops_the_bus_master_first() {
    let mut machine = write_in_flight();
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, bm::ACTIVE);
    machine.soft_reset();
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, 0);
    assert_eq!(machine.status(), status::DRDY | status::DSC);
    machine.stop();
    machine.prd(&[(BUFFER, 4096)]);
    machine.command28(code::WRITE_DMA, 300, 8);
    machine.start(false);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    assert_eq!(machine.sectors(300, 8), xor(200, pattern(8)));
}

#[test]
fn a_stop_in_mid_transfer_lets_nothing_else_feed_the_device() {
    let mut machine = write_in_flight();
    machine.stop();
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, 0);
    assert_eq!(machine.status() & status::BSY, status::BSY);
    // The device still waits for eight encrypted sectors. Plain data of another request must not become them.
    machine.prd(&[(BUFFER, 4096)]);
    machine.write(COMMAND, reg::DEVICE, 0xf0);
    machine.command28(code::WRITE_DMA, 10, 8);
    machine.start(false);
    machine.run();
    machine.outsw(&pattern(8));
    assert_eq!(machine.sectors(200, 8), original(200, 8));
    assert_eq!(machine.drive.commands.len(), 1);
    machine.stop();
    machine.soft_reset();
    assert_eq!(machine.status() & status::BSY, 0);
}

#[test]
fn a_stop_after_the_end_is_no_abort() {
    let mut machine = write_in_flight();
    machine.run();
    machine.stop();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    assert_eq!(machine.status(), status::DRDY | status::DSC);
    let mut machine = Machine::protected(RANGE);
    machine.prd(&[(BUFFER, 512)]);
    machine.command28(code::READ_DMA, 200, 1);
    machine.start(true);
    machine.run();
    machine.stop();
    assert_eq!(machine.ram(BUFFER, 512), xor(100, original(200, 1)));
    assert_eq!(machine.status(), status::DRDY | status::DSC);
}

#[test]
fn a_reset_forgets_a_held_command_and_a_begun_block() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::WRITE_DMA, 200, 1);
    machine.soft_reset();
    machine.prd(&[(BUFFER, 512)]);
    machine.start(false);
    assert!(machine.drive.commands.is_empty());
    machine.stop();
    machine.command28(code::READ_SECTORS, 200, 2);
    machine.insw(10);
    machine.soft_reset();
    assert_eq!(machine.status() & status::DRQ, 0);
    machine.command28(code::READ_SECTORS, 201, 1);
    assert_eq!(machine.insw(512), xor(101, original(201, 1)));
}

#[test]
fn registers_of_a_busy_channel_take_nothing() {
    let mut machine = write_in_flight();
    machine.write(COMMAND, reg::LBA_LOW, 7);
    machine.write(COMMAND, reg::DEVICE, 0xf0);
    machine.write(COMMAND, reg::COMMAND, code::EXECUTE_DEVICE_DIAGNOSTIC);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    assert_eq!(machine.read(COMMAND, reg::LBA_LOW), 200);
    assert_eq!(machine.sectors(200, 8), xor(100, pattern(8)));
}

#[test]
fn the_selection_does_not_change_under_a_busy_device() {
    let mut machine = Machine::protected(RANGE);
    machine.prd(&[(BUFFER, 512)]);
    machine.command28(code::READ_DMA, 10, 1);
    machine.start(true);
    machine.write(COMMAND, reg::DEVICE, 0xf0);
    assert_eq!(machine.drive.device & 0x10, 0);
    machine.run();
    machine.stop();
    machine.write(COMMAND, reg::DEVICE, 0xf0);
    assert_eq!(machine.drive.device & 0x10, 0x10);
}

#[test]
fn a_packet_device_gets_its_packet_at_once_and_dma_by_a_shadow_table() {
    let mut machine = Machine::with(Drive { packet: true, ..Drive::new() });
    assert!(machine.controller.disks().is_empty());
    machine.prd(&[(BUFFER, 2048)]);
    machine.write(COMMAND, reg::FEATURES, 1);
    machine.write(COMMAND, reg::COMMAND, code::PACKET);
    assert_eq!(machine.drive.commands, [(code::PACKET, 0, 0)]);
    machine.start(true);
    assert!(u64::from(machine.drive.bm_table) >= VMM);
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, bm::ACTIVE);
    machine.write(COMMAND, reg::COMMAND, code::DEVICE_RESET);
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, 0);
}

#[test]
fn a_packet_table_into_vmm_memory_never_starts() {
    let mut machine = Machine::with(Drive { packet: true, ..Drive::new() });
    machine.prd(&[(VMM as u32, 2048)]);
    machine.write(COMMAND, reg::FEATURES, 1);
    machine.write(COMMAND, reg::COMMAND, code::PACKET);
    machine.start(true);
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, 0);
    assert_eq!(machine.bm_status() & bm::ERROR, bm::ERROR);
}

#[test]
fn the_probe_lists_disks_and_leaves_the_channel_as_it_was() {
    let machine = Machine::plain();
    let disks = machine.controller.disks();
    assert_eq!(disks.len(), 1);
    assert_eq!((disks[0].channel, disks[0].unit, disks[0].model.as_str()), (0, 0, "FAKE DISK"));
    assert_eq!((machine.drive.control, machine.drive.device & 0x10, machine.drive.intrq), (0, 0, false));
    let nobody = Machine::with(Drive { present: false, ..Drive::new() });
    assert!(nobody.controller.disks().is_empty());
}

#[test]
fn sectors_are_read_before_the_guest_as_they_are() {
    let mut machine = Machine::protected(RANGE);
    let mut data = alloc::vec![0; 300 * 512];
    machine.read_before_guest(150, &mut data).unwrap();
    assert_eq!(data, original(150, 300));
    assert_eq!((machine.drive.control, machine.drive.intrq, machine.drive.interrupts), (0, false, 0));
    assert!(machine.read_before_guest(8191, &mut data).is_err());
    assert!(machine.read_before_guest(0, &mut data[..100]).is_err());
}

#[test]
fn a_device_that_wants_more_than_was_counted_gets_no_plain_data() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::SET_MULTIPLE_MODE, 0, 8);
    machine.command28(code::SET_MULTIPLE_MODE, 0, 2);
    // The reset comes before anybody has asked what became of the setting, and the drive keeps it (SET FEATURES 66h).
    machine.soft_reset();
    machine.command28(code::WRITE_MULTIPLE, 200, 8);
    machine.drive.slow = true;
    machine.outsw(&pattern(8));
    assert_eq!(machine.sectors(202, 6), original(202, 6), "the drive took two sectors");
    machine.drive.next_block();
    let plain = [0xaa; 1024];
    machine.outsw(&plain);
    assert_ne!(machine.sectors(202, 2), plain);
}

#[test]
fn data_after_a_reset_reaches_no_device_that_has_not_seen_the_reset_yet() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::WRITE_SECTORS, 200, 1);
    machine.drive.deaf = true;
    machine.soft_reset();
    machine.outsw(&[0xaa; 512]);
    assert_eq!(machine.sectors(200, 1), original(200, 1));
}
