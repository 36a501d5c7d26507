//! A power cut at every write: what was flushed is readable, everything else is old or new.
#![forbid(unsafe_code)]

use scenario::{PROTECTED, Rig, SECTORS, Way, payload};
use sim::guest::{Command, Failure};
use sim::{Platter, SimRanges};

/// Writes 20 sectors, flushes, and overwrites some of them in two requests with a flush between.
fn sequence(rig: &mut Rig, way: Way) -> Result<(), Failure> {
    let start = PROTECTED.start - 2;
    for (seed, lba, sectors) in [(1, start, 20), (2, start + 5, 4), (3, start, 9)] {
        rig.write_to_cache(way, lba, &payload(seed, lba, sectors))?;
        rig.disk().non_data(Command { command: 0xea, ext: true, ..Command::default() })?;
        rig.model.flushed();
    }
    Ok(())
}

fn cut_at_every_write(way: Way) {
    for cut in 1..=33 {
        for kept in 0..4 {
            let mut platter = Platter::new(SECTORS);
            platter.cut_after = Some(cut);
            let mut rig = Rig::with(platter, SimRanges::new(PROTECTED));
            assert!(sequence(&mut rig, way).is_err(), "{way:?} cut at {cut}");
            let mut rig = rig.after_power_cut(|index| (index + kept) % 4 > kept);
            rig.model.check_all(&rig.ranges, &rig.machine.ide.disk(0, 0).platter);
            rig.read(Way::LINUX, PROTECTED.start - 4, 24).unwrap();
        }
    }
}

#[test]
fn dma_writes_survive_a_power_cut_at_every_sector() {
    cut_at_every_write(Way::ODD);
}

#[test]
fn pio_writes_survive_a_power_cut_at_every_sector() {
    cut_at_every_write(Way::BIOS);
}

#[test]
fn what_was_flushed_is_there_when_nothing_of_the_cache_survives() {
    let mut rig = Rig::new();
    sequence(&mut rig, Way::LINUX).unwrap();
    rig.write_to_cache(Way::LINUX, 5000, &payload(4, 5000, 8)).unwrap();
    let mut rig = rig.after_power_cut(|_| false);
    rig.model.check_all(&rig.ranges, &rig.machine.ide.disk(0, 0).platter);
    rig.read(Way::BIOS, PROTECTED.start - 2, 20).unwrap();
    assert_eq!(rig.machine.ide.disk(0, 0).platter.read(5000), sim::untouched(5000));
}
