//! A range that may only be read: nothing that a guest can send changes it, and the disk says why in its own way.
#![forbid(unsafe_code)]

use mediator::disk::{Extent, RangeMap, Rights, Treatment};
use scenario::ahci::{AhciRig, By};
use scenario::nvme::NvmeRig;
use scenario::{DATA, Rig, Way, payload};
use sim::guest::{Command, Failure, Style};
use sim::nvme::Entry;
use sim::untouched;
use std::sync::Arc;

/// The sectors from 100 to 199; the rest is plain. TRIM is allowed.
struct Rules;

impl RangeMap for Rules {
    fn extent(&self, lba: u64, sectors: u64) -> Extent {
        let (end, rights) = match lba {
            0..100 => (100, Rights::ReadWrite),
            100..200 => (200, Rights::ReadOnly),
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

fn ide() -> Rig {
    let mut rig = Rig::new();
    rig.machine.set_ranges(0, Arc::new(Rules)).unwrap();
    rig.machine.ide.disk(0, 0).bounced = 0..0;
    rig
}

/// The error register: ABRT, and WP, which a write to protected media ends with.
fn is_aborted(outcome: &Result<(), Failure>) -> bool {
    matches!(outcome, Err(Failure::Device { status, error: 4 }) if status & 1 != 0)
}

fn is_protected(outcome: &Result<(), Failure>) -> bool {
    matches!(outcome, Err(Failure::Device { status, error: 0x40 }) if status & 1 != 0)
}

fn write(rig: &mut Rig, way: Way, lba: u64, sectors: u64) -> Result<(), Failure> {
    rig.write_to_cache(way, lba, &payload(7, lba, sectors))
}

#[test]
fn an_ide_disk_tells_of_its_write_protection_and_reads_it() {
    for way in Way::ALL {
        for (lba, sectors) in [(100, 1), (96, 8), (199, 2), (90, 200)] {
            let mut rig = ide();
            let outcome = write(&mut rig, way, lba, sectors);
            assert!(is_protected(&outcome), "{way:?} {lba}+{sectors}: {outcome:?}");
            // What lies before it is written, but by PIO.
            let before: Vec<u64> = if matches!(way, Way::Dma { .. }) { (lba..100).collect() } else { Vec::new() };
            assert_eq!(rig.machine.ide.disk(0, 0).platter.written, before, "{way:?} {lba}+{sectors}");
        }
        let mut rig = ide();
        for lba in [99, 200] {
            assert_eq!(write(&mut rig, way, lba, 1), Ok(()), "{way:?} {lba}");
        }
        assert_eq!(rig.machine.ide.disk(0, 0).platter.written, [99, 200]);
    }
    let mut rig = ide();
    rig.disk().dma(scenario::command(Way::LINUX, false, 96, 8), false, &[(DATA, 4096)]).unwrap();
    for (lba, sector) in (96..).zip(rig.load(&[(DATA, 4096)]).as_chunks::<512>().0) {
        assert_eq!(*sector, untouched(lba));
    }
}

#[test]
fn an_ide_disk_is_not_told_that_its_sectors_are_unused() {
    let trim = Command { command: 0x06, features: 1, count: 1, ext: true, ..Command::default() };
    for (lba, count, passes) in
        [(150_u64, 1_u64, false), (99, 2, false), (199, 8, false), (90, 10, true), (200, 8, true)]
    {
        let mut rig = ide();
        rig.machine.ram.poke(DATA, &[0; 512]);
        rig.machine.ram.poke(DATA, &(lba | count << 48).to_le_bytes());
        let outcome = rig.disk().dma(trim, true, &[(DATA, 512)]);
        assert_eq!(outcome.is_ok(), passes, "{lba}+{count}: {outcome:?}");
        assert!(passes || is_aborted(&outcome), "{outcome:?}");
        assert_eq!(rig.machine.ide.disk(0, 0).trimmed.is_empty(), !passes, "{lba}+{count}");
    }
}

#[test]
fn no_ide_command_of_any_kind_changes_it() {
    let data = payload(7, 150, 1);
    for code in 0..=0xff {
        for ext in [false, true] {
            let command = Command { command: code, features: 1, count: 1, lba: 150, ext, ..Command::default() };
            // How each ends is its own; some wait for data that does not come.
            let tries: [fn(&mut Rig, Command, &[u8]); 3] = [
                |rig, command, _| {
                    let _ = rig.disk().non_data(command);
                },
                |rig, command, data| {
                    let style = Style { polled: true, ..Style::default() };
                    let _ = rig.disk().pio_out(command, 512, style, data);
                },
                |rig, command, data| {
                    rig.store(&[(DATA, 512)], data);
                    let _ = rig.disk().dma(command, true, &[(DATA, 512)]);
                },
            ];
            for attempt in tries {
                let mut rig = ide();
                attempt(&mut rig, command, &data);
                let disk = rig.machine.ide.disk(0, 0);
                // A 48-bit command without its high half means what was in the registers before.
                let written = &disk.platter.written;
                assert!(written.iter().all(|lba| !(100..200).contains(lba)), "{code:#04x}: {written:?}");
                assert!(disk.trimmed.iter().all(|(first, count)| *first >= 200 || first + count <= 100), "{code:#04x}");
            }
        }
    }
}

#[test]
fn no_ahci_command_of_any_kind_changes_it() {
    for code in 0..=0xff {
        for write in [false, true] {
            let mut rig = AhciRig::new();
            rig.set_map(Arc::new(Rules));
            let mut fis = By::DmaExt.fis(write, 150, 1, 5);
            (fis[2], fis[3]) = (code, 1);
            rig.machine.ram.poke(DATA, &(150 | 1_u64 << 48).to_le_bytes());
            // How each ends is its own.
            let _ = rig.guest(0).run(5, fis, write, vec![(DATA, 512)]);
            assert_eq!(rig.platter().written, [], "{code:#04x}");
            assert!(rig.machine.ahci.ports[0].disk.as_ref().unwrap().trimmed.is_empty(), "{code:#04x}");
        }
    }
}

#[test]
fn no_nvme_command_of_any_kind_changes_it() {
    for opcode in 0..=0xff {
        let mut rig = NvmeRig::new();
        rig.machine.set_ranges(0, Arc::new(Rules)).unwrap();
        let before = rig.machine.nvme.platter(1).written.len();
        // One sector, or a list of one range.
        rig.machine.ram.poke(DATA, &[[0; 4], [1, 0, 0, 0], [150, 0, 0, 0], [0; 4]].concat());
        let entry = Entry::new(opcode, 1).prps(DATA, 0);
        for (low, attribute) in [(150, 0), (0, 4)] {
            let _ = rig.guest.io(&mut rig.machine, 1, entry.with_qword(10, low).dword(11, attribute));
        }
        let _ = rig.guest.admin(&mut rig.machine, entry.dword(10, 1));
        let written = &rig.machine.nvme.platter(1).written[before..];
        assert!(written.iter().all(|lba| !(100..200).contains(lba)), "{opcode:#04x}: {written:?}");
        let unused = &rig.machine.nvme.namespaces[&1].unused;
        assert!(unused.is_empty(), "{opcode:#04x}: {unused:?}");
        assert!(!rig.machine.nvme.received.iter().any(|(queue, code, _)| {
            // FORMAT NVM and SANITIZE; WRITE UNCORRECTABLE and WRITE ZEROES.
            if *queue == 0 { [0x80, 0x84].contains(code) } else { [0x04, 0x08].contains(code) }
        }));
    }
}
