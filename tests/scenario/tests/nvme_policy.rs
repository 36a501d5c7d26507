//! NVMe: what is refused on a protected controller, with which status, and that it is not told as possible.
#![forbid(unsafe_code)]

use mediator::Width;
use mediator::disk::{Extent, RangeMap, Rights, Treatment};
use scenario::nvme::{DATA, LISTS, Layout, NvmeRig, PROTECTED, SECTORS};
use scenario::payload;
use sim::nvme::{Entry, Failure, NvmeGuest, NvmeMachine, SimNamespace, SimNvme, read, status, write};
use sim::{Platter, SimRanges};
use std::sync::Arc;

const OPCODE: Result<u32, Failure> = Err(Failure::Status(status::INVALID_OPCODE));
const FIELD: Result<u32, Failure> = Err(Failure::Status(status::INVALID_FIELD));

/// A rig whose controller has nothing to protect.
fn plain() -> NvmeRig {
    let mut rig = NvmeRig::bare(Platter::new(SECTORS), SimRanges::new(0..0));
    rig.start(false).unwrap();
    rig
}

fn reached(rig: &NvmeRig, queue: u16, opcode: u8) -> bool {
    rig.machine.nvme.received.iter().any(|(q, o, _)| (*q == 0) == (queue == 0) && *o == opcode)
}

#[test]
fn no_admin_command_beyond_the_table_reaches_the_device() {
    let known = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x14];
    for opcode in (0..=255).filter(|opcode| !known.contains(opcode)) {
        let mut rig = NvmeRig::new();
        let answer = rig.guest.admin(&mut rig.machine, Entry::new(opcode, 1).prps(DATA, 0).dword(10, 1).dword(11, 512));
        assert_eq!(answer, OPCODE, "{opcode:#x}");
        assert!(!reached(&rig, 0, opcode), "{opcode:#x}");
    }
}

#[test]
fn no_io_command_beyond_the_table_reaches_a_protected_namespace() {
    for opcode in (0..=255).filter(|opcode| ![0, 1, 2].contains(opcode)) {
        let mut rig = NvmeRig::new();
        let answer = rig.guest.io(&mut rig.machine, 1, Entry::new(opcode, 1).prps(DATA, 0).with_qword(10, 5000));
        assert_eq!(answer, OPCODE, "{opcode:#x}");
        assert!(!reached(&rig, 1, opcode), "{opcode:#x}");
        rig.check();
    }
}

#[test]
fn a_plain_controller_keeps_firmware_security_and_sanitize() {
    for opcode in [0x10, 0x11, 0x81, 0x82, 0x84] {
        let mut rig = plain();
        let answer = rig.guest.admin(&mut rig.machine, Entry::new(opcode, 0).prps(DATA, 0).dword(10, 1).dword(11, 512));
        assert_eq!(answer, Ok(0), "{opcode:#x}");
        assert!(reached(&rig, 0, opcode), "{opcode:#x}");
        rig.check();
    }
    for opcode in [0x80, 0x0d, 0x7c, 0x1c, 0xc0] {
        let mut rig = plain();
        assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(opcode, 1).prps(DATA, 0)), OPCODE, "{opcode:#x}");
        assert!(!reached(&rig, 0, opcode), "{opcode:#x}");
    }
    let mut rig = plain();
    rig.model.may_hold_anything(5000, 8);
    rig.guest.io(&mut rig.machine, 1, Entry::new(8, 1).with_qword(10, 5000).dword(12, 7)).unwrap();
    assert_eq!(rig.machine.nvme.platter(1).read(5007), [0; 512]);
    rig.check();
}

fn identify(rig: &mut NvmeRig, what: u32, nsid: u32) -> Vec<u8> {
    rig.guest.admin(&mut rig.machine, Entry::new(6, nsid).prps(DATA, 0).dword(10, what)).unwrap();
    rig.check();
    rig.machine.ram.peek(DATA, 4096).to_vec()
}

fn word(page: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([page[at], page[at + 1]])
}

