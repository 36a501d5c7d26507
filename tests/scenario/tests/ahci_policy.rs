//! What a protected AHCI disk refuses, and how it says so.
#![forbid(unsafe_code)]

use mediator::disk::{Extent, OwnOp, OwnRequest, RangeMap, Rights, SectorTransform, Treatment};
use scenario::ahci::{AhciRig, By, DATA, PAGES};
use scenario::payload;
use sim::ahci::{Failure, fis, px};
use sim::{SimRanges, SimTransform};
use std::sync::Arc;

const ABORTED: Result<(), Failure> = Err(Failure::Device { tfd: 0x0441 });
/// UNC of a read, WP of a write: the same bit.
const UNREADABLE: Result<(), Failure> = Err(Failure::Device { tfd: 0x4041 });
const FORBIDDEN: Result<(), Failure> = UNREADABLE;
const NOT_FOUND: Result<(), Failure> = Err(Failure::Device { tfd: 0x1041 });

/// Sectors 100 to 199 are read-only, 200 to 299 absent; from 1001 on sectors of 4096 bytes are encrypted; TRIM is allowed.
struct Rules;

struct Large;

impl SectorTransform for Large {
    fn sector_bytes(&self) -> usize {
        4096
    }
    fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        assert_eq!(sectors.len() % 4096, 0);
        SimTransform { key: 9 }.encrypt(first_sector * 8, sectors);
    }
    fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) {
        assert_eq!(sectors.len() % 4096, 0);
        SimTransform { key: 9 }.decrypt(first_sector * 8, sectors);
    }
}

impl RangeMap for Rules {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let of =
            |end: u64, rights, treatment| Extent { disk_lba: lba, sectors: sectors.min(end - lba), treatment, rights };
        match lba {
            0..100 => of(100, Rights::ReadWrite, Treatment::Plain),
            100..200 => of(200, Rights::ReadOnly, Treatment::Plain),
            200..300 => of(300, Rights::None, Treatment::Plain),
            300..1001 => of(1001, Rights::ReadWrite, Treatment::Plain),
            1001..9001 => {
                let treatment = Treatment::Transform { transform: Arc::new(Large), first_sector: (lba - 1001) / 8 };
                of(9001, Rights::ReadWrite, treatment)
            }
            _ => of(u64::MAX, Rights::ReadWrite, Treatment::Plain),
        }
    }
    fn is_protected(&self) -> bool {
        true
    }
    fn largest_sector_bytes(&self) -> usize {
        4096
    }
    fn within_transform_sector(&self, lba: u64) -> Option<u32> {
        (1001..9001).contains(&lba).then(|| ((lba - 1001) % 8) as u32)
    }
    fn allows_trim(&self) -> bool {
        true
    }
}

#[test]
fn read_only_sectors_are_read_and_not_written_and_absent_ones_neither() {
    for by in By::ALL {
        let mut rig = AhciRig::new();
        rig.set_map(Arc::new(Rules));
        let mut run = |lba, count, write| {
            let outcome = rig.guest(0).run(5, by.fis(write, lba, count, 5), write, vec![(DATA, count * 512)]);
            if outcome.is_err() {
                rig.guest(0).recover(false).unwrap();
            }
            outcome
        };
        assert_eq!(run(100, 8, false), Ok(()));
        assert_eq!(run(99, 2, true), FORBIDDEN);
        assert_eq!(run(199, 1, true), FORBIDDEN);
        assert_eq!(run(199, 2, false), UNREADABLE);
        assert_eq!(run(299, 1, true), NOT_FOUND);
        assert_eq!(run(300, 1, true), Ok(()));
        assert_eq!(rig.platter().written, [99, 300]);
    }
}

