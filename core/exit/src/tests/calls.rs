//! Hypercalls by name.

use super::mock::*;
use crate::*;
use abi::hypercall::{
    DEBUG_LOG_COUNTERS, Error, FIRST_NAMED, LOOKUP, MAX_ANSWER_BYTES, MAX_PARAMETER_BYTES, UNKNOWN, VERSION, VERSION_1,
};
use core::cell::Cell;
use std::sync::Once;

/// Gives back what it gets, reversed.
static REVERSE: Call = Call {
    name: "reverse",
    handler: |_, parameters, answer| {
        let room = answer.get_mut(..parameters.len()).ok_or(Error::BufferTooSmall)?;
        room.iter_mut().zip(parameters.iter().rev()).for_each(|(to, from)| *to = *from);
        Ok(parameters.len())
    },
};
/// Tells how large its buffers are.
static SIZES: Call = Call {
    name: "sizes",
    handler: |caller, parameters, answer| {
        assert_eq!((caller.cpu, caller.guest.counters().map(|all| all.len())), (0, Ok(1)));
        RUNS.set(RUNS.get() + 1);
        answer.fill(0xaa);
        if parameters == b"lie" { Ok(usize::MAX) } else { Ok(answer.len()) }
    },
};
std::thread_local! {
    static RUNS: Cell<usize> = const { Cell::new(0) };
}

const CODE: u64 = 0x1000;
const IN: u64 = 0x2ff0;
const OUT: u64 = 0x5ff0;

fn guest(machine: &mut MockMachine, allowed: &[(&str, Callers)]) -> Cpu<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| [&REVERSE, &SIZES].into_iter().for_each(|call| register(call).unwrap()));
    let mut guest = Guest::new(machine, policy(), false);
    allowed.iter().for_each(|(name, callers)| assert!(guest.allow_call(name, *callers)));
    cpu_of(guest)
}

const BOTH: [(&str, Callers); 2] = [("reverse", Callers::Any), ("sizes", Callers::Kernel)];

fn call(
    cpu: &mut Cpu<'_>,
    machine: &mut MockMachine,
    vcpu: &mut MockVcpu,
    number: u64,
    parameters: (u64, u64),
    answer: (u64, u64),
) -> Option<Result<u64, Error>> {
    vcpu.rip = CODE;
    vcpu.injected.clear();
    let values = [number, parameters.0, parameters.1, answer.0, answer.1];
    let registers = [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx, Gpr::Rsi];
    registers.into_iter().zip(values).for_each(|(register, value)| vcpu.set(register, value));
    assert_eq!(cpu.on_exit(vcpu, machine, Exit::Hypercall), Outcome::Resume);
    for (register, value) in registers.into_iter().zip(values).skip(1) {
        assert_eq!(vcpu.get(register), value);
    }
    let is_skipped = vcpu.rip == CODE + 3;
    assert_ne!(is_skipped, vcpu.injected.len() == 1);
    is_skipped.then(|| Error::result(vcpu.get(Gpr::Rax)))
}

fn lookup(cpu: &mut Cpu<'_>, machine: &mut MockMachine, vcpu: &mut MockVcpu, name: &str) -> Option<Result<u64, Error>> {
    machine.memory.put(0x4000, name.as_bytes());
    call(cpu, machine, vcpu, LOOKUP, (0x4000, name.len() as u64), (0, 0))
}

#[test]
fn without_a_call_that_is_allowed_to_the_caller_there_are_no_hypercalls() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    for (allowed, cpl) in [(&[][..], 0), (&[("sizes", Callers::Kernel)][..], 3)] {
        let mut cpu = guest(&mut machine, allowed);
        let mut vcpu = MockVcpu { cpl, ..MockVcpu::long() };
        assert_eq!(call(&mut cpu, &mut machine, &mut vcpu, VERSION, (0, 0), (0, 0)), None);
        assert_eq!((vcpu.rip, &vcpu.injected[..]), (CODE, &[Exception::InvalidOpcode][..]));
    }
}

#[test]
fn a_name_leads_to_a_number_for_those_who_may_make_the_call() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    let mut kernel = MockVcpu::long();
    let mut user = MockVcpu { cpl: 3, ..MockVcpu::long() };
    for vcpu in [&mut kernel, &mut user] {
        assert_eq!(call(&mut cpu, &mut machine, vcpu, VERSION, (0, 0), (0, 0)), Some(Ok(VERSION_1)));
        assert_eq!(lookup(&mut cpu, &mut machine, vcpu, "reverse"), Some(Ok(FIRST_NAMED)));
        for name in ["", "revers", "reverses", "\0"] {
            assert_eq!(lookup(&mut cpu, &mut machine, vcpu, name), Some(Err(Error::Unknown)), "{name:?}");
        }
    }
    assert_eq!(lookup(&mut cpu, &mut machine, &mut kernel, "sizes"), Some(Ok(FIRST_NAMED + 1)));
    assert_eq!(lookup(&mut cpu, &mut machine, &mut user, "sizes"), Some(Err(Error::Unknown)));
    let before = RUNS.get();
    for number in [FIRST_NAMED + 1, FIRST_NAMED + 2, FIRST_NAMED - 1, u64::MAX, DEBUG_LOG_COUNTERS] {
        assert_eq!(
            call(&mut cpu, &mut machine, &mut user, number, (0, 0), (0, 0)),
            Some(Err(Error::Unknown)),
            "{number:#x}"
        );
    }
    assert_eq!(RUNS.get(), before);
    let mut without = Guest::new(&mut machine, policy(), false);
    assert!(!without.allow_call("nothing", Callers::Any));
}

