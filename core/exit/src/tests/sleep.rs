//! The guest's way to sleep.

use super::mock::PortEvent::{Read, Write};
use super::mock::*;
use crate::*;
use ::sleep::{State, Types};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::{Byte, Dword, Word};
use std::sync::atomic::{AtomicUsize, Ordering};

const A: u16 = 0x604;
const B: u16 = 0xb004;
const S1: u64 = 0x2001 | 6 << 10;
const S3: u64 = 0x2001 | 1 << 10;
const S4: u64 = 0x2001 | 2 << 10;
const S5: u64 = 0x2001;
const NAMELESS: u64 = 0x2001 | 5 << 10;

fn types() -> Types {
    let mut types = Types::default();
    for (digit, value) in [(b'1', 6), (b'3', 1), (b'4', 2), (b'5', 0)] {
        types.scan(&[0x08, b'_', b'S', digit, b'_', 0x12, 0x06, 0x02, 0x0a, value, 0x0a, value]);
    }
    types
}

fn machine_with(b: Option<u16>) -> (MockMachine, Cpu<'static>) {
    let mut machine = MockMachine::new();
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.bus.guard_sleep(&mut machine, SleepPorts { a: A, b, types: types() });
    assert!([A, A + 1].iter().all(|port| machine.intercepted.contains(port)));
    machine.events();
    (machine, cpu_of(guest))
}

/// OUT, and what follows it.
fn out(cpu: &mut Cpu<'_>, machine: &mut MockMachine, port: u16, width: mediator::Width, value: u64) -> Outcome {
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rax, value);
    vcpu.io = Some(port_access(port, width, false));
    let outcome = cpu.on_exit(&mut vcpu, machine, Exit::Io);
    assert_eq!(vcpu.ended, 1, "the guest goes on behind its write, if it does");
    outcome
}

#[test]
fn s3_and_power_off_are_left_to_the_vmm() {
    for (value, state) in [(S3, State::Suspended), (S4, State::Off), (S5, State::Off)] {
        let (mut machine, mut cpu) = machine_with(None);
        assert_eq!(out(&mut cpu, &mut machine, A, Word, value), Outcome::Sleep);
        assert_eq!(machine.events(), [], "nothing has been written");
        let request = cpu.guest.bus.take_sleep().unwrap();
        assert_eq!(request.state, state);
        assert_eq!(cpu.guest.bus.take_sleep(), None, "a request is there for one CPU");
        request.perform(machine.ports());
        assert_eq!(machine.events(), [Write(A, Word, value as u32)]);
    }
}

#[test]
fn what_puts_nothing_to_sleep_passes() {
    let (mut machine, mut cpu) = machine_with(None);
    for (width, value) in [(Word, S3 & !0x2000), (Byte, 0x25), (Word, 0x0001)] {
        assert_eq!(out(&mut cpu, &mut machine, A, width, value), Outcome::Resume);
        assert_eq!(machine.events(), [Write(A, width, value as u32)]);
    }
    assert_eq!(out(&mut cpu, &mut machine, A + 2, Word, S3), Outcome::Resume, "it is not the register");
    machine.events();
    machine.ports.values.insert(A, 0x01);
    read_port(&mut cpu, &mut machine, A, Word);
    assert_eq!(machine.events(), [Read(A, Word)]);
}

#[test]
fn s1_which_keeps_the_cpu_is_the_hardwares() {
    let (mut machine, mut cpu) = machine_with(None);
    assert_eq!(out(&mut cpu, &mut machine, A, Word, S1), Outcome::Resume);
    assert_eq!(machine.events(), [Write(A, Word, S1 as u32)]);
}

#[test]
fn the_upper_byte_alone_is_enough() {
    let (mut machine, mut cpu) = machine_with(None);
    assert_eq!(out(&mut cpu, &mut machine, A + 1, Byte, S3 >> 8), Outcome::Sleep);
    cpu.guest.bus.take_sleep().unwrap().perform(machine.ports());
    assert_eq!(machine.events(), [Write(A + 1, Byte, (S3 >> 8) as u32)]);
}

#[test]
fn an_access_that_holds_more_than_the_register_is_seen_too() {
    for (port, width, value) in
        [(A, Dword, S3), (A - 1, Dword, S3 << 8), (A - 2, Dword, S3 << 16), (A + 1, Word, S3 >> 8)]
    {
        let (mut machine, mut cpu) = machine_with(None);
        assert_eq!(out(&mut cpu, &mut machine, port, width, value), Outcome::Sleep, "{port:#x} {width:?}");
        let slept = machine.events().contains(&Write(A + 1, Byte, (S3 >> 8) as u32));
        assert!(!slept, "{port:#x} {width:?}");
    }
}

