//! Instructions that touch a device: which are carried out, and what they leave behind.

use super::mock::*;
use crate::*;
use mediator::{Gpa, Width};

/// The page of the local APIC; the register at 80h is one without any effect.
const PAGE: u64 = 0xfee0_0000;
const REGISTER: u64 = PAGE + 0x80;

/// A machine whose local APIC is guarded, in xAPIC mode.
fn machine(code: &[u8]) -> (MockMachine, Cpu<'static>) {
    let mut machine = MockMachine::with_code(code);
    machine.msrs.insert(0x1b, PAGE | 0x900);
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.guard_local_apic(Gpa(PAGE), 1);
    guest.adopt_local_apic(&mut machine);
    machine.device_memory.events.clear();
    (machine, cpu_of(guest))
}

fn exit(machine: &mut MockMachine, cpu: &mut Cpu<'_>, vcpu: &mut MockVcpu, gpa: u64, write: bool) {
    vcpu.fault = Some(NestedFault { gpa: Gpa(gpa), write, fetch: false, page_walk: false, delivering: None });
    assert_eq!(cpu.on_exit(vcpu, machine, Exit::NestedFault), Outcome::Resume);
}

/// What one write to [`REGISTER`] writes, after a run of `code`.
fn written_by(code: &[u8], vcpu: &mut MockVcpu, before: u64) -> Option<u64> {
    let (mut machine, mut cpu) = machine(code);
    machine.device_memory.values.insert(REGISTER, before);
    exit(&mut machine, &mut cpu, vcpu, REGISTER, true);
    assert_eq!(vcpu.injected, [], "{code:x?}");
    let writes = machine.device_memory.events.iter().filter_map(|event| match event {
        MmioEvent::Write(REGISTER, Width::Dword, value) => Some(*value),
        MmioEvent::Write(..) => panic!("{event:x?}"),
        MmioEvent::Read(..) => None,
    });
    let writes: alloc::vec::Vec<u64> = writes.collect();
    assert!(writes.len() < 2);
    writes.first().copied()
}

/// RDI leads to the register, EAX and ECX hold something.
fn vcpu() -> MockVcpu {
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rdi, REGISTER);
    vcpu.set(Gpr::Rax, 0xaaaa_aaaa_1234_5678);
    vcpu.set(Gpr::Rcx, 0x0f0f);
    vcpu
}

#[test]
fn stores_write_their_register_or_immediate_and_keep_the_flags() {
    for (code, value) in [
        (&[0x89, 0x07][..], 0x1234_5678),                        // mov [rdi], eax
        (&[0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], 0xffff_ffff),    // mov dword [rdi], -1
        (&[0x0f, 0xc3, 0x0f], 0x0f0f),                           // movnti [rdi], ecx
        (&[0x67, 0x89, 0x07], 0x1234_5678),                      // mov [edi], eax
        (&[0x3e, 0x89, 0x07], 0x1234_5678),                      // mov ds:[rdi], eax
        (&[0x89, 0x0c, 0x25, 0x80, 0, 0xe0, 0xfe], 0x0f0f),      // mov [abs], ecx
        (&[0xa3, 0x80, 0, 0xe0, 0xfe, 0, 0, 0, 0], 0x1234_5678), // mov [moffs], eax
    ] {
        let mut vcpu = vcpu();
        assert_eq!(written_by(code, &mut vcpu, 0), Some(value), "{code:x?}");
        assert_eq!((vcpu.rip, vcpu.rflags), (0x1000 + code.len() as u64, 2));
    }
}

#[test]
fn addresses_relative_to_the_instruction_count_from_its_end() {
    // mov [rip + d], eax, 7 bytes with the prefix, at 1000h.
    let displacement = (REGISTER - 0x1007) as u32;
    let mut code = alloc::vec![0x67, 0x89, 0x05];
    code.extend(displacement.to_le_bytes());
    assert_eq!(written_by(&code, &mut vcpu(), 0), Some(0x1234_5678));
}

#[test]
fn bases_of_fs_and_gs_count_in_64_bit_code_and_those_of_other_segments_do_not() {
    for (code, counts) in [(&[0x64, 0x89, 0x07][..], true), (&[0x65, 0x89, 0x07], true), (&[0x36, 0x89, 0x07], false)] {
        let mut vcpu = vcpu();
        vcpu.segments.iter_mut().for_each(|segment| segment.base = 0x10);
        vcpu.segments[SegmentName::Cs as usize].base = 0;
        if counts {
            vcpu.set(Gpr::Rdi, REGISTER - 0x10);
        }
        assert_eq!(written_by(code, &mut vcpu, 0), Some(0x1234_5678), "{code:x?}");
    }
    // And all count elsewhere: mov ss:[edi], eax.
    let mut vcpu = MockVcpu { gprs: vcpu().gprs, ..MockVcpu::protected() };
    vcpu.segments[SegmentName::Ss as usize].base = 0x30;
    vcpu.set(Gpr::Rdi, REGISTER - 0x30);
    assert_eq!(written_by(&[0x36, 0x89, 0x07], &mut vcpu, 0), Some(0x1234_5678));
}

