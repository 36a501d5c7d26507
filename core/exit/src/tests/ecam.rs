//! Configuration space in memory: the same answers as by the ports, and no way round them.

use super::mock::*;
use crate::*;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::pci::{Bdf, Place};
use mediator::{ConfigAccess, Gpa, Op, Verdict, Violation, Width};
use std::sync::Mutex;

const WINDOW: u64 = 0xb000_0000;
/// The page of [`IDE`], 00:01.1.
const PAGE: u64 = WINDOW + 0x9000;
const BRIDGE: Bdf = Bdf { bus: 0, device: 0, function: 0 };

type Asked = Arc<Mutex<Vec<ConfigAccess>>>;

/// A guest whose mediator answers by `verdict`, with what it was asked.
fn guest(
    machine: &mut MockMachine,
    verdict: impl Fn(ConfigAccess) -> Result<Verdict, Violation> + Send + 'static,
) -> (Cpu<'static>, Asked) {
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    let on_config = Box::new(move |_: &mut mediator::Ctx<'_>, access| {
        log.lock().unwrap().push(access);
        verdict(access)
    });
    let mut guest = guest_with(machine, Script { on_config, ..Script::default() });
    guest.freeze_config(FrozenRegisters { function: BRIDGE, registers: 0x60..=0x67, what: "move it" });
    guest.guard_config_window(&ConfigWindow { base: Gpa(WINDOW), buses: 0..=255 }).unwrap();
    machine.device_memory.events.clear();
    (cpu_of(guest), asked)
}

/// Runs `code`, which has its operand at `at` in RDI and its value in RAX; gives RAX.
fn run(cpu: &mut Cpu<'_>, machine: &mut MockMachine, code: &[u8], at: u64, value: u64, write: bool) -> u64 {
    machine.memory.put(0x1000, code);
    machine.device_memory.events.clear();
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rdi, at);
    vcpu.set(Gpr::Rax, value);
    vcpu.fault = Some(NestedFault { gpa: Gpa(at), write, fetch: false, page_walk: false, delivering: None });
    assert_eq!(cpu.on_exit(&mut vcpu, machine, Exit::NestedFault), Outcome::Resume);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1000 + code.len() as u64, 0));
    vcpu.get(Gpr::Rax)
}

const LOAD: [(&[u8], Width); 4] = [
    (&[0x8a, 0x07], Width::Byte),
    (&[0x66, 0x8b, 0x07], Width::Word),
    (&[0x8b, 0x07], Width::Dword),
    (&[0x48, 0x8b, 0x07], Width::Qword),
];
const STORE: [(&[u8], Width); 4] = [
    (&[0x88, 0x07], Width::Byte),
    (&[0x66, 0x89, 0x07], Width::Word),
    (&[0x89, 0x07], Width::Dword),
    (&[0x48, 0x89, 0x07], Width::Qword),
];

/// What was written to memory since the last instruction began.
fn writes(machine: &MockMachine) -> Vec<(u64, Width, u64)> {
    let writes = machine.device_memory.events.iter().filter_map(|event| match *event {
        MmioEvent::Write(at, width, value) => Some((at, width, value)),
        MmioEvent::Read(..) => None,
    });
    writes.collect()
}

fn passing(_: ConfigAccess) -> Result<Verdict, Violation> {
    Ok(Verdict::Passthrough)
}

#[test]
fn aligned_accesses_are_asked_as_they_are_and_then_made_in_memory() {
    let mut machine = MockMachine::new();
    let (mut cpu, asked) = guest(&mut machine, passing);
    for (code, width) in &LOAD[..3] {
        machine.device_memory.values.insert(PAGE + 0x20, 0x8765_4321);
        let read = run(&mut cpu, &mut machine, code, PAGE + 0x20, 0, false);
        assert_eq!(read, 0x8765_4321 & width.ones());
        assert_eq!(machine.device_memory.events, [MmioEvent::Read(PAGE + 0x20, *width)]);
        let access = ConfigAccess { offset: 0x20, width: *width, op: Op::Read };
        assert_eq!(core::mem::take(&mut *asked.lock().unwrap()), [access]);
    }
    for (code, width) in &STORE[..3] {
        let value = 0x1122_3344 & width.ones();
        run(&mut cpu, &mut machine, code, PAGE + 0xffc, 0x1122_3344, true);
        assert_eq!(machine.device_memory.events, [MmioEvent::Write(PAGE + 0xffc, *width, value)]);
        let access = ConfigAccess { offset: 0xffc, width: *width, op: Op::Write(value) };
        assert_eq!(core::mem::take(&mut *asked.lock().unwrap()), [access]);
    }
    assert!(machine.events().is_empty(), "no port is touched");
}

