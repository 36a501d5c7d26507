//! Mediated regions: owners, verdicts, work, hooks and refusals.

use super::mock::*;
use crate::*;
use PortEvent::{Read, Write};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::{Byte, Dword, Word};
use mediator::pci::{Bdf, Function, Place};
use mediator::{
    Access, BusAddr, ConfigAccess, Ctx, Direction, Gpa, GuestSegment, HookConflict, Op, RegionId, Verdict, Violation,
    Width, Work,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

type Moves = Arc<Mutex<Vec<Result<(), HookConflict>>>>;
type Answer = Result<Verdict, Violation>;

fn guest(on_access: impl FnMut(&mut Ctx<'_>, Access) -> Answer + Send + 'static) -> (MockMachine, Cpu<'static>) {
    let mut machine = MockMachine::new();
    let cpu = cpu_with(&mut machine, Script { on_access: Box::new(on_access), ..Script::default() });
    (machine, cpu)
}

const BAD: Violation = Violation { what: "bad", detail: 1 };

#[test]
fn attached_regions_are_hooked() {
    let (machine, _) = guest(|_, _| Ok(Verdict::Done));
    for ports in [0x1f0..0x1f8, 0x3f6..0x3f7, 0xc000..0xc010] {
        assert!(ports.into_iter().all(|port| machine.intercepted.contains(&port)));
    }
}

#[test]
fn access_reaches_its_region_decoded() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    let (mut machine, mut cpu) = guest(move |_, access| {
        record.lock().unwrap().push(access);
        Ok(if access.op == Op::Read { Verdict::Value(0x1_2345_6789) } else { Verdict::Done })
    });
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f0, Word), 0x6789);
    write_port(&mut cpu, &mut machine, 0xc004, Dword, 0xffff_ffff_8765_4321);
    write_port(&mut cpu, &mut machine, 0x1f7, Byte, 0xec20);
    let access = |region, offset, width, op| Access { region, offset, width, op };
    assert_eq!(
        *asked.lock().unwrap(),
        [
            access(COMMAND, 0, Word, Op::Read),
            access(BUS_MASTER, 4, Dword, Op::Write(0x8765_4321)),
            access(COMMAND, 7, Byte, Op::Write(0x20)),
        ]
    );
    assert_eq!(machine.events(), []);
}

#[test]
fn passthrough_performs_the_access_as_it_is() {
    let (mut machine, mut cpu) = guest(|_, _| Ok(Verdict::Passthrough));
    machine.ports.values.insert(0x1f7, 0x50);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Byte), 0x50);
    write_port(&mut cpu, &mut machine, 0x1f6, Byte, 0xe0);
    assert_eq!(machine.events(), [Read(0x1f7, Byte), Write(0x1f6, Byte, 0xe0)]);
}

#[test]
fn read_keeps_the_rest_of_rax_as_its_width_wants() {
    let (mut machine, mut cpu) = guest(|_, _| Ok(Verdict::Value(0)));
    for (width, left) in [(Byte, !0xff), (Word, !0xffff), (Dword, 0)] {
        let mut vcpu = MockVcpu::long();
        vcpu.set(Gpr::Rax, u64::MAX);
        vcpu.io = Some(port_access(0x1f0, width, true));
        cpu.on_exit(&mut vcpu, &mut machine, Exit::Io);
        assert_eq!(vcpu.get(Gpr::Rax), left);
    }
}

#[test]
fn access_across_two_owners_is_split_into_bytes() {
    let (mut machine, mut cpu) = guest(|_, access| Ok(Verdict::Value(u64::from(access.offset) | 0xa0)));
    machine.ports.values.insert(0x1f8, 0x55);
    // 1F7 is the mediator's, 1F8 is free.
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Word), 0x55a7);
    // 3F5 is free, 3F6 the mediator's, 3F7 free, 3F8 hidden.
    assert_eq!(read_port(&mut cpu, &mut machine, 0x3f5, Dword), 0xff00_a000);
    assert_eq!(machine.events(), [Read(0x1f8, Byte), Read(0x3f5, Byte), Read(0x3f7, Byte)]);
}

#[test]
fn access_past_the_last_port_finds_nothing_there() {
    let (mut machine, mut cpu) = guest(|_, _| Ok(Verdict::Done));
    assert_eq!(read_port(&mut cpu, &mut machine, 0xffff, Dword), 0xffff_ff00);
    write_port(&mut cpu, &mut machine, 0xffff, Word, 0x1234);
    assert_eq!(machine.events(), [Read(0xffff, Byte), Write(0xffff, Byte, 0x34)]);
}

