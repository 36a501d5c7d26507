//! A reset at every step of every kind of request leaves old or new sectors, no buffer in use, and a working disk.
#![forbid(unsafe_code)]

use scenario::{DATA, Rig, Way, payload};
use sim::guest::Failure;

/// How the guest breaks a request off.
#[derive(Clone, Copy, Debug)]
enum Reset {
    Srst,
    /// As libata's error handler: the bus master first.
    StopThenSrst,
    /// The bus master is stopped, and a new request is made only after SRST.
    SrstTwice,
}

fn reset(rig: &mut Rig, how: Reset) {
    rig.machine.budget = None;
    let mut guest = rig.disk();
    if let Reset::StopThenSrst = how {
        guest.bm_stop().unwrap();
    }
    if let Reset::SrstTwice = how {
        guest.soft_reset().unwrap();
    }
    guest.soft_reset().unwrap();
    // What SRST does not do to a bare bus master: the buffers that it holds are free now.
    assert!(!guest.machine.ide.channels[0].bm.is_started(), "the bus master runs on after a reset");
    guest.bm_stop().unwrap();
}

/// Stops `request` after each of its steps, resets, and looks whether the disk works.
fn at_each_step(how: Reset, stride: u32, mut request: impl FnMut(&mut Rig) -> Result<(), Failure>) {
    for step in (0..).step_by(stride as usize) {
        let mut rig = Rig::new();
        rig.machine.ide.channels[0].sectors_per_tick = 2;
        rig.write(Way::LINUX, 998, &payload(1, 998, 12)).unwrap();
        rig.machine.budget = Some(step);
        let outcome = request(&mut rig);
        rig.check_platter();
        if outcome.is_ok() {
            return;
        }
        assert_eq!(outcome, Err(Failure::Stopped), "step {step}");
        reset(&mut rig, how);
        rig.check();
        for way in [Way::ODD, Way::BIOS] {
            rig.read(way, 998, 12).unwrap_or_else(|e| panic!("{how:?} at step {step}: {e:?}"));
        }
        rig.write(Way::LINUX, 997, &payload(3, 997, 14)).unwrap();
        rig.read(Way::PIO, 996, 16).unwrap();
    }
}

fn all_ways(how: Reset, stride: u32) {
    for way in [Way::LINUX, Way::ODD, Way::BIOS, Way::PIO, Way::MULTIPLE] {
        at_each_step(how, stride, |rig| rig.write_only(way, 999, &payload(2, 999, 6)));
        at_each_step(how, stride, |rig| rig.read(way, 999, 6));
    }
}

#[test]
fn srst_at_every_step() {
    all_ways(Reset::Srst, 1);
}

#[test]
fn bus_master_stop_then_srst_at_every_step() {
    all_ways(Reset::StopThenSrst, 1);
}

#[test]
fn two_resets_at_some_steps() {
    all_ways(Reset::SrstTwice, 3);
}

#[test]
fn srst_in_the_midst_of_single_words() {
    at_each_step(Reset::Srst, 37, |rig| rig.write_only(Way::WORDS, 999, &payload(2, 999, 3)));
    at_each_step(Reset::Srst, 37, |rig| rig.read(Way::WORDS, 999, 3));
}

#[test]
fn srst_at_some_steps_of_a_request_in_parts() {
    at_each_step(Reset::StopThenSrst, 29, |rig| {
        rig.machine.ide.channels[0].sectors_per_tick = 512;
        rig.write_only(Way::LINUX, 900, &payload(2, 900, 4096))
    });
    at_each_step(Reset::Srst, 29, |rig| {
        rig.machine.ide.channels[0].sectors_per_tick = 512;
        rig.read(Way::ODD, 900, 4096)
    });
}

#[test]
fn the_bus_master_stopped_at_every_step_and_started_again() {
    for step in 0..60 {
        let mut rig = Rig::new();
        rig.machine.ide.channels[0].sectors_per_tick = 1;
        rig.machine.budget = Some(step);
        let _ = rig.write_only(Way::LINUX, 999, &payload(2, 999, 6));
        rig.machine.budget = None;
        // The table is walked from its start again, so sectors may get the data of others; as on a bare machine.
        rig.model.may_hold_anything(999, 6);
        rig.disk().bm_stop().unwrap();
        rig.disk().bm_out(0, mediator::Width::Byte, 1).unwrap();
        (0..20).for_each(|_| rig.machine.tick());
        rig.check_platter();
        reset(&mut rig, Reset::Srst);
        rig.check();
        rig.write(Way::ODD, 999, &payload(3, 999, 6)).unwrap();
    }
}

#[test]
fn device_reset_at_every_step_of_a_packet_command() {
    for step in 0.. {
        let mut rig = Rig::new();
        rig.machine.ide.channels[1].sectors_per_tick = 1;
        rig.machine.budget = Some(step);
        let read = [0x28, 0, 0, 0, 0, 7, 0, 0, 3, 0, 0, 0];
        let outcome = rig.cd().packet_dma(read, &[(DATA, 6144)]);
        rig.machine.budget = None;
        rig.cd().device_reset().unwrap();
        rig.cd().bm_stop().unwrap();
        rig.check();
        rig.cd().packet_dma(read, &[(DATA + 2, 6144)]).unwrap();
        assert_eq!(rig.machine.ram.peek(DATA + 2 + 2048, 2048), sim::ide::atapi::block(8));
        rig.check();
        if outcome.is_ok() {
            break;
        }
    }
}

#[test]
fn a_reset_by_another_cpu_while_work_is_done_overtakes_it() {
    let only_reset = |machine: &mut sim::Machine| {
        let mut guest = sim::guest::GuestDriver::new(machine, 0, 0);
        guest.soft_reset().unwrap();
    };
    let reset_and_begin_anew = |machine: &mut sim::Machine| {
        let mut guest = sim::guest::GuestDriver::new(machine, 0, 0);
        guest.soft_reset().unwrap();
        guest.bm_stop().unwrap();
        let again = scenario::command(Way::LINUX, true, 2000, 6);
        guest.dma_start(again, true, sim::guest::SCRATCH).unwrap();
        (0..5).for_each(|_| guest.machine.tick());
    };
    for meanwhile in [only_reset as fn(&mut sim::Machine), reset_and_begin_anew] {
        for write in [true, false] {
            let mut rig = Rig::new();
            rig.model.may_hold_anything(2000, 6);
            rig.machine.meanwhile = Some(meanwhile);
            rig.machine.budget = Some(2000);
            let _ =
                if write { rig.write_only(Way::LINUX, 999, &payload(2, 999, 6)) } else { rig.read(Way::LINUX, 999, 6) };
            rig.check_platter();
            reset(&mut rig, Reset::StopThenSrst);
            rig.check();
            rig.write(Way::ODD, 995, &payload(3, 995, 20)).unwrap();
            rig.read(Way::BIOS, 995, 20).unwrap();
        }
    }
}