#[test]
fn what_is_no_aligned_dword_or_less_is_split_and_each_part_asked() {
    let offsets = |code: &[u8], at, write| {
        let mut machine = MockMachine::new();
        let (mut cpu, asked) = guest(&mut machine, passing);
        for byte in 0..16 {
            machine.device_memory.values.insert(PAGE + byte, 0x1111_1111 * byte);
        }
        let value = run(&mut cpu, &mut machine, code, PAGE + at, 0x8877_6655_4433_2211, write);
        let asked = asked.lock().unwrap().iter().map(|a| (a.offset, a.width, a.op)).collect::<Vec<_>>();
        assert_eq!(asked.len(), machine.device_memory.events.len());
        (asked, value)
    };
    let (asked, value) = offsets(LOAD[3].0, 4, false);
    assert_eq!(asked, [(4, Width::Dword, Op::Read), (8, Width::Dword, Op::Read)]);
    assert_eq!(value, 0x8888_8888_4444_4444);
    let (asked, value) = offsets(LOAD[1].0, 3, false);
    assert_eq!(asked, [(3, Width::Byte, Op::Read), (4, Width::Byte, Op::Read)]);
    assert_eq!(value, 0x8877_6655_4433_4433);
    let (asked, _) = offsets(STORE[2].0, 2, true);
    let bytes = [(2, 0x11), (3, 0x22), (4, 0x33), (5, 0x44)].map(|(at, byte)| (at, Width::Byte, Op::Write(byte)));
    assert_eq!(asked, bytes);
    let (asked, _) = offsets(STORE[3].0, 8, true);
    assert_eq!(asked, [(8, Width::Dword, Op::Write(0x4433_2211)), (12, Width::Dword, Op::Write(0x8877_6655))]);
    assert_eq!(offsets(STORE[3].0, 9, true).0.len(), 8);
}

#[test]
fn the_mediators_answer_stands_and_refused_accesses_touch_nothing() {
    let mut machine = MockMachine::new();
    let (mut cpu, _) = guest(&mut machine, |access| match (access.offset, access.op) {
        (0x10, Op::Read) => Ok(Verdict::Value(0xabcd)),
        (0x10, _) => Ok(Verdict::Done),
        _ => Err(Violation { what: "test", detail: 0 }),
    });
    assert_eq!(run(&mut cpu, &mut machine, LOAD[2].0, PAGE + 0x10, 0, false), 0xabcd);
    run(&mut cpu, &mut machine, STORE[2].0, PAGE + 0x10, 5, true);
    assert!(machine.device_memory.events.is_empty());
    assert_eq!(run(&mut cpu, &mut machine, LOAD[2].0, PAGE + 0x14, 0, false), 0xffff_ffff);
    assert_eq!(run(&mut cpu, &mut machine, LOAD[0].0, PAGE + 0x14, 0, false), 0xff);
    run(&mut cpu, &mut machine, STORE[2].0, PAGE + 0x14, 5, true);
    assert!(machine.device_memory.events.is_empty());
}

#[test]
fn registers_that_place_the_window_are_frozen_in_memory_and_by_ports() {
    let bridge = WINDOW;
    for (offset, width, refused) in [
        (0x5c, 2, false),
        (0x5d, 2, true), // 5Dh to 60h
        (0x5c, 3, true), // the qword's second half
        (0x60, 0, true),
        (0x63, 0, true),
        (0x64, 2, true),
        (0x67, 0, true),
        (0x68, 2, false),
    ] {
        let mut machine = MockMachine::new();
        let (mut cpu, asked) = guest(&mut machine, passing);
        run(&mut cpu, &mut machine, STORE[width].0, bridge + offset, u64::MAX, true);
        let touched = |event: &MmioEvent| match *event {
            MmioEvent::Write(at, width, _) => at + width.bytes() as u64 > bridge + 0x60 && at < bridge + 0x68,
            MmioEvent::Read(..) => false,
        };
        assert!(!machine.device_memory.events.iter().any(touched), "{offset:x} {width}");
        let written = writes(&machine).iter().map(|&(_, width, _)| width.bytes()).sum::<usize>();
        assert_eq!(written < 1 << width, refused, "{offset:x} {width}");
        assert!(asked.lock().unwrap().is_empty());
    }
    for (address, port, width, passes) in [
        (0x8000_0060_u64, 0xcfc, Width::Dword, false),
        (0x8000_0060, 0xcff, Width::Byte, false),
        (0x8000_0064, 0xcfc, Width::Word, false),
        (0x8000_005c, 0xcfc, Width::Dword, true),
        (0x8000_0068, 0xcfc, Width::Dword, true),
        (0x8000_0160, 0xcfc, Width::Dword, true),  // function 1
        (0x0000_0060, 0xcfc, Width::Dword, true),  // no configuration access
        (0x8000_0051, 0xcfc, Width::Dword, false), // a register that depends on the chipset
        (0x8100_0050, 0xcfc, Width::Dword, false),
    ] {
        let mut machine = MockMachine::new();
        let (mut cpu, _) = guest(&mut machine, passing);
        write_port(&mut cpu, &mut machine, 0xcf8, Width::Dword, address);
        machine.events();
        write_port(&mut cpu, &mut machine, port, width, width.ones());
        let written = machine.events().contains(&PortEvent::Write(port, width, width.ones() as u32));
        assert_eq!(written, passes, "{address:x} {port:x}");
        read_port(&mut cpu, &mut machine, port, width);
        assert_eq!(machine.events().len(), 1, "reads pass");
    }
}

