//! The simulated controller by itself: the guest's drivers without a mediator between.
#![forbid(unsafe_code)]

use mediator::Width;
use sim::guest::{Command, Failure, GuestDriver, Style, scatter};
use sim::ide::{Kind, atapi};
use sim::{Machine, SimIde, untouched};

const DATA: u64 = 0x20_0000;

fn machine() -> Machine {
    Machine::new(SimIde::new([Kind::disk(0x200_0000_0000), Kind::Empty, Kind::cdrom(), Kind::disk(70_000)]))
}

fn rw(command: u8, lba: u64, count: u16, ext: bool) -> Command {
    Command { command, lba, count, ext, ..Command::default() }
}

fn pattern(sectors: usize) -> Vec<u8> {
    (0..sectors * 512).map(|i| (i * 7 + i / 512) as u8).collect()
}

#[test]
fn identify_has_a_correct_checksum_and_the_size() {
    let mut machine = machine();
    let data = GuestDriver::new(&mut machine, 0, 0).identify(0xec).unwrap();
    assert_eq!(data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!(data[510], 0xa5);
    assert_eq!(u64::from_le_bytes(data[200..208].try_into().unwrap()), 0x200_0000_0000);
    assert_eq!(&data[54..62], b"ISUMALET");
}

#[test]
fn pio_of_every_style_gives_back_what_it_wrote() {
    for (width, rep, polled) in [
        (Width::Word, true, false),
        (Width::Word, false, true),
        (Width::Dword, true, true),
        (Width::Dword, false, false),
    ] {
        let style = Style { width, rep, polled };
        let mut machine = machine();
        let mut guest = GuestDriver::new(&mut machine, 0, 0);
        let data = pattern(5);
        guest.pio_out(rw(0x30, 1000, 5, false), 512, style, &data).unwrap();
        let mut back = vec![0; data.len()];
        guest.pio_in(rw(0x24, 1000, 5, true), 512, style, &mut back).unwrap();
        assert_eq!(back, data, "{style:?}");
        assert_eq!(machine.ide.disk(0, 0).platter.read(1005), untouched(1005));
    }
}

#[test]
fn multiple_moves_blocks_and_needs_to_be_set() {
    let mut machine = machine();
    let mut guest = GuestDriver::new(&mut machine, 1, 1);
    let mut back = vec![0; 7 * 512];
    let refused = guest.pio_in(rw(0xc4, 9, 7, false), 2048, Style::default(), &mut back);
    assert!(matches!(refused, Err(Failure::Device { error: 4, .. })));
    guest.non_data(rw(0xc6, 0, 4, false)).unwrap();
    guest.pio_out(rw(0xc5, 9, 7, false), 2048, Style::default(), &pattern(7)).unwrap();
    guest.pio_in(rw(0x29, 9, 7, true), 2048, Style::default(), &mut back).unwrap();
    assert_eq!(back, pattern(7));
}

#[test]
fn dma_follows_odd_tables() {
    let mut machine = machine();
    let pieces = [(DATA + 2, 510), (DATA + 0xfffe, 6), (DATA + 0x3_0000, 4096 - 516)];
    let data = pattern(8);
    let mut at = 0;
    for (address, len) in pieces {
        machine.ram.poke(address, &data[at..at + len as usize]);
        at += len as usize;
    }
    let mut guest = GuestDriver::new(&mut machine, 0, 0);
    guest.dma(rw(0x35, 0x1_0000_0000, 8, true), true, &scatter(&pieces)).unwrap();
    guest.dma(rw(0x25, 0x1_0000_0000, 8, true), false, &scatter(&[(DATA + 0x8_0000, 4096)])).unwrap();
    assert_eq!(machine.ram.peek(DATA + 0x8_0000, 4096), data);
    assert!(machine.faults.is_empty());
}

#[test]
fn a_table_that_is_too_short_never_completes() {
    let mut machine = machine();
    let mut guest = GuestDriver::new(&mut machine, 0, 0);
    assert_eq!(guest.dma(rw(0xc8, 0, 2, false), false, &[(DATA, 1022)]), Err(Failure::Timeout));
    guest.soft_reset().unwrap();
    guest.dma(rw(0xc8, 0, 2, false), false, &[(DATA, 1024)]).unwrap();
}

#[test]
fn chs_and_lba_reach_the_same_sector() {
    let mut machine = machine();
    let mut guest = GuestDriver::new(&mut machine, 0, 0);
    let mut back = vec![0; 512];
    // Cylinder 3, head 5, sector 7 of 16 heads and 63 sectors per track.
    let command = Command { command: 0x20, count: 1, lba: 3 << 8 | 7, chs: Some(5), ..Command::default() };
    guest.pio_in(command, 512, Style::default(), &mut back).unwrap();
    assert_eq!(back, untouched((3 * 16 + 5) * 63 + 6));
}

#[test]
fn an_uncorrectable_sector_is_named() {
    let mut machine = machine();
    machine.ide.disk(0, 0).platter.inject_error(0x01_0203_0405, 0x40);
    let mut guest = GuestDriver::new(&mut machine, 0, 0);
    let failed = guest.dma(rw(0x25, 0x01_0203_0400, 16, true), false, &[(DATA, 8192)]);
    assert!(matches!(failed, Err(Failure::Device { error: 0x40, .. })));
    let low = [3, 4, 5].map(|offset| guest.input(offset).unwrap());
    guest.out(8, 0x80).unwrap();
    let high = [3, 4, 5].map(|offset| guest.input(offset).unwrap());
    assert_eq!((low, high), ([5, 4, 3], [2, 1, 0]));
    assert_eq!(machine.ram.peek(DATA + 4 * 512, 512), untouched(0x01_0203_0404));
}

#[test]
fn unknown_commands_and_those_for_others_abort() {
    let mut machine = machine();
    for command in [0x00, 0x08, 0xa0, 0xff] {
        let failed = GuestDriver::new(&mut machine, 0, 0).non_data(rw(command, 0, 0, false));
        assert!(matches!(failed, Err(Failure::Device { error: 4, .. })), "{command:#x}");
    }
    assert!(matches!(GuestDriver::new(&mut machine, 1, 0).identify(0xec), Err(Failure::Device { .. })));
}

#[test]
fn a_cd_gives_data_by_pio_and_dma() {
    let mut machine = machine();
    let mut guest = GuestDriver::new(&mut machine, 1, 0);
    guest.device_reset().unwrap();
    assert_eq!([4, 5].map(|offset| guest.input(offset).unwrap()), [0x14, 0xeb]);
    let read = [0x28, 0, 0, 0, 0, 42, 0, 0, 2, 0, 0, 0];
    let expected = [atapi::block(42), atapi::block(43)].concat();
    assert_eq!(guest.packet_in(read, 1000).unwrap(), expected);
    guest.packet_dma(read, &[(DATA, 4096)]).unwrap();
    assert_eq!(machine.ram.peek(DATA, 4096), expected);
}

#[test]
fn the_bus_master_needs_leave_from_configuration_space() {
    let mut machine = machine();
    machine.guest_config_write(4, Width::Word, 1);
    let request = GuestDriver::new(&mut machine, 0, 0).dma(rw(0xc8, 0, 1, false), false, &[(DATA, 512)]);
    assert_eq!(request, Err(Failure::Timeout));
    machine.guest_config_write(4, Width::Word, 5);
    GuestDriver::new(&mut machine, 0, 0).dma_end().unwrap();
}

#[test]
fn a_moved_bar4_moves_the_registers() {
    let mut machine = machine();
    let old = machine.bus_master_port(0);
    machine.guest_config_write(0x20, Width::Dword, 0xd001);
    assert_eq!(machine.guest_in(old, Width::Byte), 0xff);
    GuestDriver::new(&mut machine, 0, 0).dma(rw(0xc8, 0, 1, false), false, &[(DATA, 512)]).unwrap();
    assert_eq!(machine.ram.peek(DATA, 512), untouched(0));
}

#[test]
fn a_power_cut_leaves_flushed_sectors_and_some_of_the_others() {
    let mut machine = machine();
    machine.ide.disk(0, 0).platter.cut_after = Some(6);
    let mut guest = GuestDriver::new(&mut machine, 0, 0);
    guest.pio_out(rw(0x30, 0, 2, false), 512, Style::default(), &[1; 1024]).unwrap();
    guest.non_data(rw(0xe7, 0, 0, false)).unwrap();
    guest.pio_out(rw(0x30, 0, 8, false), 512, Style::default(), &[2; 4096]).unwrap_err();
    let after = machine.ide.disk(0, 0).platter.after_power_cut(|index| index % 2 == 0);
    let firsts: Vec<u8> = (0..5).map(|lba| after.read(lba)[0]).collect();
    assert_eq!(firsts, [2, 1, 2, untouched(3)[0], untouched(4)[0]]);
}

#[test]
fn nien_hides_the_interrupt_and_status_clears_it() {
    let mut machine = machine();
    GuestDriver::new(&mut machine, 0, 0).out(8, 2).unwrap();
    GuestDriver::new(&mut machine, 0, 0).issue(rw(0xe7, 0, 0, false)).unwrap();
    machine.tick();
    assert!(!machine.ide.irq(0));
    let mut guest = GuestDriver::new(&mut machine, 0, 0);
    guest.out(8, 0).unwrap();
    assert!(guest.machine.ide.irq(0));
    guest.input(8).unwrap();
    assert!(guest.machine.ide.irq(0));
    guest.acknowledge().unwrap();
    assert!(!guest.machine.ide.irq(0));
}
