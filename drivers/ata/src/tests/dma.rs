use super::machine::*;
use crate::spec::{bm, code, reg, status};
use crate::{BOUNCE_BYTES, TABLE_BYTES};
use ::mediator::disk::{Extent, RangeMap};
use ::mediator::{Access, Op, Width};
use alloc::sync::Arc;
use alloc::vec::Vec;

const RANGE: Range = Range(100, 4000, 0);
const BUFFER: u32 = 0x20_0000;
/// Sectors of 1280 KiB, what Linux sends at most.
const BIG: u16 = 2560;
const BUSY_BM: u8 = bm::ACTIVE;
const BSY: u8 = status::BSY;

fn in_arena(at: u32) -> bool {
    u64::from(at) >= VMM
}

#[test]
fn a_write_of_a_range_reaches_the_disk_encrypted_and_guest_memory_stays() {
    let mut machine = Machine::protected(RANGE);
    machine.put(BUFFER, &pattern(8));
    machine.prd(&[(BUFFER, 1024), (BUFFER + 1024, 3072)]);
    machine.command28(code::WRITE_DMA, 200, 8);
    assert!(machine.drive.commands.is_empty(), "held until the bus master is started");
    assert_eq!(machine.status() & BSY, BSY);
    machine.start(false);
    assert_eq!(machine.drive.commands, [(code::WRITE_DMA, 200, 8)]);
    assert!(in_arena(machine.drive.bm_table));
    assert_eq!((machine.bm_status(), machine.status() & BSY), (BUSY_BM, BSY));
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    assert_eq!(machine.status(), status::DRDY | status::DSC);
    machine.stop();
    assert_eq!(machine.sectors(200, 8), xor(100, pattern(8)));
    assert_eq!(machine.ram(BUFFER, 4096), pattern(8));
    assert_eq!((machine.drive.interrupts, machine.works), (1, 1));
}

#[test]
fn the_bus_master_may_be_started_before_the_command() {
    let mut machine = Machine::protected(RANGE);
    machine.put(BUFFER, &pattern(1));
    machine.prd(&[(BUFFER, 512)]);
    machine.start(false);
    assert_eq!(machine.drive.bm_status & bm::ACTIVE, 0, "nothing is told to the device");
    assert_eq!(machine.bm_status(), bm::ACTIVE);
    machine.command28(code::WRITE_DMA, 200, 1);
    machine.run();
    assert_eq!(machine.sectors(200, 1), xor(100, pattern(1)));
}

#[test]
fn a_read_is_in_guest_memory_before_any_status_tells_so() {
    for look in [Machine::bm_status, Machine::status, Machine::alt_status] {
        let mut machine = Machine::protected(RANGE);
        machine.prd(&[(BUFFER, 4096)]);
        machine.command48(code::READ_DMA_EXT, 200, 8);
        machine.start(true);
        assert_eq!((machine.alt_status() & BSY, machine.works), (BSY, 0));
        machine.run();
        assert_ne!(machine.ram(BUFFER, 4096), xor(100, original(200, 8)));
        look(&mut machine);
        assert_eq!(machine.ram(BUFFER, 4096), xor(100, original(200, 8)));
        assert_eq!(machine.bm_status(), bm::INTERRUPT);
    }
}

#[test]
fn alternate_status_leaves_the_interrupt_pending_and_status_clears_it() {
    let mut machine = Machine::protected(RANGE);
    machine.prd(&[(BUFFER, 512)]);
    machine.command28(code::READ_DMA, 200, 1);
    machine.start(true);
    machine.run();
    machine.alt_status();
    assert!(machine.drive.intrq);
    machine.status();
    assert!(!machine.drive.intrq);
}

#[test]
fn a_polling_guest_with_interrupts_off_sees_the_end_too() {
    let mut machine = Machine::protected(RANGE);
    machine.write(CONTROL, 0, 2);
    machine.prd(&[(BUFFER, 512)]);
    machine.command28(code::READ_DMA, 200, 1);
    machine.start(true);
    machine.run();
    assert_eq!(machine.alt_status(), status::DRDY | status::DSC);
    assert_eq!(machine.ram(BUFFER, 512), xor(100, original(200, 1)));
}

