//! A controller that breaks the specification as QEMU's does: errors stop nothing, a command that has failed begins again, IS
//! forgets what was not acknowledged, and no log tells which queued command failed.

use scenario::ahci::{AhciRig, By, ODD, PAGES, PROTECTED, SECTORS};
use scenario::payload;
use sim::ahci::{Failure, at, hba, px};

fn rig() -> AhciRig {
    let mut rig = AhciRig::new();
    rig.machine.ahci.take_qemus_habits();
    rig
}

#[test]
fn every_kind_of_transfer_works_on_it() {
    let mut rig = rig();
    for by in By::ALL {
        rig.write(by, PROTECTED.start - 4, &payload(1, PROTECTED.start - 4, 24), ODD).unwrap();
        rig.read(by, PROTECTED.start - 4, 24, PAGES).unwrap();
    }
}

#[test]
fn commands_behind_one_that_fails_are_not_taken_for_failed_or_done_wrongly() {
    for by in [By::DmaExt, By::Dma, By::Pio, By::Queued] {
        for delay in [0, 2] {
            let mut rig = rig();
            rig.write(by, 5000, &payload(1, 5000, 32), PAGES).unwrap();
            rig.machine.ahci.ports[0].delay = delay;
            rig.platter().inject_error(5004, 0x40);
            let first = rig.prepare(0, by, None, 5016, 8, PAGES);
            rig.prepare(1, by, None, 5000, 8, PAGES);
            rig.prepare(2, by, Some(&payload(2, 6000, 16)), 6000, 16, ODD);
            rig.guest(0).ring(7, by == By::Queued).unwrap();
            // The guest looks late: the device goes on with whatever it has.
            (0..20).for_each(|_| rig.machine.tick());
            let failed = rig.guest(0).finish(7);
            assert!(matches!(failed, Err(Failure::Device { .. })), "{by:?}: {failed:?}");
            let left = rig.machine.read(at(0, px::CI)) | rig.machine.read(at(0, px::SACT));
            assert_eq!(left & 3, 2, "{by:?} {delay}: the second one has failed, the first one has not");
            rig.expect_data(5016, &first);
            rig.check();
            rig.guest(0).recover(true).unwrap();
            rig.identify(0).expect("the disk tells who it is");
            rig.platter().heal();
            let again = rig.write(by, 6000, &payload(3, 6000, 16), PAGES);
            assert_eq!(again, Ok(()), "{by:?} {delay}");
            rig.read(by, 4990, 60, ODD).unwrap();
            rig.read(by, 5990, 40, PAGES).unwrap();
            rig.recovers();
        }
    }
}

#[test]
fn sectors_beyond_the_end_are_refused_there_too() {
    for by in [By::DmaExt, By::Queued] {
        let mut rig = rig();
        rig.prepare(4, by, None, SECTORS - 1, 2, PAGES);
        rig.guest(0).ring(1 << 4, by == By::Queued).unwrap();
        assert_eq!(rig.guest(0).finish(1 << 4), Err(Failure::Device { tfd: 0x0441 }), "{by:?}");
        rig.recovers();
    }
}

#[test]
fn a_guest_that_acknowledges_the_port_first_loses_no_interrupt() {
    let mut rig = rig();
    for n in 0..4 {
        let lba = 7000 + 8 * n;
        rig.prepare(1, By::Queued, Some(&payload(4, lba, 8)), lba, 8, PAGES);
        rig.guest(0).ring(2, true).unwrap();
        (0..40).for_each(|_| rig.machine.tick());
        assert_eq!(rig.machine.read(hba::IS) & 1, 1, "the port has a cause");
        let causes = rig.machine.read(at(0, px::IS));
        rig.machine.write(at(0, px::IS), causes);
        assert_eq!(rig.machine.read(hba::IS) & 1, 0, "the cause is gone, and so is the port's bit");
        assert_eq!(rig.machine.read(at(0, px::SACT)), 0);
    }
    rig.check_secrecy();
}
