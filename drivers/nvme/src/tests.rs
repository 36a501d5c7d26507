//! Units; whole requests are in `tests/scenario`.

use crate::cmd::{Command, Completion, Status};
use crate::identify::{self, Namespace};
use crate::policy::{self, Admin, Nvm};
use crate::prp;
use crate::spec::{IDENTIFY_BYTES, namespace};
use alloc::vec;
use alloc::vec::Vec;
use mediator::{BusAddr, Gpa, GuestMemory, GuestSegment, NotRam, Width};

/// A list of pages at 1000h, and nothing else.
struct List(Vec<u64>);

impl GuestMemory for List {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let at = from.0.checked_sub(0x1000).ok_or(NotRam(from))? as usize;
        data.copy_from_slice(bytes.get(at..at + data.len()).ok_or(NotRam(from))?);
        Ok(())
    }

    fn write(&mut self, to: Gpa, _: &[u8]) -> Result<(), NotRam> {
        Err(NotRam(to))
    }

    fn compare_exchange(&mut self, at: Gpa, _: Width, _: u64, _: u64) -> Result<bool, NotRam> {
        Err(NotRam(at))
    }

    fn bus_addr(&self, of: Gpa, _: u64) -> Result<BusAddr, NotRam> {
        Err(NotRam(of))
    }
}

fn segments(list: Vec<u64>, prps: [u64; 2], len_bytes: u32) -> Result<Vec<(u64, u32)>, Status> {
    let mut copied = Vec::new();
    prp::copy(&mut List(list), prps.map(Gpa), len_bytes, &mut copied)?;
    Ok(copied.iter().map(|GuestSegment { at, len_bytes }| (at.0, *len_bytes)).collect())
}

#[test]
fn pages_in_a_row_are_one_piece() {
    assert_eq!(segments(vec![], [0x8000, 0], 4096), Ok(vec![(0x8000, 4096)]));
    assert_eq!(segments(vec![], [0x8ffc, 0x9000], 512), Ok(vec![(0x8ffc, 512)]));
    assert_eq!(segments(vec![], [0x8800, 0xa000], 4096), Ok(vec![(0x8800, 0x800), (0xa000, 0x800)]));
    assert_eq!(segments(vec![0x9000, 0xa000], [0x8000, 0x1000], 12288), Ok(vec![(0x8000, 12288)]));
}

#[test]
fn a_list_goes_on_where_its_last_entry_leads() {
    // In the last place of its page is the next list, which is one of two pages.
    let mut list = vec![0; 512];
    list[511] = 0x2000;
    list.extend([0x2_0000, 0x3_0000]);
    let expected = Ok(vec![(0x8000, 4096), (0x2_0000, 4096), (0x3_0000, 4096)]);
    assert_eq!(segments(list, [0x8000, 0x1ff8], 12288), expected);
    // The last page of a transfer is a page in that place, too.
    let mut list = vec![0; 512];
    (list[510], list[511]) = (0x2_0000, 0x3_0000);
    assert_eq!(segments(list, [0x8000, 0x1ff0], 12288), expected);
}

#[test]
fn what_makes_no_list_is_refused() {
    assert_eq!(segments(vec![], [0x8002, 0], 512), Err(Status::PRP_OFFSET_INVALID));
    assert_eq!(segments(vec![], [0x8000, 0x9004], 8192), Err(Status::PRP_OFFSET_INVALID));
    assert_eq!(segments(vec![0x9000; 2], [0x8000, 0x1004], 12288), Err(Status::PRP_OFFSET_INVALID));
    assert_eq!(segments(vec![0x9000], [0x8000, 0x1000], 12288), Err(Status::DATA_TRANSFER_ERROR));
    assert_eq!(segments(vec![0x1ff8; 512], [0x8000, 0x1ff8], 12288), Err(Status::INVALID_FIELD));
    assert_eq!(segments(vec![], [0x8000, 0], identify::MAX_TRANSFER_BYTES + 1), Err(Status::INVALID_FIELD));
}

#[test]
fn the_longest_transfer_that_begins_within_a_page_fits_a_list_of_ours() {
    let mut list = [0; prp::LIST_BYTES];
    let piece = |at, len| core::iter::once((BusAddr(at), len));
    let most = identify::MAX_TRANSFER_BYTES;
    assert_eq!(prp::encode(piece(0x8ffc, most), &mut list, BusAddr(0x500)), Ok([0x8ffc, 0x500]));
    assert_eq!(list[prp::LIST_BYTES - 8..], 0x2_8000_u64.to_le_bytes());
    assert!(prp::encode(piece(0x8000, most + 4097), &mut list, BusAddr(0x500)).is_err());
    assert_eq!(prp::encode(piece(0x8000, 8192), &mut list, BusAddr(0x500)), Ok([0x8000, 0x9000]));
    let holes = [(BusAddr(0x8000), 512), (BusAddr(0x9000), 512)];
    assert!(prp::encode(holes.into_iter(), &mut list, BusAddr(0x500)).is_err());
}

#[test]
fn entries_of_queues_are_the_same_after_parsing() {
    let bytes: [u8; 64] = core::array::from_fn(|n| n as u8 ^ 0xa5);
    assert_eq!(Command::parse(&bytes).encode(), bytes);
    let bytes: [u8; 16] = core::array::from_fn(|n| n as u8 ^ 0x5a);
    assert_eq!(Completion::parse(&bytes).encode(), bytes);
    let command = Command::new(2, 1).with_blocks(1 << 40, 65536);
    assert_eq!((command.lba(), command.blocks()), (1 << 40, 65536));
    assert_eq!(Status::READ_ONLY_RANGE.code(), (1, 0x82));
}

#[test]
fn large_sectors_of_the_transform_are_told_as_what_writes_should_be_aligned_to() {
    let mut page = [0; IDENTIFY_BYTES];
    page[namespace::NSZE] = 100;
    page[namespace::LBAF + 2] = 9;
    identify::filter_namespace(&mut page, 512);
    assert_eq!((page[namespace::NSFEAT], page[namespace::NPWG]), (0, 0));
    identify::filter_namespace(&mut page, 4096);
    assert_eq!((page[namespace::NSFEAT], page[namespace::NPWG], page[namespace::NPWA]), (1 << 4, 7, 7));
    assert_eq!(Namespace::parse(&page), Some(Namespace { sectors: 100, sector_bytes: 512, usable: true }));
    page[namespace::LBAF] = 8;
    assert_eq!(Namespace::parse(&page).map(|it| it.usable), Some(false), "metadata");
}

#[test]
fn vendor_commands_and_the_unknown_are_refused_everywhere() {
    for opcode in (0xc0..=0xff).chain([0x03, 0x07, 0x0b, 0x0d, 0x15, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x7c, 0x80, 0x86]) {
        assert_eq!(policy::admin(opcode, false), Admin::Refused, "{opcode:#x}");
    }
    for opcode in (0x80..=0xff).chain([0x03, 0x05, 0x06, 0x07, 0x0d, 0x0e, 0x11, 0x15, 0x19]) {
        assert_eq!(policy::nvm(opcode, false), Nvm::Refused, "{opcode:#x}");
    }
}