#[test]
fn violation_reads_ones_writes_nothing_and_is_logged_once_per_kind() {
    let (mut machine, mut cpu) = guest(|_, access| {
        Err(Violation { what: if access.op == Op::Read { "bad read" } else { "bad write" }, detail: 0 })
    });
    log_lines();
    for _ in 0..3 {
        assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Byte), 0xff);
        write_port(&mut cpu, &mut machine, 0x1f7, Byte, 0);
    }
    assert_eq!(machine.events(), []);
    let lines = log_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("mock 00:01.1") && lines[0].contains("bad read"));
}

#[test]
fn answer_that_does_not_fit_is_refused() {
    let (mut machine, mut cpu) = guest(|_, access| {
        Ok(if access.offset == 1 {
            Verdict::Again
        } else if access.op == Op::Read {
            Verdict::Done
        } else {
            Verdict::Value(0)
        })
    });
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f0, Byte), 0xff);
    write_port(&mut cpu, &mut machine, 0x1f0, Byte, 0);
    // Again without work.
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f1, Byte), 0xff);
    assert_eq!(machine.events(), []);
}

#[test]
fn again_without_work_is_asked_until_there_is_an_answer_and_for_a_second_at_most() {
    log_lines();
    for answers in [true, false] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let (mut machine, mut cpu) = guest(move |_, _| {
            let before = count.fetch_add(1, Ordering::Relaxed);
            Ok(if answers && before == 3 { Verdict::Value(0x50) } else { Verdict::Again })
        });
        machine.now_ns.set(0);
        let read = read_port(&mut cpu, &mut machine, 0x1f7, Byte);
        if answers {
            assert_eq!((read, asked.load(Ordering::Relaxed)), (0x50, 4));
        } else {
            assert_eq!(read, 0xff);
            assert!((1_000_000_000..2_000_000_000).contains(&machine.now_ns.get()));
            assert!(log_lines().iter().any(|line| line.contains("again and again")));
        }
    }
}

#[test]
fn mediator_finds_nothing_past_its_own_registers() {
    let (mut machine, mut cpu) = guest(|cx, _| {
        cx.device.write(COMMAND, 8, Byte, 1);
        cx.device.write(COMMAND, 7, Word, 1);
        cx.device.write(COMMAND, u32::MAX, Dword, 1);
        cx.device.write(RegionId(9), 0, Byte, 1);
        Ok(Verdict::Value(cx.device.read(COMMAND, 6, Dword) & cx.device.read(RegionId(255), 0, Byte)))
    });
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Byte), 0xff);
    assert_eq!(machine.events(), []);
}

fn counting_guest(
    violation: impl Fn(usize) -> Violation + Send + 'static,
) -> (MockMachine, Cpu<'static>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (machine, cpu) = guest(move |_, _| Err(violation(count.fetch_add(1, Ordering::Relaxed))));
    (machine, cpu, asked)
}

#[test]
fn guest_that_hunts_for_holes_loses_the_controller() {
    let (mut machine, mut cpu, asked) = counting_guest(|n| Violation { what: "bad", detail: n as u64 });
    for _ in 0..10_005 {
        assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Byte), 0xff);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 10_000);
    write_port(&mut cpu, &mut machine, 0xc000, Byte, 0);
    assert_eq!(asked.load(Ordering::Relaxed), 10_000);
    assert_eq!(machine.events(), []);
}

#[test]
fn guest_that_polls_a_refused_register_keeps_the_controller() {
    let (mut machine, mut cpu, asked) = counting_guest(|_| BAD);
    for _ in 0..20_000 {
        read_port(&mut cpu, &mut machine, 0x1f7, Byte);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 20_000);
}

pub(super) fn copy_work(tag: u32) -> Work {
    Work {
        tag,
        direction: Direction::DeviceToGuest,
        guest: alloc::vec![GuestSegment { at: Gpa(0x2000), len_bytes: 4 }],
        bounce: BusAddr(0x100),
        len_bytes: 4,
        runs: Vec::new(),
    }
}

#[test]
fn work_is_performed_handed_back_and_then_the_mediator_is_asked_again() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (asked, done) = (Arc::clone(&log), Arc::clone(&log));
    let on_access = Box::new(move |cx: &mut Ctx<'_>, _| {
        asked.lock().unwrap().push("asked");
        if asked.lock().unwrap().len() > 1 {
            return Ok(Verdict::Value(0x50));
        }
        cx.push(copy_work(1));
        cx.push(copy_work(2));
        Ok(Verdict::Again)
    });
    let on_work_done = Box::new(move |_: &mut Ctx<'_>, work: Work, result| {
        assert_eq!(result, Ok(()));
        done.lock().unwrap().push(if work.tag == 1 { "done 1" } else { "done 2" });
    });
    let mut machine = MockMachine::new();
    machine.arena.0[0x100..0x104].copy_from_slice(b"data");
    let mut cpu = cpu_with(&mut machine, Script { on_access, on_work_done, ..Script::default() });
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Byte), 0x50);
    assert_eq!(*log.lock().unwrap(), ["asked", "done 1", "done 2", "asked"]);
    assert_eq!(machine.memory.bytes[0x2000..0x2004], *b"data");
}