#[test]
fn a_write_across_the_border_of_frozen_registers_changes_what_lies_outside_as_bytes_or_dwords_would() {
    let mut machine = MockMachine::new();
    let (mut cpu, _) = guest(&mut machine, passing);
    run(&mut cpu, &mut machine, STORE[3].0, WINDOW + 0x5c, 0x2222_2222_1111_1111, true);
    assert_eq!(writes(&machine), [(WINDOW + 0x5c, Width::Dword, 0x1111_1111)]);
    run(&mut cpu, &mut machine, STORE[2].0, WINDOW + 0x66, 0x4433_2211, true);
    assert_eq!(writes(&machine), [(WINDOW + 0x68, Width::Byte, 0x33), (WINDOW + 0x69, Width::Byte, 0x44)]);
}

#[test]
fn a_write_that_leaves_frozen_registers_as_they_are_passes_and_one_that_does_not_is_told_once() {
    let mut machine = MockMachine::new();
    let (mut cpu, _) = guest(&mut machine, passing);
    machine.device_memory.values.insert(WINDOW + 0x60, 0xb000_0001);
    run(&mut cpu, &mut machine, STORE[2].0, WINDOW + 0x60, 0xb000_0001, true);
    assert_eq!(writes(&machine), [(WINDOW + 0x60, Width::Dword, 0xb000_0001)]);
    machine.ports.values.insert(0xcfe, 0x12);
    write_port(&mut cpu, &mut machine, 0xcf8, Width::Dword, 0x8000_0060);
    machine.events();
    let events = |machine: &mut MockMachine, cpu: &mut Cpu<'_>, value| {
        write_port(cpu, machine, 0xcfc, Width::Dword, value);
        machine.events().into_iter().filter(|event| matches!(event, PortEvent::Write(..))).collect::<Vec<_>>()
    };
    assert_eq!(events(&mut machine, &mut cpu, 0x12_0000), [PortEvent::Write(0xcfc, Width::Dword, 0x12_0000)]);
    log_lines();
    for _ in 0..2 {
        assert_eq!(events(&mut machine, &mut cpu, 0x13_0000), []);
    }
    assert_eq!(log_lines().iter().filter(|line| line.contains("00:00.0") && line.contains("move it")).count(), 1);
}

#[test]
fn frozen_registers_that_the_firmware_changes_while_the_machine_sleeps_are_put_back_the_last_one_first() {
    let mut machine = MockMachine::new();
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.bus.guard_platform(&mut machine);
    guest.freeze_config(FrozenRegisters { function: BRIDGE, registers: 0x60..=0x63, what: "test" });
    for (port, value) in [(0xcfc, 1), (0xcfd, 2), (0xcfe, 3), (0xcff, 4)] {
        machine.ports.values.insert(port, value);
    }
    let frozen = guest.bus.on_suspend(&mut machine);
    machine.ports.values.insert(0xcfc, 0);
    machine.ports.values.insert(0xcff, 0);
    machine.events();
    guest.bus.on_resume(&mut machine, &frozen);
    let data = |event: &PortEvent| matches!(event, PortEvent::Write(0xcfc..=0xcff, ..));
    let written: Vec<_> = machine.events().into_iter().filter(data).collect();
    assert_eq!(written, [PortEvent::Write(0xcff, Width::Byte, 4), PortEvent::Write(0xcfc, Width::Byte, 1)]);
    assert_eq!(machine.ports.config_address & 0xffff_ff00, 0x8000_0000);
}