#[test]
fn a_request_larger_than_the_bounce_buffer_goes_in_parts() {
    let parts = [BOUNCE_BYTES / 512, usize::from(BIG) - BOUNCE_BYTES / 512].map(|n| n as u32);
    for write in [true, false] {
        let mut machine = Machine::protected(RANGE);
        let len = usize::from(BIG) * 512;
        machine.put(BUFFER, &pattern(BIG.into()));
        machine.prd_of(BUFFER, len as u32);
        let command = if write { code::WRITE_DMA_EXT } else { code::READ_DMA_EXT };
        machine.command48(command, 300, BIG);
        machine.start(!write);
        machine.run();
        assert_eq!(machine.drive.interrupts, 1);
        assert_eq!(machine.bm_status(), BUSY_BM, "busy, no cause yet");
        assert!(!machine.drive.intrq);
        assert_eq!(machine.status() & BSY, BSY);
        machine.run();
        assert_eq!(machine.drive.interrupts, 2);
        assert_eq!(machine.bm_status(), bm::INTERRUPT);
        machine.status();
        machine.stop();
        let first = 300 + u64::from(parts[0]);
        assert_eq!(machine.drive.commands, [(command, 300, parts[0]), (command, first, parts[1])]);
        if write {
            assert_eq!(machine.sectors(300, BIG.into()), xor(200, pattern(BIG.into())));
        } else {
            assert_eq!(machine.ram(BUFFER, len), xor(200, original(300, BIG.into())));
        }
        let shown = [2, 3, 4, 5].map(|register| machine.read(COMMAND, register));
        assert_eq!(shown, [0, 300_u16.to_le_bytes()[0], 1, 0], "as the guest wrote them");
    }
}

#[test]
fn a_request_across_a_boundary_transforms_the_range_only() {
    let mut machine = Machine::protected(RANGE);
    machine.put(BUFFER, &pattern(4));
    machine.prd(&[(BUFFER, 2048)]);
    machine.command28(code::WRITE_DMA, 98, 4);
    machine.start(false);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    assert_eq!(machine.sectors(98, 2), pattern(4)[..1024]);
    assert_eq!(machine.sectors(100, 2), xor(0, pattern(4)[1024..].to_vec()));
    assert_eq!(machine.drive.commands.len(), 1);
}

#[test]
fn a_request_whose_sectors_lie_apart_goes_in_parts() {
    let mut machine = Machine::protected(Range(100, 4000, 32));
    machine.prd(&[(BUFFER, 2048)]);
    machine.command28(code::READ_DMA, 98, 4);
    machine.start(true);
    machine.run();
    assert_eq!(machine.bm_status(), BUSY_BM);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    assert_eq!(machine.drive.commands, [(code::READ_DMA, 98, 2), (code::READ_DMA, 132, 2)]);
    assert_eq!(machine.ram(BUFFER, 1024), original(98, 2));
    assert_eq!(machine.ram(BUFFER + 1024, 1024), xor(0, original(132, 2)));
}

#[test]
fn plain_requests_use_guest_memory_by_a_shadow_table() {
    for mut machine in [Machine::plain(), Machine::protected(RANGE)] {
        machine.put(BUFFER, &pattern(2));
        machine.prd(&[(BUFFER, 512), (BUFFER + 512, 512)]);
        machine.command28(code::WRITE_DMA, 10, 2);
        machine.start(false);
        assert!(in_arena(machine.drive.bm_table));
        machine.prd(&[(VMM as u32, 1024)]);
        machine.run();
        assert_eq!((machine.bm_status() & !bm::CAPABLE, machine.works), (bm::INTERRUPT, 0));
        assert_eq!(machine.sectors(10, 2), pattern(2), "the table was copied at the start");
        machine.stop();
    }
}