#[test]
fn an_access_with_work_does_not_pass() {
    let on_access = Box::new(|cx: &mut Ctx<'_>, _| {
        cx.push(copy_work(1));
        Ok(Verdict::Passthrough)
    });
    let on_work_done = Box::new(|cx: &mut Ctx<'_>, _: Work, _| cx.device.write(COMMAND, 7, Byte, 0xee));
    let mut machine = MockMachine::new();
    let mut cpu = cpu_with(&mut machine, Script { on_access, on_work_done, ..Script::default() });
    write_port(&mut cpu, &mut machine, 0xc000, Byte, 1);
    assert_eq!(machine.events(), [Write(0x1f7, Byte, 0xee)]);
}

#[test]
fn work_that_cannot_be_done_comes_back_as_an_error() {
    let result = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&result);
    let on_access = Box::new(|cx: &mut Ctx<'_>, _| {
        let mut work = copy_work(1);
        work.guest[0].at = Gpa(VMM.start);
        cx.push(work);
        Ok(Verdict::Value(0))
    });
    let on_work_done = Box::new(move |_: &mut Ctx<'_>, _: Work, result| *seen.lock().unwrap() = Some(result));
    let mut machine = MockMachine::new();
    let mut cpu = cpu_with(&mut machine, Script { on_access, on_work_done, ..Script::default() });
    read_port(&mut cpu, &mut machine, 0x1f7, Byte);
    assert!(matches!(*result.lock().unwrap(), Some(Err(_))));
}

#[test]
fn mediator_that_never_ends_cannot_hang_the_vmm() {
    let on_access = Box::new(|cx: &mut Ctx<'_>, _| {
        cx.push(copy_work(1));
        Ok(Verdict::Again)
    });
    let mut machine = MockMachine::new();
    let mut cpu = cpu_with(&mut machine, Script { on_access, ..Script::default() });
    assert_eq!(read_port(&mut cpu, &mut machine, 0x1f7, Byte), 0xff);

    let on_access = Box::new(|cx: &mut Ctx<'_>, _| {
        cx.push(copy_work(1));
        Ok(Verdict::Value(1))
    });
    let on_work_done = Box::new(|cx: &mut Ctx<'_>, work, _| cx.push(work));
    let mut machine = MockMachine::new();
    let mut cpu = cpu_with(&mut machine, Script { on_access, on_work_done, ..Script::default() });
    log_lines();
    read_port(&mut cpu, &mut machine, 0x1f7, Byte);
    assert!(log_lines()[0].contains("work without end"));
}

#[test]
fn work_beyond_the_limit_comes_back_undone() {
    let results = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&results);
    let on_access = Box::new(|cx: &mut Ctx<'_>, _| {
        (0..1030).for_each(|_| cx.push(copy_work(1)));
        Ok(Verdict::Value(1))
    });
    let on_work_done = Box::new(move |_: &mut Ctx<'_>, _: Work, result| record.lock().unwrap().push(result));
    let mut machine = MockMachine::new();
    let mut cpu = cpu_with(&mut machine, Script { on_access, on_work_done, ..Script::default() });
    read_port(&mut cpu, &mut machine, 0x1f7, Byte);
    let results = results.lock().unwrap();
    let (done, undone) = results.split_at(1024);
    assert!(done.iter().all(Result::is_ok));
    assert_eq!(undone, [Err(mediator::WorkError::TooMuch); 6], "what they hold is not lost");
}

/// A guest whose mediator tries to move a region at each access and each configuration access, and tells the results.
fn moving_guest(region: RegionId, base: Option<u16>) -> (MockMachine, Cpu<'static>, Moves) {
    let results = Arc::new(Mutex::new(Vec::new()));
    let [by_access, by_config] = [(); 2].map(|()| Arc::clone(&results));
    let on_access = Box::new(move |cx: &mut Ctx<'_>, access: Access| {
        if access.op == Op::Read {
            return Ok(Verdict::Value(0x77));
        }
        by_access.lock().unwrap().push(cx.hooks.move_region(region, base.map(Place::Port)));
        Ok(Verdict::Done)
    });
    let on_config = Box::new(move |cx: &mut Ctx<'_>, access: ConfigAccess| {
        by_config.lock().unwrap().push(cx.hooks.move_region(region, base.map(Place::Port)));
        // The device finds its registers where they lie now.
        cx.device.write(BUS_MASTER, 0, Byte, 9);
        Ok(if access.op == Op::Read { Verdict::Value(0) } else { Verdict::Done })
    });
    let mut machine = MockMachine::new();
    let cpu = cpu_with(&mut machine, Script { on_access, on_config, ..Script::default() });
    (machine, cpu, results)
}

