//! Sectors that exist for the guest and are not its to move: it sees bad sectors of a disk, not a disk that knows no commands.
#![forbid(unsafe_code)]

use mediator::disk::{Extent, RangeMap, Rights, Treatment};
use scenario::ahci::{AhciRig, By};
use scenario::{DATA, Rig, Way, command, payload, pieces};
use sim::SimTransform;
use sim::ahci::{Failure as AhciFailure, Table, fis, px};
use sim::guest::Failure;
use std::ops::Range;
use std::sync::Arc;

const UNC: u8 = 0x40;
const IDNF: u8 = 0x10;
const WP: u8 = 0x40;

/// Sectors 100 to 199 are read-only, 200 to 299 absent; those up to 5000 are encrypted and lie 7 further on the disk, behind them
/// there is nothing: the tail of a partition as long as a hidden header.
struct Tail;

const END: u64 = 5000;

impl RangeMap for Tail {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let of = |range: Range<u64>, rights| Extent {
            disk_lba: lba,
            sectors: sectors.min(range.end - lba),
            treatment: Treatment::Plain,
            rights,
        };
        match lba {
            0..100 => of(0..100, Rights::ReadWrite),
            100..200 => of(100..200, Rights::ReadOnly),
            200..300 => of(200..300, Rights::None),
            300..END => {
                let transform = Arc::new(SimTransform { key: 5 });
                let treatment = Treatment::Transform { transform, first_sector: lba - 300 };
                Extent { disk_lba: lba + 7, treatment, ..of(300..END, Rights::ReadWrite) }
            }
            _ => of(END..u64::MAX, Rights::None),
        }
    }

    fn is_protected(&self) -> bool {
        true
    }
}

/// Requests: whether to the disk, first sector, how many; the error that it ends with, and the first sector that is not moved.
const REQUESTS: [(bool, u64, u64, u8, u64); 9] = [
    (false, END, 1, UNC, END),
    (false, END - 3, 20, UNC, END),
    (false, END + 100, 20, UNC, END + 100),
    (false, 195, 20, UNC, 200),
    (true, END, 8, IDNF, END),
    (true, END - 3, 20, IDNF, END),
    (true, 299, 1, IDNF, 299),
    (true, 150, 8, WP, 150),
    (true, 95, 20, WP, 100),
];

fn ide() -> Rig {
    let mut rig = Rig::new();
    rig.machine.ide.disk(0, 0).bounced = 0..0;
    rig.machine.set_ranges(0, Arc::new(Tail)).expect("the disk takes its ranges");
    rig
}

fn ahci() -> AhciRig {
    let mut rig = AhciRig::new();
    rig.set_map(Arc::new(Tail));
    rig
}

/// The address in the registers.
fn named(rig: &mut Rig) -> u64 {
    (3..6).rev().fold(0, |lba, offset| lba << 8 | u64::from(rig.disk().input(offset).unwrap()))
}

fn ide_move(rig: &mut Rig, way: Way, write: bool, lba: u64, data: &mut [u8]) -> Result<(), Failure> {
    let request = command(way, write, lba, data.len() as u64 / 512);
    if let Way::Multiple { per_block, .. } = way {
        let set = sim::guest::Command { command: 0xc6, count: per_block.into(), ..Default::default() };
        rig.disk().non_data(set).unwrap();
    }
    let block = |per_block: u8| usize::from(per_block) * 512;
    match (way, write) {
        (Way::Pio { style, .. }, false) => rig.disk().pio_in(request, 512, style, data),
        (Way::Pio { style, .. }, true) => rig.disk().pio_out(request, 512, style, data),
        (Way::Multiple { style, per_block, .. }, false) => rig.disk().pio_in(request, block(per_block), style, data),
        (Way::Multiple { style, per_block, .. }, true) => rig.disk().pio_out(request, block(per_block), style, data),
        (Way::Dma { sizes, .. }, _) => {
            let entries = pieces(DATA, data.len() as u64, sizes);
            rig.store(&entries, data);
            let outcome = rig.disk().dma(request, write, &entries);
            data.copy_from_slice(&rig.load(&entries));
            outcome
        }
    }
}

/// Where sectors of the guest lie on the platter.
fn on_disk(range: Range<u64>) -> Vec<u64> {
    range.map(|lba| if lba < 300 { lba } else { lba + 7 }).collect()
}