#[test]
fn several_ranges_of_one_function_and_those_of_another_are_frozen_and_each_function_hooked_once() {
    let mut machine = MockMachine::new();
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.bus.guard_platform(&mut machine);
    let power = Bdf { bus: 0, device: 0x1f, function: 0 };
    for (function, registers) in [(BRIDGE, 0x60..=0x67), (power, 0x40..=0x44), (BRIDGE, 0x90..=0x96)] {
        guest.freeze_config(FrozenRegisters { function, registers, what: "test" });
    }
    guest.guard_config_window(&ConfigWindow { base: Gpa(WINDOW), buses: 0..=0 }).unwrap();
    let power_page = WINDOW + 0xf_8000;
    let pages: Vec<_> = guest.hooked_pages().collect();
    assert_eq!(pages, [(Gpa(WINDOW), Hook::Writes), (Gpa(power_page), Hook::Writes)]);
    let mut cpu = cpu_of(guest);
    let places =
        [(WINDOW + 0x67, 0), (WINDOW + 0x68, 1), (WINDOW + 0x96, 0), (power_page + 0x44, 0), (power_page + 0x60, 1)];
    for (at, passes) in places {
        run(&mut cpu, &mut machine, STORE[0].0, at, 1, true);
        assert_eq!(writes(&machine).len(), passes, "{at:x}");
    }
    for (address, passes) in [(0x8000_0094_u64, 0), (0x8000_0098, 1), (0x8000_f844, 0), (0x8000_f860, 1)] {
        write_port(&mut cpu, &mut machine, 0xcf8, Width::Dword, address);
        machine.events();
        write_port(&mut cpu, &mut machine, 0xcfc, Width::Byte, 1);
        let events = machine.events();
        assert_eq!(events.iter().filter(|event| matches!(event, PortEvent::Write(..))).count(), passes, "{address:x}");
    }
}

#[test]
fn pages_of_guarded_functions_and_of_the_bridge_are_hooked() {
    let mut machine = MockMachine::new();
    let (cpu, _) = guest(&mut machine, passing);
    let pages: Vec<_> = cpu.guest.hooked_pages().collect();
    assert_eq!(pages, [(Gpa(PAGE), Hook::All), (Gpa(WINDOW), Hook::Writes)]);
}

#[test]
fn windows_of_other_buses_hook_nothing_and_windows_above_4_gib_are_refused() {
    let mut machine = MockMachine::new();
    let mut guest = guest_with(&mut machine, Script::default());
    guest.guard_config_window(&ConfigWindow { base: Gpa(WINDOW), buses: 1..=255 }).unwrap();
    guest.guard_config_window(&ConfigWindow { base: Gpa(1 << 40), buses: 1..=255 }).unwrap();
    assert_eq!(guest.hooked_pages().count(), 0);
    for base in [1 << 32, (1 << 32) - 0x9000, u64::MAX - 0xfff] {
        let window = ConfigWindow { base: Gpa(base), buses: 0..=0 };
        assert_eq!(guest.guard_config_window(&window), Err(WindowAbove4Gib), "{base:x}");
    }
}

#[test]
fn registers_move_by_writes_in_memory_too_while_the_other_cpus_stand() {
    let mut machine = MockMachine::new();
    let moved = Arc::new(Mutex::new(Vec::new()));
    let results = Arc::clone(&moved);
    let on_config = Box::new(move |cx: &mut mediator::Ctx<'_>, _| {
        results.lock().unwrap().push(cx.hooks.move_region(BUS_MASTER, Some(Place::Port(0xd000))));
        Ok(Verdict::Passthrough)
    });
    let mut guest = guest_with(&mut machine, Script { on_config, ..Script::default() });
    guest.guard_config_window(&ConfigWindow { base: Gpa(WINDOW), buses: 0..=0 }).unwrap();
    let mut cpu = cpu_of(guest);
    run(&mut cpu, &mut machine, LOAD[2].0, PAGE + 0x20, 0, false);
    assert_eq!((machine.stops, moved.lock().unwrap().split_off(0)), (0, alloc::vec![Err(mediator::HookConflict)]));
    run(&mut cpu, &mut machine, STORE[2].0, PAGE + 0x20, 0xd001, true);
    assert_eq!((machine.stops, moved.lock().unwrap().split_off(0)), (1, alloc::vec![Ok(())]));
    assert!(machine.intercepted.contains(&0xd000) && !machine.intercepted.contains(&0xc000));
}