#[test]
fn parameters_and_answer_may_lie_across_pages() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    let text: std::vec::Vec<u8> = (0..4096_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    machine.memory.put(IN, &text);
    for len in [0, 1, 15, 16, 17, 4096] {
        machine.memory.bytes[OUT as usize - 8..OUT as usize + 5000].fill(0);
        let result = call(&mut cpu, &mut machine, &mut MockVcpu::long(), FIRST_NAMED, (IN, len as u64), (OUT, 4096));
        assert_eq!(result, Some(Ok(len as u64)));
        let answer: std::vec::Vec<u8> = text[..len].iter().rev().copied().collect();
        let out = OUT as usize;
        assert_eq!(machine.memory.bytes[out..out + len], answer);
        assert!(machine.memory.bytes[out + len..out + 5000].iter().all(|byte| *byte == 0), "no byte more is written");
    }
}

#[test]
fn lengths_are_bounded() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    let vcpu = &mut MockVcpu::long();
    let most = MAX_PARAMETER_BYTES as u64;
    for (parameters, answer, result) in [
        ((IN, most + 1), (OUT, most), Err(Error::TooLong)),
        ((IN, u64::MAX), (OUT, most), Err(Error::TooLong)),
        ((IN, most), (OUT, most - 1), Err(Error::BufferTooSmall)),
        ((IN, most), (OUT, u64::MAX), Ok(most)),
        ((u64::MAX, 0), (1 << 63, 0), Ok(0)),
    ] {
        assert_eq!(
            call(&mut cpu, &mut machine, vcpu, FIRST_NAMED, parameters, answer),
            Some(result),
            "{parameters:x?}"
        );
    }
    let number = FIRST_NAMED + 1;
    let result = call(&mut cpu, &mut machine, vcpu, number, (0, 0), (OUT, u64::MAX));
    assert_eq!(result, Some(Ok(MAX_ANSWER_BYTES as u64)));
    machine.memory.put(IN, b"lie");
    let result = call(&mut cpu, &mut machine, vcpu, number, (IN, 3), (OUT, 10));
    assert_eq!(result, Some(Err(Error::BufferTooSmall)), "a handler that is wrong");
}

#[test]
fn buffers_in_no_ram_are_told_before_anything_happens() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    let vcpu = &mut MockVcpu::long();
    let before = RUNS.get();
    let vmm = VMM.start;
    for (parameters, answer) in [
        ((vmm, 1), (OUT, 1)),
        ((vmm - 1, 2), (OUT, 1)),
        ((IN, 1), (vmm, 1)),
        ((IN, 1), (vmm - 4096, 4097)),
        ((IN, 1), (RAM_BYTES - 1, 2)),
    ] {
        let result = call(&mut cpu, &mut machine, vcpu, FIRST_NAMED + 1, parameters, answer);
        assert_eq!(result, Some(Err(Error::NoRam)), "{parameters:x?} {answer:x?}");
    }
    assert_eq!(RUNS.get(), before);
    assert!(machine.memory.bytes[vmm as usize..VMM.end as usize].iter().all(|byte| *byte == 0));
}

#[test]
fn addresses_that_are_none_raise_gp() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    let vcpu = &mut MockVcpu::long();
    for parameters in [(1 << 47, 1), ((1 << 47) - 1, 2), (u64::MAX, 2), (0xffff_7fff_ffff_ffff, 1)] {
        assert_eq!(call(&mut cpu, &mut machine, vcpu, FIRST_NAMED, parameters, (OUT, 1)), None);
        assert_eq!(vcpu.injected, [Exception::GeneralProtection(0)]);
    }
    let vcpu = &mut MockVcpu::protected();
    assert_eq!(call(&mut cpu, &mut machine, vcpu, FIRST_NAMED, (0xffff_ffff, 2), (OUT, 1)), None);
    assert_eq!(vcpu.injected, [Exception::GeneralProtection(0)]);
}

#[test]
fn code_that_is_not_64_bit_code_uses_lower_halves() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    machine.memory.put(IN, b"abc");
    let vcpu = &mut MockVcpu::protected();
    let high = 0xdead << 32;
    let result = call(&mut cpu, &mut machine, vcpu, high | FIRST_NAMED, (high | IN, high | 3), (high | OUT, high | 3));
    assert_eq!(result, Some(Ok(3)));
    assert_eq!(machine.memory.bytes[OUT as usize..OUT as usize + 3], *b"cba");
    call(&mut cpu, &mut machine, vcpu, 5, (0, 0), (0, 0));
    assert_eq!(vcpu.get(Gpr::Rax), UNKNOWN & 0xffff_ffff);
}