#[test]
fn a_table_into_vmm_memory_is_a_dma_error_and_nothing_is_sent() {
    for (lba, write) in [(10, true), (10, false), (200, true), (200, false)] {
        let mut machine = Machine::protected(RANGE);
        machine.prd(&[(BUFFER, 512), (VMM as u32 + 0x1000, 512)]);
        machine.command28(if write { code::WRITE_DMA } else { code::READ_DMA }, lba, 2);
        machine.start(!write);
        assert_eq!(machine.drive.commands, [(code::NOP, 0, 0)]);
        assert_eq!(machine.bm_status(), bm::INTERRUPT | bm::ERROR);
        assert_eq!(machine.status() & status::ERR, status::ERR);
        assert_eq!(machine.drive.interrupts, 1);
        machine.write(BUS_MASTER, bm::STATUS, bm::INTERRUPT | bm::ERROR);
        assert_eq!(machine.bm_status(), 0);
        machine.stop();
    }
}

#[test]
fn a_table_or_buffer_that_is_no_ram_is_a_dma_error() {
    let mut machine = Machine::protected(RANGE);
    machine.prd(&[(RAM_BYTES as u32 + 0x1000, 512)]);
    machine.command28(code::WRITE_DMA, 200, 1);
    machine.start(false);
    assert_eq!(machine.drive.commands, [(code::NOP, 0, 0)]);
    assert_eq!(machine.bm_status(), bm::INTERRUPT | bm::ERROR);
    machine.stop();
    let far = Op::Write(0xf000_0000);
    machine.access(Access { region: BUS_MASTER, offset: bm::PRDT, width: Width::Dword, op: far }).unwrap();
    machine.command28(code::READ_DMA, 200, 1);
    machine.start(true);
    assert_eq!(machine.drive.commands.last().unwrap().0, code::NOP);
}

#[test]
fn a_short_table_sends_nothing_and_only_a_reset_helps() {
    let mut machine = Machine::protected(RANGE);
    machine.prd(&[(BUFFER, 512)]);
    machine.command28(code::WRITE_DMA, 200, 2);
    machine.start(false);
    assert_eq!(machine.bm_status(), 0, "neither active nor interrupt");
    assert_eq!(machine.status() & BSY, BSY);
    assert!(machine.drive.commands.is_empty());
    machine.stop();
    machine.soft_reset();
    assert_eq!(machine.status() & BSY, 0);
    assert_eq!(machine.sectors(200, 2), original(200, 2));
}

#[test]
fn a_long_table_stays_active_with_the_interrupt() {
    let mut machine = Machine::protected(RANGE);
    machine.prd(&[(BUFFER, 4096)]);
    machine.command28(code::READ_DMA, 200, 2);
    machine.start(true);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT | bm::ACTIVE);
    machine.stop();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
}

#[test]
fn a_bad_sector_is_reported_at_the_guests_address_with_the_data_before_it() {
    let mut machine = Machine::protected(Range(100, 4000, 32));
    machine.drive.bad = Some(234);
    machine.prd(&[(BUFFER, 2048)]);
    machine.command28(code::READ_DMA, 200, 4);
    machine.start(true);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT | bm::ACTIVE);
    assert_eq!(machine.status() & status::ERR, status::ERR);
    assert_eq!(machine.read(COMMAND, reg::ERROR), 0x40);
    assert_eq!(machine.read(COMMAND, reg::LBA_LOW), 202);
    assert_eq!(machine.ram(BUFFER, 1024), xor(100, original(232, 2)));
    assert_eq!(machine.ram(BUFFER + 1024, 1024), [0; 1024]);
}

#[test]
fn a_direction_that_is_not_the_commands_is_refused() {
    for lba in [10, 200] {
        let mut machine = Machine::protected(RANGE);
        machine.prd(&[(BUFFER, 512)]);
        machine.command28(code::WRITE_DMA, lba, 1);
        machine.start(true);
        assert_eq!(machine.drive.commands, [(code::NOP, 0, 0)]);
    }
}

