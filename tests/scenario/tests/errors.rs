//! Errors of the medium, wherever they strike.
#![forbid(unsafe_code)]

use scenario::{DATA, PROTECTED, Rig, SECTORS, Way, payload};
use sim::guest::Failure;
use sim::{Platter, SimRanges};

const UNC: u8 = 0x40;

#[test]
fn an_uncorrectable_sector_fails_the_read_and_is_named() {
    for way in Way::ALL {
        for bad in [0, 1, 4, 9, 19] {
            let mut rig = Rig::new();
            rig.machine.ide.disk(0, 0).platter.inject_error(995 + bad, UNC);
            let outcome = rig.read(way, 995, 20);
            assert!(matches!(outcome, Err(Failure::Device { error: UNC, .. })), "{way:?} {bad}: {outcome:?}");
            let mut guest = rig.disk();
            let lba = (3..6).rev().fold(0, |lba, offset| lba << 8 | u64::from(guest.input(offset).unwrap()));
            assert_eq!(lba, 995 + bad, "{way:?}");
            rig.machine.ide.disk(0, 0).platter.heal();
            rig.read(way, 995, 20).unwrap();
        }
    }
}

#[test]
fn a_bad_sector_behind_a_hidden_header_has_the_guests_number() {
    for way in Way::ALL {
        for bad in [0, 4, 19] {
            let ranges = SimRanges { shift: 32_768, ..SimRanges::new(2000..4000) };
            let mut rig = Rig::with(Platter::new(SECTORS), ranges);
            rig.machine.ide.disk(0, 0).platter.inject_error(2100 + 32_768 + bad, UNC);
            let outcome = rig.read(way, 2100, 20);
            assert!(matches!(outcome, Err(Failure::Device { error: UNC, .. })), "{way:?} {bad}: {outcome:?}");
            let mut guest = rig.disk();
            let lba = (3..6).rev().fold(0, |lba, offset| lba << 8 | u64::from(guest.input(offset).unwrap()));
            assert_eq!(lba, 2100 + bad, "{way:?}");
        }
    }
}

#[test]
fn the_sectors_before_a_bad_one_reach_the_guest() {
    for bad in [1, 6, 19, 3000] {
        let mut rig = Rig::new();
        rig.machine.ide.disk(0, 0).platter.inject_error(995 + bad, UNC);
        rig.read(Way::LINUX, 995, 4096).unwrap_err();
        for lba in 995..995 + bad {
            let expected = rig.expected(lba);
            assert!(rig.machine.ram.peek(DATA + (lba - 995) * 512, 512) == expected, "sector {lba} before {bad}");
        }
    }
}

#[test]
fn an_error_in_each_part_of_a_big_request_ends_it() {
    for bad in (0..8192).step_by(509) {
        let mut rig = Rig::new();
        rig.machine.ide.disk(0, 0).platter.inject_error(PROTECTED.start + bad, UNC);
        let outcome = rig.read(Way::LINUX, PROTECTED.start, 8192);
        assert!(matches!(outcome, Err(Failure::Device { error: UNC, .. })), "{bad}: {outcome:?}");
        let lba = (3..6).rev().fold(0, |lba, offset| lba << 8 | u64::from(rig.disk().input(offset).unwrap()));
        assert_eq!(lba, PROTECTED.start + bad);
        let outcome = rig.write(Way::LINUX, PROTECTED.start, &payload(1, PROTECTED.start, 8192));
        assert!(matches!(outcome, Err(Failure::Device { error: UNC, .. })), "{bad}: {outcome:?}");
        rig.machine.ide.disk(0, 0).platter.heal();
        rig.read(Way::ODD, PROTECTED.start, 100).unwrap();
    }
}

#[test]
fn a_request_past_the_end_of_the_disk_is_refused_and_nothing_moves() {
    for way in Way::ALL.into_iter().filter(Way::is_ext) {
        let mut rig = Rig::new();
        for (lba, sectors) in [(SECTORS - 1, 2), (SECTORS, 1), (0xffff_ffff_ffff, 1), (0xffff_ffff_0000, 8)] {
            let outcome = rig.read(way, lba, sectors);
            assert!(matches!(outcome, Err(Failure::Device { .. })), "{way:?} {lba:#x}: {outcome:?}");
        }
        rig.read(way, SECTORS - 2, 2).unwrap();
    }
}
