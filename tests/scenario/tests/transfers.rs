//! Well-behaved guests: every way, every size, every edge.
#![forbid(unsafe_code)]

use mediator::Width;
use scenario::{DATA, PROTECTED, Rig, SECTORS, Way, command, payload};
use sim::guest::{Command, Failure, Style};
use sim::{Platter, SimRanges};

fn write_and_read_back(rig: &mut Rig, way: Way, lba: u64, sectors: u64) {
    rig.write(way, lba, &payload(sectors as u32, lba, sectors))
        .unwrap_or_else(|e| panic!("write {way:?} {lba}: {e:?}"));
    rig.read(way, lba, sectors).unwrap_or_else(|e| panic!("read {way:?} {lba}: {e:?}"));
    assert!(rig.machine.violations.is_empty(), "{:?}", rig.machine.violations);
}

#[test]
fn every_way_writes_and_reads_inside_the_range() {
    for way in Way::ALL {
        for sectors in [1, 2, 7, 16, 33] {
            write_and_read_back(&mut Rig::new(), way, PROTECTED.start + 5, sectors);
        }
    }
}

#[test]
fn every_way_reads_what_another_wrote() {
    let mut rig = Rig::new();
    for (turn, way) in Way::ALL.into_iter().enumerate() {
        rig.write(way, 5000, &payload(turn as u32, 5000, 20)).unwrap();
        for other in Way::ALL {
            rig.read(other, 4998, 24).unwrap();
        }
    }
}

#[test]
fn every_way_crosses_both_ends_of_the_range() {
    let ext = |way: &Way| way.is_ext();
    for way in Way::ALL {
        let mut rig = Rig::new();
        for before in [1, 3, 8] {
            write_and_read_back(&mut rig, way, PROTECTED.start - before, 9);
        }
    }
    for way in Way::ALL.into_iter().filter(ext) {
        let mut rig = Rig::new();
        for before in [1, 3, 8] {
            write_and_read_back(&mut rig, way, PROTECTED.end - before, 9);
        }
        write_and_read_back(&mut rig, way, SECTORS - 9, 9);
    }
}

#[test]
fn a_small_range_inside_one_request_is_cut_out() {
    for way in Way::ALL {
        let mut rig = Rig::with(Platter::new(SECTORS), SimRanges::new(2003..2007));
        write_and_read_back(&mut rig, way, 2000, 10);
    }
}

fn shifted() -> Rig {
    let mut ranges = SimRanges::new(2000..4000);
    ranges.shift = 32_768;
    Rig::with(Platter::new(SECTORS), ranges)
}

#[test]
fn sectors_that_lie_elsewhere_on_the_disk_are_found_there() {
    for way in Way::ALL {
        write_and_read_back(&mut shifted(), way, 2005, 10);
    }
}

#[test]
fn dma_that_crosses_to_sectors_elsewhere_goes_in_parts() {
    for way in [Way::LINUX, Way::ODD] {
        let mut rig = shifted();
        write_and_read_back(&mut rig, way, 1995, 10);
        write_and_read_back(&mut rig, way, 3995, 10);
    }
}

#[test]
fn pio_that_crosses_to_sectors_elsewhere_is_whole_or_refused() {
    for way in [Way::BIOS, Way::PIO, Way::WORDS, Way::MULTIPLE] {
        for lba in [1995, 3995] {
            let outcome = shifted().write(way, lba, &payload(1, lba, 10));
            assert!(matches!(outcome, Ok(()) | Err(Failure::Device { error: 4, .. })), "{way:?}: {outcome:?}");
        }
    }
}

#[test]
fn dma_of_every_size_up_to_two_mebibytes() {
    for sizes in [&[4096][..], &[65536], &[512, 1024, 65024, 2], &[2, 510, 6, 4090, 65534, 1026, 30]] {
        let mut rig = Rig::new();
        for kib in [1, 4, 60, 64, 68, 128, 508, 1024, 1280, 2048] {
            write_and_read_back(&mut rig, Way::Dma { ext: true, sizes }, 10_000 + kib, 2 * kib);
        }
    }
}

#[test]
fn a_request_of_32_mib_over_8192_entries_goes_in_parts() {
    let mut rig = Rig::new();
    write_and_read_back(&mut rig, Way::LINUX, PROTECTED.start - 100, 65536);
}

#[test]
fn a_request_of_256_sectors_has_a_count_of_zero() {
    let mut rig = Rig::new();
    for way in [Way::BIOS, Way::WORDS, Way::Dma { ext: false, sizes: &[4096] }] {
        write_and_read_back(&mut rig, way, 3000, 256);
    }
}