#[test]
fn bus_master_registers_take_bytes_and_words() {
    let mut machine = Machine::plain();
    for (n, byte) in 0x1234_5678_u32.to_le_bytes().into_iter().enumerate() {
        machine.write(BUS_MASTER, bm::PRDT + n as u32, byte);
    }
    let read = |offset, width| Access { region: BUS_MASTER, offset, width, op: Op::Read };
    assert_eq!(machine.access(read(4, Width::Dword)), Ok(0x1234_5678));
    assert_eq!(machine.access(read(6, Width::Word)), Ok(0x1234));
    machine.write(BUS_MASTER, bm::STATUS, 0x60);
    assert_eq!(machine.bm_status(), 0x60, "for software's own use");
    assert!(machine.access(read(3, Width::Word)).is_err());
    assert!(machine.access(read(16, Width::Byte)).is_err());
}

#[test]
fn an_arena_without_room_refuses_the_controller() {
    for bytes in [0, TABLE_BYTES, TABLE_BYTES + BOUNCE_BYTES - 1] {
        assert!(Machine::attach(super::fake::Drive::new(), bytes).is_err());
    }
}

/// A range that allows TRIM.
struct Trimmed(Range);

impl RangeMap for Trimmed {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        self.0.extent(lba, sectors)
    }

    fn is_protected(&self) -> bool {
        true
    }

    fn allows_trim(&self) -> bool {
        true
    }
}

#[test]
fn trim_is_sent_where_it_is_allowed_with_the_disks_own_addresses() {
    let trim = |range: Arc<dyn RangeMap>, entries: &[u64]| {
        let mut machine = Machine::plain();
        machine.controller.set_ranges(0, range).unwrap();
        let list: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        machine.put(BUFFER, &list);
        machine.prd(&[(BUFFER, 512)]);
        machine.write(COMMAND, reg::FEATURES, 1);
        machine.command48(code::DATA_SET_MANAGEMENT, 0, 1);
        machine.start(false);
        machine.run();
        (machine.drive.commands[0].0, machine.sectors(8191, 1)[..16].to_vec())
    };
    let shifted = Range(100, 4000, 32);
    let (sent, list) = trim(Arc::new(Trimmed(shifted)), &[8 << 48 | 200, 0xffff]);
    assert_eq!(sent, code::DATA_SET_MANAGEMENT);
    assert_eq!(list, [8_u64 << 48 | 232, 0xffff].map(u64::to_le_bytes).as_flattened());
    for refused in [8 << 48 | 98, 8 << 48 | 8190] {
        assert_eq!(trim(Arc::new(Trimmed(shifted)), &[refused]).0, code::NOP);
    }
    assert_eq!(trim(Arc::new(shifted), &[8 << 48 | 200]).0, code::NOP, "the default");
}

#[test]
fn a_list_of_trim_is_looked_at_up_to_64_sectors() {
    let sent = |sectors| {
        let mut machine = Machine::plain();
        machine.controller.set_ranges(0, Arc::new(Trimmed(Range(100, 4000, 32)))).unwrap();
        machine.write(COMMAND, reg::FEATURES, 1);
        machine.command48(code::DATA_SET_MANAGEMENT, 0, sectors);
        machine.drive.commands.iter().map(|command| command.0).collect::<Vec<_>>()
    };
    // It waits for the bus master.
    assert_eq!(sent(64), []);
    assert_eq!(sent(65), [code::NOP]);
}

#[test]
fn a_range_of_one_sector_amid_a_request_is_transformed_alone() {
    let mut machine = Machine::protected(Range(100, 101, 0));
    machine.put(BUFFER, &pattern(3));
    machine.prd(&[(BUFFER, 1536)]);
    machine.command28(code::WRITE_DMA, 99, 3);
    machine.start(false);
    machine.run();
    assert_eq!(machine.bm_status(), bm::INTERRUPT);
    let (data, sector) = (pattern(3), |n: usize| n * 512..n * 512 + 512);
    assert_eq!(machine.sectors(99, 1), data[sector(0)]);
    assert_eq!(machine.sectors(100, 1), xor(0, data[sector(1)].to_vec()));
    assert_eq!(machine.sectors(101, 1), data[sector(2)]);
}
