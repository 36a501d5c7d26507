use super::fake::{DISK_SECTORS, Drive};
use super::machine::*;
use crate::identify::{self, Identity, Transport};
use crate::prd::{self, PrdError, TABLE_BYTES};
use crate::spec::reg;
use crate::taskfile::{Form, Geometry, Request, Taskfile};
use ::mediator::{BusAddr, Gpa, GuestSegment};
use alloc::vec;
use alloc::vec::Vec;

const TABLE: u32 = 0x1_0000;

fn ram(at: u32, entries: &[(u32, u32)]) -> Ram {
    let mut ram = Ram(vec![0; RAM_BYTES]);
    for (n, (base, second)) in entries.iter().enumerate() {
        let at = at as usize + n * 8;
        ram.0[at..at + 4].copy_from_slice(&base.to_le_bytes());
        ram.0[at + 4..at + 8].copy_from_slice(&second.to_le_bytes());
    }
    ram
}

fn entries(table: &[u8]) -> Vec<(u32, u32)> {
    let dword = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let mut all = Vec::new();
    for entry in table.chunks(8) {
        all.push((dword(&entry[..4]), dword(&entry[4..])));
        if entry[7] & 0x80 != 0 {
            break;
        }
    }
    all
}

const END: u32 = 1 << 31;

#[test]
fn a_count_of_zero_means_64_kib_and_bit_0_does_not_exist() {
    let mut ram = ram(TABLE, &[(0x2_0001, 0), (0x4_0000, 0x201), (0x5_0000, 1 | END)]);
    let regions = prd::copy(&mut ram, TABLE | 3, u64::MAX).unwrap();
    let segment = |at, len_bytes| GuestSegment { at: Gpa(at), len_bytes };
    let expected = [segment(0x2_0000, 0x1_0000), segment(0x4_0000, 0x200), segment(0x5_0000, 0x1_0000)];
    assert_eq!(regions.segments, expected);
    assert_eq!(regions.len_bytes, 0x2_0200);
    assert!(!regions.longer);
}

#[test]
fn the_copy_ends_with_what_the_request_needs() {
    let two = [(0x2_0000, 0x400), (0x3_0000, 0x400 | END)];
    let mut ram = ram(TABLE, &two);
    let copy = |ram: &mut Ram, wanted| {
        let regions = prd::copy(ram, TABLE, wanted).unwrap();
        (regions.segments.len(), regions.len_bytes, regions.longer)
    };
    assert_eq!(copy(&mut ram, 0x200), (1, 0x200, true));
    assert_eq!(copy(&mut ram, 0x400), (1, 0x400, true));
    assert_eq!(copy(&mut ram, 0x600), (2, 0x600, true));
    assert_eq!(copy(&mut ram, 0x800), (2, 0x800, false));
    assert_eq!(copy(&mut ram, 0xa00), (2, 0x800, false));
}

#[test]
fn a_table_without_end_ends_at_the_64_kib_boundary() {
    let start = 0x2_0000 - 16;
    let mut ram = ram(start, &[(0x4_0000, 2), (0x4_0000, 2), (0x4_0000, 2)]);
    assert_eq!(prd::copy(&mut ram, start, u64::MAX).unwrap().segments.len(), 2);
    assert_eq!(prd::copy(&mut ram, start + 4, u64::MAX).unwrap().segments.len(), 1, "no entry across the boundary");
    assert_eq!(prd::copy(&mut ram, 0x1_fffc, u64::MAX).unwrap().segments.len(), 0);
    let mut table = vec![0; TABLE_BYTES];
    prd::shadow(&mut ram, start, &mut table).unwrap();
    assert_eq!(entries(&table), [(0x4_0000, 2), (0x4_0000, 2 | END)], "ours always ends");
}

#[test]
fn a_full_table_of_8192_entries_fits_and_split_entries_may_not() {
    let mut ram = Ram(vec![0; RAM_BYTES]);
    for entry in ram.0[0x2_0000..0x3_0000].chunks_mut(8) {
        entry.copy_from_slice(&[0, 0, 4, 0, 0, 2, 0, 0]);
    }
    let mut table = vec![0; TABLE_BYTES];
    assert_eq!(prd::shadow(&mut ram, 0x2_0000, &mut table), Ok(()));
    assert_eq!(entries(&table).len(), 8192);
    ram.0[0x2_0001] = 0xff; // now at 4ff00h, across a boundary
    assert_eq!(prd::shadow(&mut ram, 0x2_0000, &mut table), Err(PrdError::TooLong));
}

#[test]
fn a_region_across_a_64_kib_boundary_is_split() {
    let mut ram = ram(TABLE, &[(0x4_ff00, 0x400 | END)]);
    let mut table = vec![0; TABLE_BYTES];
    prd::shadow(&mut ram, TABLE, &mut table).unwrap();
    assert_eq!(entries(&table), [(0x4_ff00, 0x100), (0x5_0000, 0x300 | END)]);
}