/// 4-level tables: 2 MiB at linear 0 for code and tables, and a table of small pages at 2 MiB.
fn paged(machine: &mut MockMachine, cpl: u8) -> MockVcpu {
    let (pml4, pdpt, pd, pt) = (0x10_0000, 0x10_1000, 0x10_2000, 0x10_3000);
    const PRESENT_WRITABLE_USER: u64 = 7;
    for (at, entry) in [
        (pml4, pdpt | PRESENT_WRITABLE_USER),
        (pdpt, pd | PRESENT_WRITABLE_USER),
        (pd, 0x80 | PRESENT_WRITABLE_USER),
        (pd + 8, pt | PRESENT_WRITABLE_USER),
        // Physical pages are in reverse order; see LINEAR.
        (pt, 0x20_3000 | 7),
        (pt + 8, 0x20_2000 | 7),
        (pt + 16, 0x20_1000 | 5),
        (pt + 24, 0x20_0000 | 3),
    ] {
        machine.memory.put(at, &entry.to_le_bytes());
    }
    let mut vcpu = MockVcpu { cpl, ..MockVcpu::long() };
    vcpu.control = ControlRegisters { cr0: 0x8001_0001, cr3: pml4, cr4: 1 << 5, efer: 0x500 };
    vcpu
}

/// Two pages that may be written, a read-only one, one of the kernel, none.
const LINEAR: u64 = 0x20_0000;
const READ_ONLY: u64 = LINEAR + 0x2000;
const SUPERVISOR: u64 = LINEAR + 0x3000;
const NOT_PRESENT: u64 = LINEAR + 0x4000;

#[test]
fn buffers_are_reached_with_the_rights_of_the_caller() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = guest(&mut machine, &[("reverse", Callers::Any), ("sizes", Callers::Any)]);
    let mut user = paged(&mut machine, 3);
    machine.memory.put(0x20_3ffe, b"ab");
    machine.memory.put(0x20_2000, b"cd");
    let result = call(&mut cpu, &mut machine, &mut user, FIRST_NAMED, (LINEAR + 0xffe, 4), (LINEAR + 0xffd, 16));
    assert_eq!(result, Some(Ok(4)));
    assert_eq!((&machine.memory.bytes[0x20_3ffd..0x20_4000], machine.memory.bytes[0x20_2000]), (&b"dcb"[..], b'a'));

    let before = RUNS.get();
    for (parameters, answer, error, address) in [
        ((SUPERVISOR, 1), (LINEAR, 1), 5, SUPERVISOR),
        ((SUPERVISOR - 1, 2), (LINEAR, 1), 5, SUPERVISOR),
        ((NOT_PRESENT, 1), (LINEAR, 1), 4, NOT_PRESENT),
        ((READ_ONLY, 1), (READ_ONLY, 1), 7, READ_ONLY),
        ((READ_ONLY, 1), (SUPERVISOR, 1), 7, SUPERVISOR),
        ((READ_ONLY, 1), (LINEAR + 0x1fff, 2), 7, READ_ONLY),
        ((LINEAR, 1), (NOT_PRESENT + 0x123, 1), 6, NOT_PRESENT + 0x123),
    ] {
        let result = call(&mut cpu, &mut machine, &mut user, FIRST_NAMED + 1, parameters, answer);
        assert_eq!(result, None, "{parameters:x?} {answer:x?}");
        assert_eq!(user.injected, [Exception::PageFault { error, address }], "{parameters:x?} {answer:x?}");
    }
    assert_eq!(RUNS.get(), before, "nothing has happened");
    let mut kernel = MockVcpu { cpl: 0, ..paged(&mut machine, 0) };
    let result = call(&mut cpu, &mut machine, &mut kernel, FIRST_NAMED, (SUPERVISOR, 1), (SUPERVISOR, 1));
    assert_eq!(result, Some(Ok(1)));
}

#[test]
fn a_second_call_is_found_without_decoding_and_prefixes_are_found_too() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    machine.memory.put(CODE + 0x10, &[0x66, 0x0f, 0x01, 0xd9]);
    machine.memory.put(CODE + 0xffe, &HYPERCALL);
    let mut cpu = guest(&mut machine, &BOTH);
    for (rip, len) in [(CODE, 3), (CODE, 3), (CODE + 0x10, 4), (CODE + 0xffe, 3), (CODE + 0x11, 3)] {
        let mut vcpu = MockVcpu { rip, ..MockVcpu::long() };
        vcpu.set(Gpr::Rax, VERSION);
        cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
        assert_eq!((vcpu.rip, vcpu.get(Gpr::Rax)), (rip + len, VERSION_1));
    }
}
