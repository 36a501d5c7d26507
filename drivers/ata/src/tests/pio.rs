use super::machine::*;
use crate::spec::{code, reg, status};
use ::mediator::{Access, Op, Width};
use alloc::vec::Vec;

const RANGE: Range = Range(100, 4000, 0);

#[test]
fn a_pio_read_of_a_range_is_decrypted_word_by_word() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 150, 1);
    let mut data = Vec::new();
    for _ in 0..128 {
        let read = Access { region: COMMAND, offset: 0, width: Width::Word, op: Op::Read };
        data.extend((machine.access(read).unwrap() as u16).to_le_bytes());
    }
    for _ in 0..64 {
        assert_eq!(machine.status() & status::DRQ, status::DRQ, "the block is not drained");
        let read = Access { region: COMMAND, offset: 0, width: Width::Dword, op: Op::Read };
        data.extend((machine.access(read).unwrap() as u32).to_le_bytes());
    }
    assert_eq!(data, xor(50, original(150, 1)));
    assert_eq!(machine.status() & (status::DRQ | status::BSY), 0);
}

#[test]
fn a_status_read_of_an_undrained_block_does_not_swallow_the_next_interrupt() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 150, 2);
    machine.status();
    machine.insw(2);
    assert!(machine.drive.intrq, "the device is at its second block already");
    machine.status();
    assert!(machine.drive.intrq);
    machine.insw(510);
    machine.status();
    assert!(!machine.drive.intrq);
}

#[test]
fn a_pio_read_across_both_boundaries_transforms_the_range_only() {
    let mut machine = Machine::protected(Range(100, 102, 0));
    machine.command28(code::READ_SECTORS, 99, 4);
    let data = machine.insw(4 * 512);
    assert_eq!(data[..512], original(99, 1));
    assert_eq!(data[512..1536], xor(0, original(100, 2)));
    assert_eq!(data[1536..], original(102, 1));
}

#[test]
fn a_pio_write_reaches_the_disk_encrypted() {
    let mut machine = Machine::protected(RANGE);
    machine.command48(code::WRITE_SECTORS_EXT, 150, 3);
    let data = pattern(3);
    machine.outsw(&data[..512]);
    for word in data[512..1024].chunks(2) {
        let value = u64::from(u16::from_le_bytes([word[0], word[1]]));
        machine.access(Access { region: COMMAND, offset: 0, width: Width::Word, op: Op::Write(value) }).unwrap();
    }
    assert_eq!(machine.sectors(152, 1), original(152, 1));
    machine.outsw(&data[1024..]);
    assert_eq!(machine.sectors(150, 3), xor(50, data));
    assert_eq!(machine.drive.interrupts, 3);
    assert_eq!(machine.drive.commands, [(code::WRITE_SECTORS_EXT, 150, 3)]);
}

#[test]
fn multiple_takes_the_block_size_that_was_set() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_MULTIPLE, 150, 6);
    let before = machine.drive.strings;
    assert_eq!(machine.insw(6 * 512), xor(50, original(150, 6)));
    assert_eq!(machine.drive.strings - before, 2, "4 and 2 sectors");
    machine.command28(code::SET_MULTIPLE_MODE, 0, 8);
    machine.command28(code::WRITE_MULTIPLE, 200, 9);
    let before = machine.drive.strings;
    machine.outsw(&pattern(9));
    assert_eq!(machine.drive.strings - before, 2, "8 and 1 sectors");
    assert_eq!(machine.sectors(200, 9), xor(100, pattern(9)));
}

#[test]
fn plain_sectors_pass_in_one_string() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 10, 2);
    assert_eq!(machine.insw(1024), original(10, 2));
    assert_eq!(machine.drive.strings, 1);
    machine.command28(code::WRITE_SECTORS, 10, 2);
    machine.outsw(&pattern(2));
    assert_eq!(machine.sectors(10, 2), pattern(2));
    assert_eq!(machine.drive.strings, 2);
}

#[test]
fn identify_is_edited_on_its_way() {
    let mut machine = Machine::protected(RANGE);
    machine.write(COMMAND, reg::DEVICE, 0xa0);
    machine.write(COMMAND, reg::COMMAND, code::IDENTIFY_DEVICE);
    let answer = machine.insw(512);
    assert_eq!(answer[169 * 2], 0, "TRIM");
    assert_eq!(answer[54..94], machine.drive.identify[54..94]);
    assert_eq!(answer.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn data_that_nobody_asked_for_reads_as_ones_and_is_not_written() {
    let mut machine = Machine::protected(RANGE);
    machine.command28(code::READ_SECTORS, 150, 1);
    let data = machine.insw(1024);
    assert_eq!(data[512..], [0xff; 512]);
    machine.command28(code::WRITE_SECTORS, 150, 1);
    machine.outsw(&pattern(2));
    assert_eq!(machine.sectors(150, 1), xor(50, pattern(1)));
    assert_eq!(machine.sectors(151, 1), original(151, 1));
}

#[test]
fn sectors_that_lie_elsewhere_are_read_and_written_there() {
    let mut machine = Machine::protected(Range(100, 4000, 32));
    machine.command28(code::READ_SECTORS, 150, 1);
    assert_eq!(machine.insw(512), xor(50, original(182, 1)));
    assert_eq!(machine.read(COMMAND, reg::LBA_LOW), 150);
    machine.command28(code::WRITE_SECTORS, 150, 1);
    machine.outsw(&pattern(1));
    assert_eq!(machine.sectors(182, 1), xor(50, pattern(1)));
    assert_eq!(machine.sectors(150, 1), original(150, 1));
}

#[test]
fn the_verify_command_is_translated_too() {
    let mut machine = Machine::protected(Range(100, 4000, 32));
    machine.command28(code::READ_VERIFY, 150, 2);
    assert_eq!(machine.drive.commands, [(code::READ_VERIFY, 182, 2)]);
}

#[test]
fn a_pio_write_is_not_over_between_two_blocks() {
    let mut machine = Machine::protected(RANGE);
    machine.drive.slow = true;
    machine.command28(code::WRITE_SECTORS, 150, 2);
    machine.outsw(&pattern(2)[..512]);
    // For 400 ns the device may show neither BSY nor DRQ: it is not free for that.
    machine.write(COMMAND, reg::DEVICE, 0xf0);
    machine.command28(code::WRITE_SECTORS, 10, 2);
    machine.drive.next_block();
    machine.outsw(&pattern(2)[512..]);
    assert_eq!(machine.drive.commands.len(), 1);
    assert_eq!(machine.sectors(150, 2), xor(50, pattern(2)));
}
