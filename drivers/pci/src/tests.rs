use crate::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mediator::Width;
use mediator::pci::Bdf;

const IDE: Bdf = Bdf { bus: 0, device: 1, function: 1 };

#[test]
fn the_address_port_names_bus_device_function_and_dword() {
    let there = Address::decode(0x8000_0920, 0xcfc, Width::Dword);
    assert_eq!(there, Some(Address { bdf: IDE, offset: 0x20, width: Width::Dword }));
    let last = Address::decode(0x80ff_ffff, 0xcff, Width::Byte).unwrap();
    assert_eq!(last.bdf, Bdf { bus: 255, device: 31, function: 7 });
    assert_eq!(last.offset, 0xff);
}

#[test]
fn the_data_port_adds_the_byte_lane() {
    let lane = |port, width| Address::decode(0x8000_0904, port, width).map(|a| a.offset);
    assert_eq!(lane(0xcfd, Width::Byte), Some(5));
    assert_eq!(lane(0xcfe, Width::Word), Some(6));
}

#[test]
fn what_is_no_configuration_access_decodes_to_nothing() {
    assert_eq!(Address::decode(0x0000_0920, 0xcfc, Width::Dword), None, "enable bit clear");
    assert_eq!(Address::decode(0x8000_0920, 0xcf8, Width::Dword), None, "the address port");
    assert_eq!(Address::decode(0x8000_0920, 0xd00, Width::Byte), None, "past the data ports");
    assert_eq!(Address::decode(0x8000_0920, 0xcfe, Width::Dword), None, "past the dword");
    assert_eq!(Address::decode(0x8000_0920, 0xcfd, Width::Word), None, "not aligned");
    assert_eq!(Address::decode(0x8000_0920, 0xcfc, Width::Qword), None, "too wide");
}

#[test]
fn encode_is_the_inverse_of_decode() {
    for (offset, width) in [(0, Width::Dword), (0x42, Width::Word), (0xff, Width::Byte)] {
        let address = Address { bdf: Bdf { bus: 3, device: 31, function: 7 }, offset, width };
        let (value, port) = address.encode().unwrap();
        assert_eq!(Address::decode(value, port, width), Some(address));
    }
    assert_eq!(Address { bdf: IDE, offset: 0x100, width: Width::Byte }.encode(), None);
}

#[test]
fn partial_writes_change_their_bytes_only() {
    assert_eq!(merge(0x1122_3344, 0x20, Width::Byte, 0xff), 0x1122_33ff);
    assert_eq!(merge(0x1122_3344, 0x21, Width::Byte, 0xaa), 0x1122_aa44);
    assert_eq!(merge(0x1122_3344, 0x22, Width::Word, 0xbeef), 0xbeef_3344);
    assert_eq!(merge(0x1122_3344, 0x20, Width::Dword, 0xffff_ffff), 0xffff_ffff);
    assert_eq!(merge(0x1122_3344, 0x23, Width::Word, 0xaabb), 0xbb22_3344, "the rest is dropped");
}

#[test]
fn an_io_bar_gives_its_first_port() {
    assert!(is_io(0xc041) && !is_io(0xfe00_0000));
    assert_eq!(io_base(0xc041, 16), Some(0xc040));
    assert_eq!(io_base(0xffff_ffff, 16), Some(0xfff0), "while it is sized");
    assert_eq!(io_base(0xffff_ffff, 4), Some(0xfffc));
    assert_eq!(io_base(1, 16), None, "unassigned");
}

#[derive(Default)]
pub(crate) struct Machine {
    dwords: BTreeMap<(Bdf, u16), u32>,
    asked: Vec<Bdf>,
}

impl ConfigSpace for Machine {
    fn read(&mut self, bdf: Bdf, offset: u16, width: Width) -> u32 {
        self.asked.push(bdf);
        let dword = self.dwords.get(&(bdf, offset & !3)).copied().unwrap_or(u32::MAX);
        (dword >> ((offset & 3) * 8)) & width.ones() as u32
    }

    fn write(&mut self, bdf: Bdf, offset: u16, _: Width, value: u32) {
        self.dwords.insert((bdf, offset), value);
    }
}

#[test]
fn the_scan_finds_functions_and_asks_for_others_only_where_there_may_be_some() {
    let mut machine = Machine::default();
    let at = |bus, device, function| Bdf { bus, device, function };
    for (bdf, id, class, header) in [
        (at(0, 0, 0), 0x1237_8086, 0x0600_0002, 0),
        (at(0, 1, 0), 0x7000_8086, 0x0601_0000, 0x0080_0000),
        (at(0, 1, 1), 0x7010_8086, 0x0101_8000, 0),
        (at(255, 31, 0), 0x1111_1234, 0x0300_0000, 0),
    ] {
        machine.write(bdf, 0, Width::Dword, id);
        machine.write(bdf, 8, Width::Dword, class);
        machine.write(bdf, 0xc, Width::Dword, header);
    }
    let found = scan(&mut machine);
    assert_eq!(found.iter().map(|f| f.bdf).collect::<Vec<_>>(), [at(0, 0, 0), at(0, 1, 0), IDE, at(255, 31, 0)]);
    let ide = found[2];
    assert_eq!((ide.vendor, ide.device, ide.class, ide.subclass, ide.prog_if), (0x8086, 0x7010, 1, 1, 0x80));
    assert!(!machine.asked.contains(&at(0, 0, 1)), "function 0 has no multi-function bit");
    assert!(machine.asked.contains(&at(0, 1, 7)));
}