/// A write goes to the disk in parts, and a power cut may fall between them.
#[test]
fn atomic_writes_are_promised_by_plain_disks_only() {
    let atomic = |rig: &mut NvmeRig| {
        let page = identify(rig, 1, 0);
        [&page[526..530], &page[532..534]].concat()
    };
    let of_namespace = |nsid| {
        let page = identify(&mut NvmeRig::new(), 0, nsid);
        (page[24] & 1 << 1, page[34..46].to_vec())
    };
    assert_eq!(atomic(&mut NvmeRig::new()), [0; 6]);
    assert_eq!(of_namespace(1), (0, vec![0; 12]));
    assert_eq!(atomic(&mut plain()), [127, 0, 127, 0, 1, 0]);
    assert_eq!(of_namespace(2), (1 << 1, vec![0x1f; 12]));
}

#[test]
fn what_is_refused_is_not_told_as_possible() {
    let page = identify(&mut NvmeRig::new(), 1, 0);
    assert_eq!(page[77], 5, "128 KiB");
    assert_eq!((word(&page, 256), word(&page, 520), word(&page, 522)), (1 << 4, 1 << 4 | 1 << 6, 0));
    assert_eq!((page[261], page[512], page[513], page[531]), (1 << 0 | 1 << 2, 0x66, 0x44, 0));
    for hidden in [272..280, 312..316, 328..332, 536..540] {
        assert!(page[hidden.clone()].iter().all(|byte| *byte == 0), "{hidden:?}");
    }
    assert!(page[24..].starts_with(b"Simulated NVMe "));
    let page = identify(&mut NvmeRig::new(), 0, 1);
    assert_eq!((page[31], page[33]), (0, 0));
    assert_eq!(identify(&mut NvmeRig::new(), 0, 2)[33], 9, "the plain namespace tells what it likes");
    let page = identify(&mut plain(), 1, 0);
    assert_eq!((word(&page, 256), word(&page, 520)), (1 << 0 | 1 << 2 | 1 << 4, 0xde));
    assert_eq!(word(&page, 536), 0, "no SGLs on any controller");
    for what in [0x04, 0x05, 0x06, 0x14, 0x1c, 0xff] {
        let mut rig = NvmeRig::new();
        assert_eq!(rig.guest.admin(&mut rig.machine, Entry::new(6, 1).prps(DATA, 0).dword(10, what)), FIELD);
    }
}

#[test]
fn the_registers_offer_nothing_that_is_not_served() {
    let mut rig = NvmeRig::new();
    let cap = rig.machine.read_wide(0, Width::Qword);
    assert_eq!(cap, 0x07ff | 1 << 16 | 0x0f << 24 | 1 << 37);
    assert_eq!(u64::from(rig.machine.read(4)), cap >> 32);
    assert_eq!(rig.machine.read_wide(3, Width::Byte), 0x0f);
    for offset in [0x20, 0x38, 0x3c, 0x40, 0x50, 0xe00, 0xe04, 0x1000, 0x1ffc] {
        assert_eq!(rig.machine.read(offset), 0, "{offset:#x}");
    }
    // The guest sees its own admin queues, never the shadows.
    assert_eq!(
        (rig.machine.read(0x24), rig.machine.read(0x28), rig.machine.read(0x30)),
        (0x1f_001f, 0x10_0000, 0x10_8000)
    );
}

#[test]
fn sgls_and_fused_commands_are_refused() {
    for bits in [1 << 14, 2 << 14, 3 << 14, 1 << 8, 2 << 8] {
        for opcode in [0, 1, 2] {
            let mut rig = NvmeRig::new();
            let entry = Entry::new(opcode, 1).prps(DATA, 0).with_qword(10, 5000);
            let before = rig.machine.nvme.received.len();
            assert_eq!(rig.guest.io(&mut rig.machine, 1, entry.dword(0, entry.0[0] | bits)), FIELD);
            let identify = Entry::new(6, 0).prps(DATA, 0).dword(10, 1);
            assert_eq!(rig.guest.admin(&mut rig.machine, identify.dword(0, identify.0[0] | bits)), FIELD);
            // What the device got since are nudges, for the interrupts of the answers.
            let got = &rig.machine.nvme.received[before..];
            assert!(got.iter().all(|got| *got == (0, 10, 0) || *got == (1, 2, 1)), "{got:?}");
        }
    }
}