#[test]
fn an_ide_disk_shows_the_sector_as_bad_and_moves_those_before() {
    for way in Way::ALL {
        for (write, lba, sectors, error, bad) in REQUESTS {
            let mut rig = ide();
            let whole = matches!(way, Way::Dma { .. }) || !write;
            let bad = if whole { bad } else { lba };
            let mut data = if write { payload(3, lba, sectors) } else { vec![0xee; sectors as usize * 512] };
            let outcome = ide_move(&mut rig, way, write, lba, &mut data);
            let what = format!("{way:?} {write} {lba}+{sectors}");
            assert_eq!(outcome, Err(Failure::Device { status: 0x51, error }), "{what}");
            assert_eq!(named(&mut rig), bad, "{what}");
            assert!(rig.machine.faults.is_empty());
            let before = (bad - lba) as usize * 512;
            if write {
                assert_eq!(rig.machine.ide.disk(0, 0).platter.written, on_disk(lba..bad), "{what}");
            } else {
                let mut good = vec![0; before];
                if before > 0 {
                    ide_move(&mut rig, Way::LINUX, false, lba, &mut good).unwrap();
                }
                assert!(data[..before] == good, "{what}: what is before the bad sector");
            }
            // The next command's end is its own.
            let mut first = [0; 512];
            ide_move(&mut rig, way, false, 400, &mut first).unwrap();
            let outcome = rig.disk().non_data(sim::guest::Command { command: 0xf6, ..Default::default() });
            assert_eq!(outcome, Err(Failure::Device { status: 0x51, error: 4 }), "{what}");
        }
    }
}

#[test]
fn an_ide_disks_error_is_not_its_neighbours_and_leaves_the_bus_master_as_a_device_does() {
    let mut rig = ide();
    let mut data = [0; 8 * 512];
    ide_move(&mut rig, Way::LINUX, false, END, &mut data).unwrap_err();
    rig.disk().out(6, 0xf0).unwrap();
    assert_ne!(rig.disk().input(1), Ok(UNC), "the other unit has an error register of its own");
    rig.disk().out(6, 0xe0).unwrap();
    assert_eq!(rig.disk().input(1), Ok(UNC));
    // An error of the bus master would make Linux think of the host's bus.
    sim::guest::write_prds(&mut rig.machine, sim::guest::SCRATCH, &[(DATA, 512)]);
    rig.disk().dma_start(command(Way::LINUX, false, END, 1), false, sim::guest::SCRATCH).unwrap();
    rig.disk().wait_irq().unwrap();
    assert_eq!(rig.disk().bm_in(2).map(|status| status & 7), Ok(5), "ACTIVE and INTERRUPT");
    rig.disk().soft_reset().unwrap();
    assert_ne!(rig.disk().input(1), Ok(UNC), "a reset ends it");
}

#[test]
fn a_request_by_cylinder_head_and_sector_has_its_bad_sector_named_so() {
    let mut rig = ide();
    rig.disk().non_data(sim::guest::Command { command: 0x91, count: 63, chs: Some(15), ..Default::default() }).unwrap();
    // Head 3, sector 7 is LBA 195.
    let request = sim::guest::Command { command: 0xc8, count: 20, lba: 7, chs: Some(3), ..Default::default() };
    let outcome = rig.disk().dma(request, false, &[(DATA, 20 * 512)]);
    assert_eq!(outcome, Err(Failure::Device { status: 0x51, error: UNC }));
    let registers: Vec<u8> = (3..7).map(|offset| rig.disk().input(offset).unwrap()).collect();
    assert_eq!(registers, [12, 0, 0, 0xa3], "LBA 200");
}

#[test]
fn verify_names_its_first_sector() {
    let mut rig = ide();
    let verify = |lba, count| sim::guest::Command { command: 0x42, count, lba, ext: true, ..Default::default() };
    rig.disk().non_data(verify(END - 3, 3)).unwrap();
    assert_eq!(rig.disk().non_data(verify(END - 3, 4)), Err(Failure::Device { status: 0x51, error: UNC }));
    assert_eq!(named(&mut rig), END - 3);
    let mut rig = ahci();
    rig.guest(0).run(5, fis(0x42, END - 3, 3, 5), false, vec![]).unwrap();
    let outcome = rig.guest(0).run(5, fis(0x42, END - 3, 4, 5), false, vec![]);
    assert_eq!(outcome, Err(AhciFailure::Device { tfd: 0x4041 }));
    assert_eq!(lba_of(&rig.guest(0).register_fis()), END - 3);
}

/// The address in a register FIS, or in a log.
fn lba_of(fis: &[u8]) -> u64 {
    [10, 9, 8, 6, 5, 4].iter().fold(0, |lba, at| lba << 8 | u64::from(fis[*at]))
}