#[test]
fn index_and_displacement_count() {
    let mut vcpu = vcpu();
    vcpu.set(Gpr::Rbx, 0x10);
    vcpu.set(Gpr::R12, REGISTER - 0x40 + 8);
    let code = [0x41, 0x89, 0x44, 0x9c, 0xf8]; // mov [r12 + rbx*4 - 8], eax
    assert_eq!(written_by(&code, &mut vcpu, 0), Some(0x1234_5678));
    // 16-bit addresses: mov [bx + si + 3], eax, of which the page's offset is all that matters.
    let mut vcpu = MockVcpu { gprs: vcpu.gprs, ..MockVcpu::real() };
    vcpu.set(Gpr::Rbx, 0x60);
    vcpu.set(Gpr::Rsi, 0x1d);
    assert_eq!(written_by(&[0x66, 0x89, 0x40, 3], &mut vcpu, 0), Some(0x1234_5678));
}

#[test]
fn arithmetic_on_a_register_of_a_device_reads_writes_and_sets_flags() {
    let (carry, parity, zero, sign) = (1, 4, 0x40, 0x80);
    for (code, before, after, flags) in [
        (&[0x09, 0x07][..], 0x8000_0000_u64, 0x9234_5678_u64, sign | parity), // or [rdi], eax
        (&[0x81, 0x0f, 0, 1, 0, 0], 0x0f, 0x10f, parity),                     // or dword [rdi], 100h
        (&[0x83, 0x27, 0xf0], 0xfff, 0xff0, parity),                          // and dword [rdi], -16
        (&[0x31, 0x0f], 0x0f0f, 0, zero | parity),                            // xor [rdi], ecx
        (&[0x83, 0x07, 1], 0xffff_ffff, 0, carry | parity | 0x10 | zero),     // add dword [rdi], 1
        (&[0x83, 0x2f, 1], 0x10, 0x0f, parity | 0x10),                        // sub dword [rdi], 1
        (&[0x87, 0x0f], 0x77, 0x0f0f, 0),                                     // xchg [rdi], ecx
    ] {
        let mut vcpu = vcpu();
        assert_eq!(written_by(code, &mut vcpu, before), Some(after), "{code:x?}");
        assert_eq!(vcpu.rflags, 2 | flags, "{code:x?}");
        assert_eq!(vcpu.get(Gpr::Rcx), if code[0] == 0x87 { 0x77 } else { 0x0f0f });
    }
}

#[test]
fn comparing_writes_nothing() {
    for (code, flags) in [
        (&[0x81, 0x3f, 0x0f, 0x0f, 0, 0][..], 0x44), // cmp dword [rdi], 0f0fh
        (&[0x3b, 0x0f], 0x44),                       // cmp ecx, [rdi]
        (&[0xf7, 0x07, 0xf0, 0, 0, 0], 0x44),        // test dword [rdi], f0h
        (&[0x85, 0x0f], 0x04),                       // test [rdi], ecx
    ] {
        let (mut machine, mut cpu) = machine(code);
        machine.device_memory.values.insert(REGISTER, 0x0f0f);
        let mut vcpu = vcpu();
        exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, false);
        assert_eq!(machine.device_memory.events, [MmioEvent::Read(REGISTER, Width::Dword)]);
        assert_eq!((vcpu.rflags, vcpu.injected.len(), vcpu.get(Gpr::Rcx)), (2 | flags, 0, 0x0f0f), "{code:x?}");
    }
}

#[test]
fn the_registers_first_operand_takes_the_result() {
    let (mut machine, mut cpu) = machine(&[0x2b, 0x0f]); // sub ecx, [rdi]
    machine.device_memory.values.insert(REGISTER, 0x10);
    let mut vcpu = vcpu();
    exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, false);
    assert_eq!((vcpu.get(Gpr::Rcx), machine.device_memory.events.len()), (0x0eff, 1));
}

#[test]
fn repeated_strings_move_one_element_an_exit() {
    let (mut machine, mut cpu) = machine(&[0xf3, 0xab]); // rep stosd
    let mut vcpu = vcpu();
    vcpu.set(Gpr::Rcx, 2);
    exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, true);
    assert_eq!((vcpu.get(Gpr::Rcx), vcpu.get(Gpr::Rdi), vcpu.rip, vcpu.ended), (1, REGISTER + 4, 0x1000, 1));
    exit(&mut machine, &mut cpu, &mut vcpu, REGISTER + 4, true);
    assert_eq!((vcpu.get(Gpr::Rcx), vcpu.get(Gpr::Rdi), vcpu.rip, vcpu.ended), (0, REGISTER + 8, 0x1002, 2));
    // The second is no register.
    assert_eq!(machine.device_memory.events, [MmioEvent::Write(REGISTER, Width::Dword, 0x1234_5678)]);
}