#[test]
fn pio_of_every_style_is_transformed() {
    for width in [Width::Word, Width::Dword] {
        for (rep, polled) in [(false, false), (false, true), (true, false), (true, true)] {
            let style = Style { width, rep, polled };
            let mut rig = Rig::new();
            for ext in [false, true] {
                write_and_read_back(&mut rig, Way::Pio { style, ext }, 998, 5);
                for per_block in [2, 8, 16] {
                    write_and_read_back(&mut rig, Way::Multiple { style, ext, per_block }, 998, 21);
                }
            }
        }
    }
}

#[test]
fn one_rep_may_span_pieces_of_a_block() {
    let mut rig = Rig::new();
    rig.write(Way::BIOS, 2000, &payload(1, 2000, 1)).unwrap();
    let mut guest = rig.disk();
    guest.issue(command(Way::BIOS, false, 2000, 1)).unwrap();
    guest.wait_not_busy().unwrap();
    let mut data = vec![0; 512];
    for (piece, width) in data.chunks_mut(128).zip([Width::Dword, Width::Word, Width::Word, Width::Dword]) {
        guest.move_in(Style { width, ..Style::default() }, piece).unwrap();
    }
    assert_eq!(data, payload(1, 2000, 1));
}

#[test]
fn chs_addresses_are_transformed_like_the_sectors_they_name() {
    let mut rig = Rig::new();
    // Cylinder 3, head 5, sector 7 of 16 heads and 63 sectors per track.
    let lba = (3 * 16 + 5) * 63 + 6;
    rig.write(Way::LINUX, lba, &payload(3, lba, 2)).unwrap();
    let chs = Command { command: 0x20, count: 2, lba: 3 << 8 | 7, chs: Some(5), ..Command::default() };
    let mut data = vec![0; 1024];
    rig.disk().pio_in(chs, 512, Style::default(), &mut data).unwrap();
    assert_eq!(data, payload(3, lba, 2));
    let new = payload(4, lba, 2);
    rig.disk().pio_out(Command { command: 0x30, ..chs }, 512, Style::default(), &new).unwrap();
    rig.model.wrote(lba, &new);
    rig.check();
    rig.read(Way::ODD, lba, 2).unwrap();
}

#[test]
fn chs_follows_a_changed_geometry() {
    let mut rig = Rig::new();
    rig.disk().non_data(Command { command: 0x91, count: 32, chs: Some(7), ..Command::default() }).unwrap();
    // Cylinder 20, head 5, sector 7 of 8 heads and 32 sectors per track.
    let lba = (20 * 8 + 5) * 32 + 6;
    rig.write(Way::LINUX, lba, &payload(3, lba, 1)).unwrap();
    let chs = Command { command: 0x20, count: 1, lba: 20 << 8 | 7, chs: Some(5), ..Command::default() };
    let mut data = vec![0; 512];
    rig.disk().pio_in(chs, 512, Style::default(), &mut data).unwrap();
    assert_eq!(data, payload(3, lba, 1));
}

#[test]
fn the_plain_disk_beside_stays_plain() {
    let mut rig = Rig::new();
    let data = payload(9, 500, 40);
    let entries = scenario::pieces(DATA, data.len() as u64, &[2, 4096, 30]);
    rig.store(&entries, &data);
    rig.plain().dma(command(Way::LINUX, true, 500, 40), true, &entries).unwrap();
    let stored: Vec<u8> = (500..540).flat_map(|lba| rig.machine.ide.disk(0, 1).platter.read(lba)).collect();
    assert!(stored == data);
    let mut back = vec![0; data.len()];
    rig.plain().pio_in(command(Way::PIO, false, 500, 40), 512, Style::default(), &mut back).unwrap();
    assert!(back == data);
    rig.check();
}

#[test]
fn requests_to_both_units_in_turn_do_not_mix() {
    let mut rig = Rig::new();
    for turn in 0..4 {
        write_and_read_back(&mut rig, Way::ODD, 2000 + turn, 17);
        let data = payload(turn as u32, 7, 3);
        rig.plain().pio_out(command(Way::PIO, true, 7, 3), 512, Style::default(), &data).unwrap();
        rig.read(Way::WORDS, 2000 + turn, 17).unwrap();
        assert_eq!(rig.machine.ide.disk(0, 1).platter.read(8), data[512..1024]);
    }
}

#[test]
fn the_vmm_reads_the_raw_disk_before_the_guest_starts() {
    let mut rig = Rig::new();
    let mut data = vec![0; 1536];
    rig.machine.read_before_guest(0, PROTECTED.start - 1, &mut data).unwrap();
    let expected: Vec<u8> = (PROTECTED.start - 1..PROTECTED.start + 2).flat_map(sim::untouched).collect();
    assert!(data == expected);
    rig.read(Way::BIOS, 999, 3).unwrap();
}

#[test]
fn a_device_that_moves_one_sector_at_a_time_changes_nothing() {
    let mut rig = Rig::new();
    rig.machine.ide.channels[0].sectors_per_tick = 1;
    write_and_read_back(&mut rig, Way::ODD, 990, 300);
}