/// Writes to the configuration space of the mediator's function.
fn configure(cpu: &mut Cpu<'_>, machine: &mut MockMachine) {
    write_port(cpu, machine, 0xcf8, Dword, 0x8000_0920);
    write_port(cpu, machine, 0xcfc, Dword, 0);
}

#[test]
fn regions_are_moved_by_writes_to_configuration_space_alone_and_while_the_other_cpus_stand() {
    let (mut machine, mut cpu, results) = moving_guest(BUS_MASTER, Some(0xd000));
    write_port(&mut cpu, &mut machine, 0x1f6, Byte, 0);
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, 0x8000_0920);
    read_port(&mut cpu, &mut machine, 0xcfc, Dword);
    assert_eq!((machine.stops, results.lock().unwrap().split_off(0)), (0, [Err(HookConflict); 2].into()));
    configure(&mut cpu, &mut machine);
    assert_eq!((machine.stops, results.lock().unwrap().split_off(0)), (1, [Ok(())].into()));
    // Nobody else's configuration stops anybody.
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, 0x8000_1020);
    write_port(&mut cpu, &mut machine, 0xcfc, Dword, 0);
    assert_eq!(machine.stops, 1);
}

/// Ports whose accesses leave the guest.
fn intercepted_from(first: u16, machine: &MockMachine) -> Vec<u16> {
    machine.intercepted.range(first..).copied().collect()
}

#[test]
fn moved_region_leads_to_the_mediator_and_the_old_ports_are_free() {
    let (mut machine, mut cpu, results) = moving_guest(BUS_MASTER, Some(0xc008));
    configure(&mut cpu, &mut machine);
    assert_eq!(*results.lock().unwrap(), [Ok(())]);
    assert_eq!(intercepted_from(0xc000, &machine), (0xc008..0xc018).collect::<Vec<_>>());
    assert_eq!(machine.events(), [Write(0xc008, Byte, 9)]);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xc017, Byte), 0x77);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xc000, Byte), 0);
    assert_eq!(machine.events(), [Read(0xc000, Byte)]);
}

#[test]
fn region_moved_away_is_nowhere() {
    let (mut machine, mut cpu, _) = moving_guest(BUS_MASTER, None);
    configure(&mut cpu, &mut machine);
    assert_eq!(intercepted_from(0xc000, &machine), []);
    assert_eq!(machine.events(), []);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xc000, Byte), 0);
    assert_eq!(machine.events(), [Read(0xc000, Byte)]);
}

#[test]
fn region_cannot_be_moved_over_what_is_guarded_or_past_the_last_port() {
    for base in [0x1f0, 0x1e8, 0x3f0, 0x92, 0x58, 0xcf8, 0xfff8] {
        let (mut machine, mut cpu, results) = moving_guest(BUS_MASTER, Some(base));
        configure(&mut cpu, &mut machine);
        assert_eq!(*results.lock().unwrap(), [Err(HookConflict)], "{base:#x}");
        assert_eq!(intercepted_from(0xc000, &machine), (0xc000..0xc010).collect::<Vec<_>>());
        assert_eq!(read_port(&mut cpu, &mut machine, 0xc000, Byte), 0x77);
    }
    let (mut machine, mut cpu, results) = moving_guest(RegionId(9), Some(0xd000));
    configure(&mut cpu, &mut machine);
    assert_eq!(*results.lock().unwrap(), [Err(HookConflict)]);
}

#[test]
fn second_controller_on_the_same_ports_is_refused() {
    let mut machine = MockMachine::new();
    let mut guest = guest_with(&mut machine, Script::default());
    let second = Function { bdf: Bdf { bus: 0, device: 2, function: 0 }, ..IDE };
    super::mock::set_next(Script::default());
    assert!(guest.bus.attach(&mut machine, &DRIVER, &second).is_err());
    assert_eq!(guest.bus.disk_controllers().count(), 1);
}

#[test]
fn controller_behind_a_bridge_is_refused() {
    let mut machine = MockMachine::new();
    let mut guest = Guest::new(&mut machine, policy(), false);
    super::mock::set_next(Script::default());
    let behind = Function { bdf: Bdf { bus: 1, device: 2, function: 0 }, ..IDE };
    assert!(guest.bus.attach(&mut machine, &DRIVER, &behind).is_err());
    assert_eq!(intercepted_from(0, &machine), []);
}

#[test]
fn widths_have_the_owners_of_all_their_ports() {
    let (mut machine, mut cpu) = guest(|_, access| Ok(Verdict::Value(access.width.bytes() as u64)));
    for (port, width) in [(0x1f0, Width::Dword), (0x1f4, Dword), (0x1f6, Word), (0xc00c, Dword)] {
        assert_eq!(read_port(&mut cpu, &mut machine, port, width), width.bytes() as u64);
    }
}