#[test]
fn regions_and_tables_outside_guest_memory_are_errors() {
    let mut table = vec![0; TABLE_BYTES];
    let mut in_vmm = ram(TABLE, &[(VMM as u32 - 0x100, 0x200 | END)]);
    assert_eq!(prd::shadow(&mut in_vmm, TABLE, &mut table), Err(PrdError::NotRam));
    assert_eq!(prd::shadow(&mut in_vmm, VMM as u32, &mut table), Err(PrdError::NotRam));
    // What wraps, and what is behind the guest's memory, where devices are.
    for at in [0xffff_fff0, RAM_BYTES as u32 - 0x100, RAM_BYTES as u32] {
        let mut behind = ram(TABLE, &[(at, 0x200 | END)]);
        assert_eq!(prd::shadow(&mut behind, TABLE, &mut table), Err(PrdError::NotRam));
    }
}

#[test]
fn the_last_entry_may_be_the_last_bytes_of_ram() {
    let last = RAM_BYTES as u32 - 8;
    let mut ram = ram(last, &[(0x4_0000, 0x200 | END)]);
    assert_eq!(prd::copy(&mut ram, last, 0x200).unwrap().len_bytes, 0x200);
}

#[test]
fn a_bounce_buffer_is_described_in_64_kib_entries() {
    let mut table = vec![0; TABLE_BYTES];
    prd::contiguous(BusAddr(0x10_0000), 0x1_0200, &mut table).unwrap();
    assert_eq!(entries(&table), [(0x10_0000, 0), (0x11_0000, 0x200 | END)]);
}

#[test]
fn identity_is_read_as_the_standard_lays_it_out() {
    let identity = Identity::parse(&Drive::new().identify);
    assert_eq!((identity.model.as_str(), identity.serial.as_str()), ("FAKE DISK", "S123"));
    assert_eq!((identity.sectors, identity.sector_bytes), (DISK_SECTORS, 512));
    assert!(identity.lba && identity.lba48);
    assert_eq!(identity.geometry, Geometry { heads: 16, sectors: 63 });
    assert_eq!(identity.multiple, 4);
}

#[test]
fn the_edited_answer_hides_what_is_refused_and_has_a_good_checksum() {
    let word = |data: &[u8; 512], n: usize| u16::from_le_bytes([data[n * 2], data[n * 2 + 1]]);
    let sum = |data: &[u8; 512]| data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let raw = Drive::new().identify;
    assert_eq!(sum(&raw), 0);
    let (mut plain, mut protected) = (raw, raw);
    identify::edit(&mut plain, Transport::Parallel, None);
    identify::edit(&mut protected, Transport::Parallel, Some(&Range(1, 2, 0)));
    assert_eq!((sum(&plain), sum(&protected)), (0, 0));
    assert_eq!(word(&plain, 82), !0x0180);
    assert_eq!(word(&plain, 83), 0x7ffd, "only the queued commands");
    assert_eq!(word(&plain, 128), 0x21);
    assert_eq!(word(&protected, 82) & (1 << 1 | 1 << 10), 0, "security, host protected area");
    assert_eq!(word(&protected, 83) & (1 | 1 << 8 | 1 << 11), 0, "microcode, SET MAX, overlay");
    assert_eq!(word(&protected, 83) & (1 << 10 | 1 << 13), 1 << 10 | 1 << 13, "LBA48 and FLUSH EXT stay");
    assert_eq!([128, 169, 206, 48].map(|n| word(&protected, n)), [0; 4]);
    let mut unsigned = raw;
    unsigned[510] = 0;
    unsigned[511] = 7;
    identify::edit(&mut unsigned, Transport::Parallel, None);
    assert_eq!(unsigned[511], 7, "word 255 is no checksum without its signature");
}

#[test]
fn requests_go_into_the_task_file_and_come_out_again() {
    let geometry = Geometry { heads: 16, sectors: 63 };
    for (request, ext) in [
        (Request { form: Form::Lba48, lba: 0xfedc_ba98_7654, sectors: 0x1_0000 }, true),
        (Request { form: Form::Lba48, lba: 0x1234_5678, sectors: 0x201 }, true),
        (Request { form: Form::Lba28, lba: 0xfff_ffff, sectors: 0x100 }, false),
        (Request { form: Form::Chs, lba: 5000, sectors: 7 }, false),
    ] {
        let mut taskfile = Taskfile::after_reset(0x10);
        taskfile.set_request(request, geometry);
        assert_eq!(taskfile.request(ext, geometry), Some(request));
        assert_eq!(taskfile.unit(), 1);
    }
}

#[test]
fn registers_are_two_deep() {
    let mut taskfile = Taskfile::after_reset(0);
    for value in [1, 2, 3] {
        taskfile.write(reg::LBA_LOW, value);
    }
    assert_eq!((taskfile.read(reg::LBA_LOW, false), taskfile.read(reg::LBA_LOW, true)), (3, 2));
}
