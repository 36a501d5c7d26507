//! The range map, in parts.

use super::bench::{ABSENT, LARGE, Map, READ_ONLY, SHIFT, SMALL};
use crate::{Part, Plan, Refusal, Sectors};

const DISK: Sectors<'static> = Sectors { ranges: &Map, sector_bytes: 512 };

#[test]
fn plain_sectors_in_one_piece_go_direct_and_all_others_through_the_arena() {
    assert_eq!(DISK.plan(0, 100, true), Ok(Plan::Direct { disk_lba: 0 }));
    assert_eq!(DISK.plan(0, 101, true), Ok(Plan::Bounced));
    assert_eq!(DISK.plan(SMALL.start, 1, false), Ok(Plan::Bounced));
    assert_eq!(DISK.plan(LARGE.end, 4, false), Ok(Plan::Direct { disk_lba: LARGE.end }));
}

#[test]
fn rights_are_kept_in_every_sector() {
    assert_eq!(DISK.plan(READ_ONLY.start - 4, 4, true), Ok(Plan::Direct { disk_lba: READ_ONLY.start - 4 }));
    assert_eq!(DISK.plan(READ_ONLY.start - 4, 5, true), Err(Refusal::ReadOnly { lba: READ_ONLY.start }));
    assert_eq!(DISK.plan(READ_ONLY.start, 8, false), Ok(Plan::Direct { disk_lba: READ_ONLY.start }));
    for write in [false, true] {
        assert_eq!(DISK.plan(ABSENT.end - 1, 2, write), Err(Refusal::Absent { lba: ABSENT.end - 1 }));
    }
}

#[test]
fn a_part_ends_where_the_disk_jumps_or_a_transforms_sector_is_cut() {
    let part = |lba, sectors| DISK.part(lba, sectors).unwrap();
    assert_eq!((part(90, 300).sectors, part(90, 300).plain), (300, false), "plain, transformed, plain: one piece");
    assert_eq!(part(LARGE.start - 5, 100).sectors, 5);
    let whole = part(LARGE.start, 20);
    assert_eq!((whole.sectors, whole.disk_lba, whole.is_edge()), (16, LARGE.start + SHIFT, false));
    let head = Part {
        lba: LARGE.start + 9,
        sectors: 7,
        plain: false,
        disk_lba: LARGE.start + SHIFT + 8,
        disk_sectors: 8,
        skip: 1,
    };
    assert_eq!(part(LARGE.start + 9, 20), head);
    assert_eq!(part(LARGE.start + 16, 3).disk_sectors, 8);
    assert!(DISK.runs(&head).unwrap().iter().all(|run| run.first_sector == 1 && run.len_bytes == 4096));
}

#[test]
fn an_error_is_told_within_the_part() {
    let head = DISK.part(LARGE.start + 9, 7).unwrap();
    assert_eq!(head.guest_lba(LARGE.start + SHIFT + 8), LARGE.start + 9, "before the guest's own sectors");
    assert_eq!(head.guest_lba(LARGE.start + SHIFT + 11), LARGE.start + 11);
    assert_eq!(head.guest_lba(u64::MAX), LARGE.start + 15);
}