#[test]
fn an_ahci_disk_shows_the_sector_as_bad_and_moves_those_before() {
    for by in By::ALL {
        for (write, lba, sectors, error, bad) in REQUESTS {
            let mut rig = ahci();
            let len = sectors * 512;
            let data = if write { payload(3, lba, sectors) } else { vec![0xee; len as usize] };
            rig.machine.ram.poke(DATA, &data);
            let regions = pieces(DATA, len, &[4096]);
            let outcome = rig.guest(0).run(5, by.fis(write, lba, sectors, 5), write, regions.clone());
            let what = format!("{by:?} {write} {lba}+{sectors}");
            assert_eq!(outcome, Err(AhciFailure::Device { tfd: u32::from(error) << 8 | 0x41 }), "{what}");
            let got = rig.machine.ram.peek(DATA, (bad - lba) as usize * 512).to_vec();
            if by == By::Queued {
                assert_eq!(rig.guest(0).get(px::SACT), Ok(1 << 5), "{what}");
                let at = rig.guest(0).base + 0x458;
                let fis = rig.machine.ram.peek(at, 8).to_vec();
                assert_eq!(fis, [0xa1, 0x40, 0x41, error, 0, 0, 0, 0], "{what}");
            } else {
                let fis = rig.guest(0).register_fis();
                assert_eq!((fis[0], fis[3], lba_of(&fis)), (0x34, error, bad), "{what}");
            }
            rig.guest(0).recover(false).unwrap();
            assert_eq!(rig.guest(0).get(px::TFD), Ok(u32::from(error) << 8 | 0x41), "{what}: until the next command");
            if by == By::Queued {
                rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
                let log = rig.machine.ram.peek(DATA, 512).to_vec();
                assert_eq!((log[0], log[2], log[3], lba_of(&log)), (5, 0x41, error, bad), "{what}");
                assert_eq!(log.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0, "{what}");
            }
            if write {
                assert_eq!(rig.platter().written, on_disk(lba..bad), "{what}");
            } else if bad > lba {
                let good = vec![(DATA, (bad - lba) * 512)];
                rig.guest(0).run(6, By::DmaExt.fis(false, lba, bad - lba, 6), false, good).unwrap();
                assert!(rig.machine.ram.peek(DATA, got.len()) == got, "{what}: what is before the bad sector");
            }
            // The next command's end is its own.
            assert_eq!(
                rig.guest(0).run(7, fis(0xf6, 0, 1, 7), false, vec![]),
                Err(AhciFailure::Device { tfd: 0x0441 })
            );
            assert_eq!(rig.guest(0).register_fis()[3], 4, "{what}");
            assert!(rig.machine.faults.is_empty());
        }
    }
}

#[test]
fn an_ahci_disk_interrupts_once_and_its_next_error_is_its_own() {
    for by in By::ALL {
        let mut rig = ahci();
        let table = Table { at: rig.guest(0).table_at(5), regions: vec![(DATA, 20 * 512)] };
        rig.guest(0).prepare(5, by.fis(false, END - 3, 20, 5), false, &table);
        rig.guest(0).ring(1 << 5, by == By::Queued).unwrap();
        assert_eq!(rig.guest(0).interrupt(), Err(AhciFailure::Device { tfd: 0x4041 }), "{by:?}");
        rig.guest(0).recover(false).unwrap();
        rig.platter().inject_error(404 + 7, IDNF);
        let outcome = rig.guest(0).run(5, By::DmaExt.fis(false, 400, 8, 5), false, vec![(DATA, 4096)]);
        assert_eq!(outcome, Err(AhciFailure::Device { tfd: 0x1041 }), "{by:?}");
        assert_eq!(lba_of(&rig.guest(0).register_fis()), 404, "{by:?}");
    }
}

#[test]
fn an_ide_disk_shows_no_interrupt_before_the_error() {
    let mut rig = ide();
    sim::guest::write_prds(&mut rig.machine, sim::guest::SCRATCH, &[(DATA, 20 * 512)]);
    rig.disk().dma_start(command(Way::LINUX, false, END - 3, 20), false, sim::guest::SCRATCH).unwrap();
    while rig.disk().bm_in(2).unwrap() & 4 == 0 {
        rig.machine.tick();
    }
    assert_eq!(rig.disk().input(8), Ok(0x51));
}

#[test]
fn queued_commands_beside_one_that_runs_over_the_end_are_done_first_and_the_log_names_its_sector() {
    let mut rig = ahci();
    rig.machine.ahci.ports[0].delay = 5;
    for (slot, lba) in [(4, 400), (5, END - 3), (6, 500)] {
        rig.machine.ram.poke(DATA, &payload(3, lba, 8));
        let table = Table { at: rig.guest(0).table_at(slot), regions: vec![(DATA, 4096)] };
        rig.guest(0).prepare(slot, By::Queued.fis(true, lba, 8, slot), true, &table);
    }
    rig.guest(0).ring(0x70, true).unwrap();
    let outcome = loop {
        if let Err(failure) = rig.guest(0).interrupt() {
            break failure;
        }
    };
    assert_eq!(outcome, AhciFailure::Device { tfd: 0x1041 });
    assert_eq!(rig.guest(0).get(px::SACT), Ok(1 << 5), "only the one at the end is not done");
    rig.guest(0).recover(false).unwrap();
    rig.guest(0).run(0, fis(0x2f, 0x10, 1, 0), false, vec![(DATA, 512)]).unwrap();
    let log = rig.machine.ram.peek(DATA, 512).to_vec();
    assert_eq!((log[0], log[2], log[3], lba_of(&log)), (5, 0x41, IDNF, END));
    assert_eq!(rig.platter().written.len(), 8 + 3 + 8);
}

#[test]
fn a_table_that_is_no_memory_is_still_the_hosts_fault_and_names_no_sector() {
    let mut rig = ahci();
    let outcome = rig.guest(0).run(5, By::DmaExt.fis(false, END - 3, 20, 5), false, vec![(0xffff_f000_0000, 20 * 512)]);
    assert_eq!(outcome, Err(AhciFailure::Device { tfd: 0x0441 }));
}