#[test]
fn repetition_without_a_count_touches_nothing() {
    let (mut machine, mut cpu) = machine(&[0xf3, 0x67, 0xab]); // rep stosd, counted by ECX
    let mut vcpu = vcpu();
    vcpu.set(Gpr::Rcx, 1 << 32);
    exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, true);
    assert_eq!((vcpu.get(Gpr::Rcx), vcpu.get(Gpr::Rdi), vcpu.rip), (1 << 32, REGISTER, 0x1003));
    assert!(machine.device_memory.events.is_empty());
}

#[test]
fn lods_loads_the_accumulator_from_its_segment() {
    let (mut machine, mut cpu) = machine(&[0x64, 0xad]); // lodsd fs:
    machine.device_memory.values.insert(REGISTER, 0x8765_4321);
    let mut vcpu = vcpu();
    vcpu.segments[SegmentName::Fs as usize].base = PAGE;
    vcpu.set(Gpr::Rsi, 0x80);
    exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, false);
    assert_eq!((vcpu.get(Gpr::Rax), vcpu.get(Gpr::Rsi), vcpu.rip), (0x8765_4321, 0x84, 0x1002));
}

#[test]
fn a_remembered_instruction_is_used_only_while_its_bytes_mode_and_tables_are_the_same() {
    let (mut machine, mut cpu) = machine(&[0x89, 0x07]); // mov [rdi], eax
    let mut run = |vcpu: MockVcpu, code: &[u8]| {
        machine.memory.put(0x1000, code);
        machine.device_memory.events.clear();
        let mut vcpu = MockVcpu { gprs: self::vcpu().gprs, ..vcpu };
        exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, true);
        (machine.device_memory.values.get(&REGISTER).copied().unwrap(), vcpu.rip, vcpu.injected.len())
    };
    for _ in 0..2 {
        assert_eq!(run(MockVcpu::long(), &[0x89, 0x07]), (0x1234_5678, 0x1002, 0));
    }
    // Its second byte, then its length.
    assert_eq!(run(MockVcpu::long(), &[0x89, 0x0f]), (0x0f0f, 0x1002, 0));
    assert_eq!(run(MockVcpu::long(), &[0x89, 0x47, 0]), (0x1234_5678, 0x1003, 0));
    // The same bytes in 16-bit code, right after: mov [bx], ax, which has another operand.
    assert_eq!(run(MockVcpu::long(), &[0x89, 0x07]), (0x1234_5678, 0x1002, 0));
    assert_eq!(run(MockVcpu::real(), &[0x89, 0x07]).1, 0x1000);
    // Other tables, in which the page is missing.
    assert_eq!(run(MockVcpu::long(), &[0x89, 0x07]), (0x1234_5678, 0x1002, 0));
    let mut other = MockVcpu::long();
    other.control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x10000, cr4: 0x20, efer: 0xd00 };
    assert_eq!(run(other, &[0x89, 0x07]).1, 0x1000);
}

#[test]
fn instructions_at_the_end_of_a_page_are_remembered_and_those_across_it_are_read_anew() {
    let (mut machine, mut cpu) = machine(&[]);
    for (rip, remembered) in [(0x1ffe, true), (0x1fff, false)] {
        machine.memory.put(rip, &[0x89, 0x07]);
        for _ in 0..2 {
            let mut vcpu = MockVcpu { rip, ..vcpu() };
            machine.device_memory.events.clear();
            exit(&mut machine, &mut cpu, &mut vcpu, REGISTER, true);
            assert_eq!((vcpu.rip, machine.device_memory.events.len(), vcpu.injected.len()), (rip + 2, 1, 0));
        }
        assert_eq!(cpu.decoded.remembers(rip), remembered);
    }
}

#[test]
fn the_instructions_of_a_driver_are_remembered_together_wherever_they_are() {
    // Not random, but as good as.
    let mut number = 1_u32;
    for _ in 0..200 {
        let (mut machine, mut cpu) = machine(&[]);
        let mut rip = 0x1000;
        let places = [(); 7].map(|()| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            rip += 2 + u64::from(number >> 16) % 200;
            rip
        });
        for rip in places {
            machine.memory.put(rip, &[0x89, 0x07]);
            exit(&mut machine, &mut cpu, &mut MockVcpu { rip, ..vcpu() }, REGISTER, true);
        }
        assert!(places.into_iter().all(|rip| cpu.decoded.remembers(rip)), "{places:x?}");
    }
}

#[test]
fn what_is_refused_is_named_once_a_kind() {
    let (mut machine, mut cpu) = machine(&[]);
    log_lines();
    for code in
        [&[0xff, 0x07][..], &[0xff, 0x0f], &[0xf0, 0x09, 0x07], &[0xf0, 0x01, 0x07], &[0x89, 0x47, 4], &[0x89, 0x47, 8]]
    {
        machine.memory.put(0x1000, code);
        exit(&mut machine, &mut cpu, &mut vcpu(), REGISTER, true);
    }
    let lines = log_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("instruction at 0x1000 is not emulated") && lines[0].contains("7ff"));
    assert!(lines[1].contains("LOCK") && lines[2].contains("crosses a page"));
    assert!(machine.device_memory.events.is_empty());
}