#[test]
fn logs_and_features_that_tell_or_change_too_much_are_refused() {
    let mut rig = NvmeRig::new();
    for log in [0x05, 0x07, 0x08, 0x0d, 0x80, 0xc0] {
        let answer = rig.guest.admin(&mut rig.machine, Entry::new(2, 0).prps(DATA, 0).dword(10, log | 127 << 16));
        assert_eq!(answer, Err(Failure::Status(status::INVALID_LOG)), "{log:#x}");
    }
    rig.guest.admin(&mut rig.machine, Entry::new(2, 0).prps(DATA, 0).dword(10, 2 | 127 << 16)).unwrap();
    assert_eq!(rig.machine.ram.peek(DATA, 512), [2; 512]);
    for feature in [0x03, 0x0d, 0x13, 0x16, 0x17, 0x19, 0x81, 0x83, 0x84, 0xc0] {
        for opcode in [9, 10] {
            let answer = rig.guest.admin(&mut rig.machine, Entry::new(opcode, 0).prps(DATA, 0).dword(10, feature));
            assert_eq!(answer, FIELD, "{opcode} {feature:#x}");
        }
    }
    rig.check();
}

#[test]
fn a_namespace_with_metadata_takes_no_ranges_and_no_transfers() {
    let mut namespace = SimNamespace::new(Platter::new(1000), 512);
    namespace.metadata_bytes = 8;
    let mut machine = NvmeMachine::new(SimNvme::new([namespace]));
    machine.attach(&nvme::DRIVER).unwrap();
    assert!(machine.set_ranges(0, Arc::new(SimRanges::new(10..20))).is_err());
    let mut guest = NvmeGuest::default();
    guest.enable(&mut machine, 16, false).unwrap();
    guest.create(&mut machine, sim::nvme::Queue::new(1, 16, false)).unwrap();
    assert_eq!(guest.io(&mut machine, 1, read(1, 0, 1).prps(DATA, 0)), FIELD);
}

/// Sectors by number: to be read only, and to no avail.
struct Rules;

impl RangeMap for Rules {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let (end, rights) = match lba {
            0..100 => (100, Rights::ReadWrite),
            100..200 => (200, Rights::ReadOnly),
            200..300 => (300, Rights::None),
            _ => (u64::MAX, Rights::ReadWrite),
        };
        Extent { disk_lba: lba, sectors: sectors.min(end - lba), treatment: Treatment::Plain, rights }
    }

    fn is_protected(&self) -> bool {
        true
    }

    fn allows_trim(&self) -> bool {
        true
    }
}

#[test]
fn read_only_sectors_answer_with_the_write_protect_error_of_nvme() {
    let mut rig = NvmeRig::new();
    rig.machine.set_ranges(0, Arc::new(Rules)).unwrap();
    let io = |rig: &mut NvmeRig, entry: Entry| rig.guest.io(&mut rig.machine, 1, entry.prps(DATA, 0));
    let before = rig.machine.nvme.platter(1).written.len();
    for (lba, blocks) in [(100, 1), (96, 8), (199, 1)] {
        assert_eq!(io(&mut rig, write(1, lba, blocks)), Err(Failure::Status(status::READ_ONLY)), "{lba}");
        assert_eq!(io(&mut rig, read(1, lba, blocks)), Ok(0), "{lba}");
    }
    assert_eq!(io(&mut rig, write(1, 250, 1)), Err(Failure::Status(status::WRITE_FAULT)));
    assert_eq!(io(&mut rig, read(1, 299, 2)), Err(Failure::Status(status::UNRECOVERED_READ)));
    assert_eq!(rig.machine.nvme.platter(1).written.len(), before);
    assert_eq!(io(&mut rig, write(1, 300, 1)), Ok(0));
    // Nor may such sectors be told unused.
    let range = |lba: u64| [[0; 4].to_vec(), 4_u32.to_le_bytes().to_vec(), lba.to_le_bytes().to_vec()].concat();
    let unused = |rig: &mut NvmeRig, lba| {
        rig.machine.ram.poke(DATA, &range(lba));
        io(rig, Entry::new(9, 1).dword(11, 4))
    };
    assert_eq!(unused(&mut rig, 150), Err(Failure::Status(status::READ_ONLY)));
    assert_eq!(unused(&mut rig, 99), Err(Failure::Status(status::READ_ONLY)));
    assert_eq!(unused(&mut rig, SECTORS - 2), Err(Failure::Status(status::LBA_OUT_OF_RANGE)));
    assert_eq!(unused(&mut rig, 50), Ok(0));
    assert_eq!(rig.machine.nvme.namespaces[&1].unused, vec![50..54; 1]);
}