#[test]
fn a_type_without_a_name_is_refused() {
    let (mut machine, mut cpu) = machine_with(None);
    for _ in 0..2 {
        assert_eq!(out(&mut cpu, &mut machine, A, Word, NAMELESS), Outcome::Resume);
        assert_eq!(out(&mut cpu, &mut machine, A + 1, Byte, NAMELESS >> 8), Outcome::Resume);
    }
    assert_eq!(machine.events(), []);
    assert_eq!(cpu.guest.bus.take_sleep(), None);
    let told = log_lines().into_iter().filter(|line| line.contains("SLP_TYP 5")).count();
    assert_eq!(told, 1);
}

#[test]
fn where_suspending_is_denied_nothing_is_written_and_the_log_tells_why_once() {
    let mut machine = MockMachine::new();
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.bus.guard_sleep(&mut machine, SleepPorts { a: A, b: None, types: types() });
    guest.bus.deny_suspend("a test");
    let mut cpu = cpu_of(guest);
    log_lines();
    for _ in 0..2 {
        assert_eq!(out(&mut cpu, &mut machine, A, Word, S3), Outcome::Resume);
    }
    assert_eq!((machine.events(), cpu.guest.bus.take_sleep()), (Vec::new(), None));
    assert_eq!(log_lines().iter().filter(|line| line.contains("a test")).count(), 1);
    assert_eq!(out(&mut cpu, &mut machine, A, Word, S5), Outcome::Sleep, "the machine can still be switched off");
}

#[test]
fn with_two_registers_both_are_waited_for_and_written_in_their_order() {
    let (mut machine, mut cpu) = machine_with(Some(B));
    assert_eq!(out(&mut cpu, &mut machine, A, Word, S3), Outcome::Resume);
    assert_eq!(machine.events(), []);
    assert_eq!(out(&mut cpu, &mut machine, B, Word, S3), Outcome::Sleep);
    cpu.guest.bus.take_sleep().unwrap().perform(machine.ports());
    assert_eq!(machine.events(), [Write(A, Word, S3 as u32), Write(B, Word, S3 as u32)]);
    // Neither b alone, nor a type that means nothing there.
    assert_eq!(out(&mut cpu, &mut machine, B, Word, S3), Outcome::Resume);
    assert_eq!(out(&mut cpu, &mut machine, A, Word, S3), Outcome::Resume);
    assert_eq!(out(&mut cpu, &mut machine, B, Word, NAMELESS), Outcome::Resume);
    assert_eq!(machine.events(), []);
}

#[test]
fn two_registers_that_disagree_are_taken_for_the_one_that_keeps_the_memory() {
    let (mut machine, mut cpu) = machine_with(Some(B));
    out(&mut cpu, &mut machine, A, Word, S5);
    assert_eq!(out(&mut cpu, &mut machine, B, Word, S3), Outcome::Sleep);
    assert_eq!(cpu.guest.bus.take_sleep().unwrap().state, State::Suspended);
}

#[test]
fn outs_puts_nothing_to_sleep() {
    let (mut machine, cpu) = machine_with(None);
    let _ = cpu.guest.bus.write_string(&mut machine, A, Word, &(S3 as u16).to_le_bytes());
    assert_eq!(machine.events(), []);
    assert_eq!(cpu.guest.bus.take_sleep(), None);
}

#[test]
fn after_waking_up_a20_and_the_configuration_address_are_those_of_a_reset_and_mediators_are_told() {
    let mut machine = MockMachine::new();
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let on_resume = Box::new(move |_: &mut mediator::Ctx<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut cpu = cpu_with(&mut machine, Script { on_resume, ..Script::default() });
    write_port(&mut cpu, &mut machine, 0x92, Byte, 0);
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xdd);
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xd0);
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, 0x8000_0940);
    machine.ports.values.insert(0xcf8, 0);
    machine.ports.values.insert(0x60, 0);
    let frozen = cpu.guest.bus.on_suspend(&mut machine);
    cpu.guest.bus.on_resume(&mut machine, &frozen);
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x92, Byte) & 2, 2);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x60, Byte), 0, "no answer of the keyboard controller is awaited");
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcf8, Dword), 0);
    let events: Vec<_> = machine.events();
    assert!(!events.is_empty());
}