#[test]
fn a_refused_queued_command_lets_the_others_end_and_is_named_in_the_log() {
    let mut rig = AhciRig::new();
    rig.set_map(Arc::new(Rules));
    rig.machine.ahci.ports[0].delay = 5;
    for (slot, lba) in [(4, 400), (5, 150), (6, 500)] {
        let by = By::Queued;
        let table = sim::ahci::Table { at: rig.guest(0).table_at(slot), regions: vec![(DATA, 4096)] };
        rig.guest(0).prepare(slot, by.fis(true, lba, 8, slot), true, &table);
    }
    rig.guest(0).ring(0x70, true).unwrap();
    let outcome = loop {
        match rig.guest(0).interrupt() {
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    assert_eq!(Err(outcome), FORBIDDEN);
    assert_eq!(rig.guest(0).get(px::SACT), Ok(1 << 5), "only the refused one is not done");
    rig.guest(0).recover(false).unwrap();
    rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    let log = rig.machine.ram.peek(DATA, 512).to_vec();
    assert_eq!((log[0], log[2], log[3], log[4]), (5, 0x41, 0x40, 150));
    assert_eq!(rig.platter().written.len(), 16, "the two others were written");
    assert_eq!(log.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

/// The guest does not ask for the log of a refused command; at the next failure it is that one's.
#[test]
fn the_log_is_that_of_the_last_failure() {
    let mut rig = AhciRig::new();
    rig.set_map(Arc::new(Rules));
    let fails = |rig: &mut AhciRig, lba: u64| {
        rig.guest(0).run(3, By::Queued.fis(false, lba, 8, 3), false, vec![(DATA, 4096)]).unwrap_err();
        rig.guest(0).recover(false).unwrap();
    };
    fails(&mut rig, 250);
    rig.machine.ahci.ports[0].disk.as_mut().unwrap().platter.inject_error(5004, 0x40);
    fails(&mut rig, 5000);
    rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    let log = rig.machine.ram.peek(DATA, 512).to_vec();
    let lba = u64::from(u32::from_le_bytes([log[4], log[5], log[6], log[8]]));
    assert_eq!((log[0] & 0x1f, lba), (3, 5004));
    // And of a refused one again.
    fails(&mut rig, 260);
    rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    let log = rig.machine.ram.peek(DATA, 512).to_vec();
    assert_eq!((log[0], log[4], log[5]), (3, 4, 1));
}

#[test]
fn sectors_of_4096_bytes_are_read_changed_and_written_where_they_are_cut() {
    let mut rig = AhciRig::new();
    rig.set_map(Arc::new(Rules));
    for by in By::ALL {
        for (lba, sectors) in [(1001, 8), (1005, 1), (1003, 40), (1000, 3), (8990, 20)] {
            let data = payload(lba as u32, lba, sectors);
            rig.machine.ram.poke(DATA, &data);
            let len = sectors * 512;
            rig.guest(0).run(5, by.fis(true, lba, sectors, 5), true, vec![(DATA, len)]).unwrap();
            rig.guest(0).run(6, by.fis(false, lba, sectors, 6), false, vec![(DATA + 0x10_0000, len)]).unwrap();
            assert_eq!(rig.machine.ram.peek(DATA + 0x10_0000, len as usize), data, "{by:?} {lba}+{sectors}");
        }
    }
    assert!(rig.machine.faults.is_empty());
    let plain = rig.platter().read(1005).chunks(8).any(|chunk| chunk == b"PLAINTXT");
    assert!(!plain);
    let answer = rig.identify(0).unwrap();
    assert_eq!(u16::from_le_bytes([answer[212], answer[213]]), 0x6003, "physical sectors of 4096 bytes");
}

#[test]
fn trim_goes_in_the_disks_numbers_and_spares_sectors_that_are_cut() {
    let mut rig = AhciRig::new();
    rig.set_map(Arc::new(Rules));
    let list: Vec<u8> = [(400_u64, 10_u64), (1003, 30), (1002, 3), (0, 0)]
        .iter()
        .flat_map(|(lba, count)| (lba | count << 48).to_le_bytes())
        .collect();
    rig.machine.ram.poke(DATA, &[0; 512]);
    rig.machine.ram.poke(DATA, &list);
    let mut command = fis(0x06, 0, 1, 5);
    command[3] = 1;
    rig.guest(0).run(5, command, true, vec![(DATA, 512)]).unwrap();
    assert_eq!(rig.machine.ahci.ports[0].disk.as_ref().unwrap().trimmed, [(400, 10), (1009, 24)]);
    rig.machine.ram.poke(DATA, &(150 | 1_u64 << 48).to_le_bytes());
    assert_eq!(rig.guest(0).run(5, command, true, vec![(DATA, 512)]), ABORTED, "read-only sectors are not trimmed");
    let mut rig = AhciRig::new();
    rig.machine.ram.poke(DATA, &list);
    assert_eq!(rig.guest(0).run(5, command, true, vec![(DATA, 512)]), ABORTED, "SimRanges do not allow it");
}

#[test]
fn identify_keeps_native_command_queuing_and_hides_what_is_refused() {
    let mut rig = AhciRig::new();
    let answer = rig.identify(0).unwrap();
    let word = |n: usize| u16::from_le_bytes([answer[2 * n], answer[2 * n + 1]]);
    assert_eq!(word(75), 0x1f);
    assert_eq!((word(128), word(169), word(206)), (0, 0, 0), "security, TRIM, SCT");
    assert_eq!(answer.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
}

#[test]
fn another_disk_in_the_place_of_the_protected_one_is_not_taken_for_it_and_it_is_known_again_elsewhere() {
    let mut rig = AhciRig::new();
    rig.write(By::Queued, 5000, &payload(1, 5000, 8), PAGES).unwrap();
    let ours = rig.machine.ahci.ports[0].unplug().unwrap();
    rig.machine.ahci.ports[0].plug(ours);
    // Until it tells who it is it moves nothing.
    rig.guest(0).recover(false).unwrap();
    let outcome = rig.guest(0).run(5, fis(0x61, 5000, 8, 5), true, vec![(DATA, 4096)]);
    assert_eq!(outcome, ABORTED);
    rig.guest(0).recover(true).unwrap();
    rig.identify(0).unwrap();
    rig.read(By::Queued, 5000, 8, PAGES).unwrap();
    // Plugged in at another port it is as protected as ever.
    let ours = rig.machine.ahci.ports[0].unplug().unwrap();
    rig.machine.ahci.ports[3].plug(ours);
    rig.guest(3).start().unwrap();
    rig.identify(3).unwrap();
    rig.machine.ram.poke(DATA, &payload(2, 6000, 8));
    rig.guest(3).run(5, fis(0x61, 6000, 8, 5), true, vec![(DATA, 4096)]).unwrap();
    let disk = rig.machine.ahci.ports[3].disk.as_ref().unwrap();
    let sector: [u8; 512] = payload(2, 6000, 1).try_into().unwrap();
    assert_eq!(disk.platter.read(6000), SimRanges::new(scenario::ahci::PROTECTED).on_disk(6000, &sector));
    assert!(rig.machine.faults.is_empty());
}

#[test]
fn the_disks_are_told_and_read_before_the_guest() {
    let mut rig = AhciRig::bare(sim::Platter::new(scenario::ahci::SECTORS), SimRanges::new(1000..5000));
    let disks = rig.machine.disks();
    assert_eq!(
        disks.iter().map(|disk| (disk.channel, disk.unit, disk.sectors)).collect::<Vec<_>>(),
        [(0, 0, scenario::ahci::SECTORS), (1, 0, scenario::ahci::PLAIN)]
    );
    let mut data = vec![0; 300 * 512];
    rig.machine.read_before_guest(1, 77, &mut data).unwrap();
    for (lba, sector) in (77..).zip(data.chunks_exact(512)) {
        assert_eq!(sector, sim::untouched(lba));
    }
    assert!(rig.machine.read_before_guest(1, scenario::ahci::PLAIN - 1, &mut data).is_err());
}

#[test]
fn a_guest_hears_of_a_command_that_waited_for_a_request_that_is_not_its_own() {
    let mut rig = AhciRig::new();
    rig.set_map(Arc::new(Rules));
    rig.machine.ahci.ports[0].delay = 20;
    let lba = 1001 + 8 * 100;
    rig.machine.submit_own(0, OwnRequest { op: OwnOp::Read, lba, data: vec![0; 4096] }).unwrap();
    // Nobody looks after it any more. The guest writes a part of the same sector of the transform.
    rig.machine.drop_own(0);
    rig.prepare(4, By::DmaExt, Some(&scenario::payload(1, lba + 4, 1)), lba + 4, 1, PAGES);
    rig.guest(0).ring(1 << 4, false).unwrap();
    assert_eq!(rig.guest(0).finish(1 << 4), Ok(()));
}
