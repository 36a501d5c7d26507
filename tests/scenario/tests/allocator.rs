//! Every allocation of the arena fails once: the request is held back or fails like a device error, and no buffer
//! stays behind.
#![forbid(unsafe_code)]

use scenario::{DATA, Rig, Way, payload};
use sim::guest::Failure;
use sim::ide::Kind;
use sim::{Machine, SimIde};

fn with_failing_allocations(request: impl Fn(&mut Rig) -> Result<(), Failure>) {
    for nth in 0.. {
        let mut rig = Rig::new();
        let first = rig.machine.arena.asked;
        rig.machine.arena.fail_nth = Some(first + nth);
        let outcome = request(&mut rig);
        assert!(matches!(outcome, Ok(()) | Err(Failure::Device { .. })), "allocation {nth}: {outcome:?}");
        rig.check();
        let failed = rig.machine.arena.asked > first + nth;
        rig.machine.arena.fail_nth = None;
        rig.write(Way::ODD, 998, &payload(2, 998, 40)).unwrap();
        rig.read(Way::LINUX, 998, 40).unwrap();
        if !failed {
            return;
        }
    }
}

#[test]
fn writes_survive_each_failing_allocation() {
    for way in Way::ALL {
        with_failing_allocations(|rig| rig.write(way, 998, &payload(1, 998, 20)));
    }
    with_failing_allocations(|rig| rig.write(Way::LINUX, 998, &payload(1, 998, 4096)));
}

#[test]
fn reads_survive_each_failing_allocation() {
    for way in Way::ALL {
        with_failing_allocations(|rig| rig.read(way, 998, 20));
    }
    with_failing_allocations(|rig| rig.read(Way::ODD, 998, 4096));
}

#[test]
fn packet_commands_survive_each_failing_allocation() {
    with_failing_allocations(|rig| rig.cd().packet_dma([0x28, 0, 0, 0, 0, 7, 0, 0, 3, 0, 0, 0], &[(DATA, 6144)]));
}

#[test]
fn an_empty_arena_is_an_error_of_the_device_and_no_plaintext() {
    let mut rig = Rig::new();
    rig.machine.arena.exhausted = true;
    for way in Way::ALL {
        let outcome = rig.write(way, 998, &payload(1, 998, 20));
        assert!(matches!(outcome, Ok(()) | Err(Failure::Device { .. })), "{way:?}: {outcome:?}");
        let outcome = rig.read(way, 998, 20);
        assert!(matches!(outcome, Ok(()) | Err(Failure::Device { .. })), "{way:?}: {outcome:?}");
    }
    rig.machine.arena.exhausted = false;
    rig.write(Way::LINUX, 998, &payload(2, 998, 20)).unwrap();
    rig.read(Way::ODD, 998, 20).unwrap();
}

#[test]
fn a_controller_that_cannot_have_its_buffers_is_not_taken_over() {
    for nth in 0.. {
        let units = [Kind::disk(5000), Kind::Empty, Kind::cdrom(), Kind::disk(5000)];
        let mut machine = Machine::new(SimIde::new(units));
        machine.arena.fail_nth = Some(nth);
        if machine.attach(&ata::DRIVER).is_ok() {
            assert!(nth > 0, "nothing is allocated");
            return;
        }
    }
}