/// Protected, with TRIM.
struct Trim(SimRanges);

impl RangeMap for Trim {
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
fn unused_sectors_are_told_where_they_lie_on_the_disk() {
    let mut rig = NvmeRig::new();
    let ranges = SimRanges { shift: 64, ..SimRanges::new(PROTECTED) };
    rig.machine.set_ranges(0, Arc::new(Trim(ranges))).unwrap();
    assert_eq!(word(&identify(&mut rig, 1, 0), 520), 1 << 2 | 1 << 4 | 1 << 6);
    let list: Vec<u8> = [(990_u64, 20_u32), (5000, 8)]
        .iter()
        .flat_map(|(lba, count)| [[0; 4].to_vec(), count.to_le_bytes().to_vec(), lba.to_le_bytes().to_vec()].concat())
        .collect();
    rig.machine.ram.poke(DATA, &list);
    // Three pieces make a list of two ranges: the last is left out, it is a hint.
    rig.guest.io(&mut rig.machine, 1, Entry::new(9, 1).prps(DATA, 0).dword(10, 1).dword(11, 4)).unwrap();
    assert_eq!(rig.machine.nvme.namespaces[&1].unused, [990..1000, 1064..1074]);
}

#[test]
fn without_a_rule_for_it_nothing_is_told_unused() {
    let mut rig = NvmeRig::new();
    assert_eq!(rig.guest.io(&mut rig.machine, 1, Entry::new(9, 1).prps(DATA, 0).dword(11, 4)), OPCODE);
    assert!(!reached(&rig, 1, 9));
    // The plain namespace beside it does as it likes.
    rig.machine.ram.poke(DATA, &[[0; 4], 8_u32.to_le_bytes(), [7, 0, 0, 0], [0; 4]].concat());
    rig.guest.io(&mut rig.machine, 1, Entry::new(9, 2).prps(DATA, 0).dword(11, 4)).unwrap();
    assert_eq!(rig.machine.nvme.namespaces[&2].unused, vec![7..15; 1]);
}

#[test]
fn a_disk_of_4096_byte_sectors_is_encrypted_in_eighths() {
    let mut namespace = SimNamespace::new(Platter::new(80_000), 4096);
    namespace.bounced = 100..200;
    let mut machine = NvmeMachine::new(SimNvme::new([namespace]));
    machine.attach(&nvme::DRIVER).unwrap();
    assert_eq!((machine.disks()[0].sectors, machine.disks()[0].sector_bytes), (10_000, 4096));
    machine.set_ranges(0, Arc::new(Eighths(SimRanges::new(800..1600)))).unwrap();
    let mut guest = NvmeGuest::default();
    guest.enable(&mut machine, 16, false).unwrap();
    guest.create(&mut machine, sim::nvme::Queue::new(1, 16, false)).unwrap();
    let data = payload(1, 792, 24);
    machine.ram.poke(DATA, &data);
    let (first, second) = Layout::LINUX.prps(&mut machine, DATA, LISTS, data.len() as u64);
    guest.io(&mut machine, 1, write(1, 99, 3).prps(first, second)).unwrap();
    for (sector, plain) in (792..).zip(data.as_chunks::<512>().0) {
        assert_eq!(machine.nvme.platter(1).read(sector), SimRanges::new(800..1600).on_disk(sector, plain), "{sector}");
    }
    machine.ram.poke(DATA, &[0; 12288]);
    guest.io(&mut machine, 1, read(1, 99, 3).prps(first, second)).unwrap();
    assert_eq!(machine.ram.peek(DATA, 12288), data);
    assert!(machine.faults.is_empty(), "{:?}", machine.faults);
}

/// The map of a disk whose sectors are eight of the transform's.
struct Eighths(SimRanges);

impl RangeMap for Eighths {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let inner = self.0.extent(lba * 8, sectors * 8);
        Extent { disk_lba: inner.disk_lba / 8, sectors: inner.sectors / 8, ..inner }
    }

    fn is_protected(&self) -> bool {
        true
    }
}
