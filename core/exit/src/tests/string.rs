//! INS and OUTS.

use super::mock::*;
use crate::*;
use PortEvent::{Read, ReadString, Write, WriteString};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mediator::Width::{self, Byte, Dword, Word};
use mediator::{StringIo, Verdict, Violation};

const GP: Exception = Exception::GeneralProtection(0);
const DOWN: u64 = 1 << 10;
/// Nobody's port.
const PORT: u16 = 0x2f8;

const INSB: &[u8] = &[0x6c];
const REP_INSB: &[u8] = &[0xf3, 0x6c];
const REP_INSW: &[u8] = &[0xf3, 0x66, 0x6d];
const REP_OUTSB: &[u8] = &[0xf3, 0x6e];
const REP_OUTSW: &[u8] = &[0xf3, 0x66, 0x6f];

fn access(port: u16, width: Width, code: &[u8]) -> IoExit {
    let input = code.iter().any(|byte| matches!(byte, 0x6c | 0x6d));
    let rep = matches!(code[0], 0xf2 | 0xf3);
    IoExit { port, width, input, string: true, rep }
}

struct Run {
    machine: MockMachine,
    cpu: Cpu<'static>,
    vcpu: MockVcpu,
}

impl Run {
    fn new(vcpu: MockVcpu, code: &[u8]) -> Self {
        let mut machine = MockMachine::with_code(code);
        let cpu = cpu_with(&mut machine, Script::default());
        Self { machine, cpu, vcpu }
    }

    fn with(mut self, register: Gpr, value: u64) -> Self {
        self.vcpu.set(register, value);
        self
    }

    fn go(&mut self, port: u16, width: Width, code: &[u8]) {
        self.vcpu.io = Some(access(port, width, code));
        assert_eq!(self.cpu.on_exit(&mut self.vcpu, &mut self.machine, Exit::Io), Outcome::Resume);
    }

    fn state(&self, index: Gpr) -> (u64, u64, u64) {
        (self.vcpu.get(index), self.vcpu.get(Gpr::Rcx), self.vcpu.rip)
    }
}

#[test]
fn single_insb_moves_one_byte_and_leaves_rcx() {
    let mut run = Run::new(MockVcpu::long(), INSB).with(Gpr::Rdi, 0x2000).with(Gpr::Rcx, 9);
    run.machine.ports.stream = 0x41;
    run.go(PORT, Byte, INSB);
    assert_eq!(run.state(Gpr::Rdi), (0x2001, 9, 0x1001));
    assert_eq!(run.machine.memory.bytes[0x2000], 0x41);
}

#[test]
fn single_stepped_repetition_ends_after_each_element() {
    let mut run = Run::new(MockVcpu::long(), REP_INSW).with(Gpr::Rdi, 0x2000).with(Gpr::Rcx, 3);
    run.vcpu.rflags |= 1 << 8;
    for (left, rip) in [(2, 0x1000), (1, 0x1000), (0, 0x1003)] {
        let ended = run.vcpu.ended;
        run.go(PORT, Word, REP_INSW);
        assert_eq!(run.state(Gpr::Rdi), (0x2006 - 2 * left, left, rip));
        assert_eq!(run.vcpu.ended, ended + 1, "the CPU crate raises the trap of TF");
    }
}

#[test]
fn repeated_insw_goes_page_by_page_in_one_exit() {
    let mut run = Run::new(MockVcpu::long(), REP_INSW).with(Gpr::Rdi, 0x2f00).with(Gpr::Rcx, 0x100);
    run.go(PORT, Word, REP_INSW);
    assert_eq!(run.state(Gpr::Rdi), (0x3100, 0, 0x1003));
    assert_eq!(run.machine.events(), [ReadString(PORT, Word, 0x100), ReadString(PORT, Word, 0x100)]);
    let expected: Vec<u8> = (0..0x200_u32).map(|i| i as u8).collect();
    assert!(run.machine.memory.bytes[0x2f00..0x3100] == expected[..]);
}

#[test]
fn repeated_outsw_gives_the_port_what_memory_holds() {
    let mut run = Run::new(MockVcpu::long(), REP_OUTSW).with(Gpr::Rsi, 0x2000).with(Gpr::Rcx, 3);
    run.machine.memory.put(0x2000, b"abcdef");
    run.go(PORT, Word, REP_OUTSW);
    assert_eq!(run.state(Gpr::Rsi), (0x2006, 0, 0x1003));
    assert_eq!(run.machine.events(), [WriteString(PORT, Word, b"abcdef".to_vec())]);
}

#[test]
fn element_across_a_page_boundary_is_whole() {
    let mut run = Run::new(MockVcpu::long(), REP_INSW).with(Gpr::Rdi, 0x2ffd).with(Gpr::Rcx, 3);
    run.machine.ports.stream = 1;
    run.go(PORT, Word, REP_INSW);
    assert_eq!(run.machine.memory.bytes[0x2ffc..0x3004], [0, 1, 2, 3, 4, 5, 6, 0]);
    assert_eq!(run.state(Gpr::Rdi), (0x3003, 0, 0x1003));
}

#[test]
fn direction_flag_moves_downwards() {
    let mut run = Run::new(MockVcpu::long(), REP_INSW).with(Gpr::Rdi, 0x3000).with(Gpr::Rcx, 2);
    run.vcpu.rflags |= DOWN;
    run.machine.ports.stream = 1;
    run.go(PORT, Word, REP_INSW);
    assert_eq!(run.machine.memory.bytes[0x2ffe..0x3002], [3, 4, 1, 2]);
    assert_eq!(run.state(Gpr::Rdi), (0x2ffc, 0, 0x1003));
    let mut run = Run::new(MockVcpu::long(), REP_OUTSB).with(Gpr::Rsi, 0x2001).with(Gpr::Rcx, 2);
    run.vcpu.rflags |= DOWN;
    run.machine.memory.put(0x2000, b"ab");
    run.go(PORT, Byte, REP_OUTSB);
    assert_eq!(run.machine.events(), [WriteString(PORT, Byte, b"b".to_vec()), WriteString(PORT, Byte, b"a".to_vec())]);
}

#[test]
fn count_of_zero_moves_nothing() {
    let mut run = Run::new(MockVcpu::long(), REP_INSB).with(Gpr::Rdi, 0x2000);
    run.go(PORT, Byte, REP_INSB);
    assert_eq!((run.state(Gpr::Rdi), run.machine.events()), ((0x2000, 0, 0x1002), [].into()));
}

#[test]
fn long_move_stops_to_let_interrupts_in_and_goes_on() {
    let mut run = Run::new(MockVcpu::long(), REP_INSB).with(Gpr::Rdi, 0x10_0000).with(Gpr::Rcx, 0x1_8000);
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.state(Gpr::Rdi), (0x11_0000, 0x8000, 0x1000));
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.state(Gpr::Rdi), (0x11_8000, 0, 0x1002));
    let mut run = Run::new(MockVcpu::long(), REP_INSB).with(Gpr::Rdi, 0x10_0000).with(Gpr::Rcx, 0x1000);
    run.vcpu.rflags |= DOWN;
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.state(Gpr::Rdi), (0x10_0000 - 512, 0x1000 - 512, 0x1000));
}

#[test]
fn real_mode_uses_16_bit_registers_and_its_segments() {
    let code = &[0xf3, 0x6d]; // rep insw
    let mut run = Run::new(MockVcpu::real(), code).with(Gpr::Rdi, 0xaaaa_0010).with(Gpr::Rcx, 0xbbbb_0002);
    run.vcpu.segments[SegmentName::Es as usize].base = 0x2_0000;
    run.machine.ports.stream = 1;
    run.go(PORT, Word, code);
    assert_eq!(run.state(Gpr::Rdi), (0xaaaa_0014, 0xbbbb_0000, 0x1002));
    assert_eq!(run.machine.memory.bytes[0x2_0010..0x2_0015], [1, 2, 3, 4, 0]);
}

#[test]
fn address_size_prefix_clears_the_upper_half() {
    let code = &[0x67, 0xf3, 0x6c]; // rep insb with EDI and ECX
    let mut run = Run::new(MockVcpu::long(), code).with(Gpr::Rdi, 0xffff_0000_0000_2000).with(Gpr::Rcx, 0x5_0000_0001);
    run.vcpu.io = Some(IoExit { port: PORT, width: Byte, input: true, string: true, rep: true });
    run.cpu.on_exit(&mut run.vcpu, &mut run.machine, Exit::Io);
    assert_eq!(run.state(Gpr::Rdi), (0x2001, 0, 0x1003));
}

#[test]
fn index_wraps_at_its_width() {
    let code = &[0xf3, 0x6c];
    let mut run = Run::new(MockVcpu::real(), code).with(Gpr::Rdi, 0xfffe).with(Gpr::Rcx, 4);
    run.vcpu.segments[SegmentName::Es as usize].base = 0x2_0000;
    run.machine.ports.stream = 1;
    run.go(PORT, Byte, code);
    assert_eq!(run.machine.memory.bytes[0x2_0000..0x2_0002], [3, 4]);
    assert_eq!(run.machine.memory.bytes[0x2_fffe..0x3_0001], [1, 2, 0]);
    assert_eq!(run.state(Gpr::Rdi), (2, 0, 0x1002));
}

#[test]
fn outs_takes_its_segment_from_a_prefix_and_ins_never() {
    for (prefix, name) in [
        (0x26, SegmentName::Es),
        (0x2e, SegmentName::Cs),
        (0x36, SegmentName::Ss),
        (0x3e, SegmentName::Ds),
        (0x64, SegmentName::Fs),
        (0x65, SegmentName::Gs),
    ] {
        let code = &[prefix, 0x6e];
        let mut run = Run::new(MockVcpu::real(), &[]).with(Gpr::Rsi, 4);
        run.vcpu.segments[name as usize].base = 0x2_0000;
        if name == SegmentName::Cs {
            run.vcpu.rip = 0x10;
        }
        let at = if name == SegmentName::Cs { 0x2_0010 } else { 0x1000 };
        run.machine.memory.put(at, code);
        run.machine.memory.put(0x2_0004, b"x");
        run.go(PORT, Byte, code);
        assert_eq!(run.machine.events(), [WriteString(PORT, Byte, b"x".to_vec())]);
    }
    let code = &[0x64, 0x6c];
    let mut run = Run::new(MockVcpu::real(), code).with(Gpr::Rdi, 0x2000);
    run.vcpu.segments[SegmentName::Fs as usize].base = 0x2_0000;
    run.machine.ports.stream = 7;
    run.go(PORT, Byte, code);
    assert_eq!(run.machine.memory.bytes[0x2000], 7);
}

#[test]
fn long_mode_ignores_segment_bases_but_for_fs_and_gs() {
    for (prefix, name, at) in [(0x3e, SegmentName::Ds, 0x2000), (0x65, SegmentName::Gs, 0x5000)] {
        let code = &[prefix, 0x6e];
        let mut run = Run::new(MockVcpu::long(), code).with(Gpr::Rsi, 0x2000);
        run.vcpu.segments[name as usize].base = 0x3000;
        run.machine.memory.put(at, b"x");
        run.go(PORT, Byte, code);
        assert_eq!(run.machine.events(), [WriteString(PORT, Byte, b"x".to_vec())]);
    }
}

#[test]
fn address_that_is_not_canonical_raises_gp_before_the_device_is_read() {
    for address in [0x8000_0000_0000_u64, 0x7fff_ffff_ffff, 0xffff_7fff_ffff_ffff] {
        let mut run = Run::new(MockVcpu::long(), REP_INSW).with(Gpr::Rdi, address).with(Gpr::Rcx, 1);
        run.go(PORT, Word, REP_INSW);
        assert_eq!((&run.vcpu.injected[..], run.vcpu.rip), (&[GP][..], 0x1000));
        assert_eq!(run.machine.events(), []);
    }
}

#[test]
fn element_that_wraps_to_address_0_raises_what_its_pages_raise() {
    let mut run = paged(7, REP_INSW).with(Gpr::Rdi, u64::MAX).with(Gpr::Rcx, 1);
    run.go(PORT, Word, REP_INSW);
    assert_eq!(run.vcpu.injected, [Exception::PageFault { error: 2, address: u64::MAX }]);
    assert_eq!(run.machine.events(), []);
    // The last page is there, and so is the first one.
    let mut run = paged(7, REP_INSW).with(Gpr::Rdi, u64::MAX).with(Gpr::Rcx, 1);
    for (at, entry) in [(0x10ff8, 0x14007_u64), (0x14ff8, 0x15007), (0x15ff8, 0x16007), (0x16ff8, 0x20_1007)] {
        run.machine.memory.put(at, &entry.to_le_bytes());
    }
    run.machine.ports.stream = 1;
    run.go(PORT, Word, REP_INSW);
    assert_eq!((run.machine.memory.bytes[0x20_1fff], run.machine.memory.bytes[0]), (1, 2));
    assert_eq!(run.state(Gpr::Rdi), (1, 0, 0x1003));
}

#[test]
fn segment_limits_and_types_are_checked() {
    let refused = |access: u8, limit: u32, index: u64, code: &[u8]| {
        let mut run = Run::new(MockVcpu::protected(), code).with(Gpr::Rdi, index).with(Gpr::Rsi, index);
        for name in [SegmentName::Es, SegmentName::Ds] {
            run.vcpu.segments[name as usize] = Segment { access, limit, default_32: true, ..Segment::default() };
        }
        run.go(PORT, Dword, code);
        assert_eq!(run.machine.events().is_empty(), run.vcpu.injected == [GP]);
        run.vcpu.injected == [GP]
    };
    let (insd, outsd) = (&[0x6d][..], &[0x6f][..]);
    let (data, read_only, code, readable_code, expand_down) = (0x93, 0x91, 0x99, 0x9b, 0x97);
    assert!(!refused(data, 0x2fff, 0x2ffc, insd));
    assert!(refused(data, 0x2fff, 0x2ffd, insd));
    assert!(refused(data & 0x7f, 0x2fff, 0, insd));
    assert!(refused(read_only, 0x2fff, 0x2000, insd) && !refused(read_only, 0x2fff, 0x2000, outsd));
    assert!(refused(code, 0x2fff, 0x2000, outsd) && refused(readable_code, 0x2fff, 0x2000, insd));
    assert!(!refused(readable_code, 0x2fff, 0x2000, outsd));
    assert!(refused(expand_down, 0x2fff, 0x2fff, insd) && !refused(expand_down, 0x2fff, 0x3000, insd));
}

#[test]
fn move_runs_up_to_the_limit_and_then_raises_gp() {
    let code = &[0xf3, 0x6c];
    let mut run = Run::new(MockVcpu::protected(), code).with(Gpr::Rdi, 0x2ffe).with(Gpr::Rcx, 5);
    run.vcpu.segments[SegmentName::Es as usize].limit = 0x2fff;
    run.go(PORT, Byte, code);
    assert_eq!((run.state(Gpr::Rdi), &run.vcpu.injected[..]), ((0x3000, 3, 0x1000), &[GP][..]));
}

/// 4-level tables: linear 0-1FF_FFFF as it is by 2 MiB pages, but 40_0000h by 4 KiB pages of which only the first is
/// there, at 20_0000h, user and read-only in `flags`.
fn paged(flags: u64, code: &[u8]) -> Run {
    let mut run = Run::new(MockVcpu::long(), code);
    run.vcpu.control = ControlRegisters { cr0: 0x8001_0001, cr3: 0x10000, cr4: 0x20, efer: 0xd00 };
    let tables =
        [(0x10000, 0x11007_u64), (0x11000, 0x12007), (0x12000, 0x87), (0x12010, 0x13007), (0x13000, 0x20_0000 | flags)];
    for (at, entry) in tables {
        run.machine.memory.put(at, &entry.to_le_bytes());
    }
    run
}

#[test]
fn page_fault_in_the_middle_leaves_what_was_moved() {
    let mut run = paged(7, REP_INSW).with(Gpr::Rdi, 0x40_0ffc).with(Gpr::Rcx, 5);
    run.machine.ports.stream = 1;
    run.go(PORT, Word, REP_INSW);
    assert_eq!(run.state(Gpr::Rdi), (0x40_1000, 3, 0x1000));
    assert_eq!(run.vcpu.injected, [Exception::PageFault { error: 2, address: 0x40_1000 }]);
    assert_eq!(run.machine.memory.bytes[0x20_0ffc..0x20_1000], [1, 2, 3, 4]);
    assert_eq!(run.machine.events(), [ReadString(PORT, Word, 4)]);
}

#[test]
fn fault_of_the_second_page_of_an_element_comes_before_the_device_is_read() {
    let mut run = paged(7, REP_INSW).with(Gpr::Rdi, 0x40_0fff).with(Gpr::Rcx, 1);
    run.go(PORT, Word, REP_INSW);
    assert_eq!(run.vcpu.injected, [Exception::PageFault { error: 2, address: 0x40_1000 }]);
    assert_eq!(run.machine.events(), []);
}

#[test]
fn input_needs_a_writable_page_and_marks_it_dirty() {
    let mut run = paged(5, REP_INSB).with(Gpr::Rdi, 0x40_0000).with(Gpr::Rcx, 1);
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.vcpu.injected, [Exception::PageFault { error: 3, address: 0x40_0000 }]);
    assert_eq!(run.machine.events(), []);
    let mut run = paged(7, REP_INSB).with(Gpr::Rdi, 0x40_0000).with(Gpr::Rcx, 1);
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.machine.memory.qword(0x13000), 0x20_0067);
    let mut run = paged(5, REP_OUTSB).with(Gpr::Rsi, 0x40_0000).with(Gpr::Rcx, 1);
    run.go(PORT, Byte, REP_OUTSB);
    assert_eq!((run.vcpu.injected.len(), run.machine.memory.qword(0x13000)), (0, 0x20_0025));
}

#[test]
fn user_code_cannot_move_to_supervisor_pages() {
    let mut run = paged(3, REP_INSB).with(Gpr::Rdi, 0x40_0000).with(Gpr::Rcx, 1);
    run.vcpu.cpl = 3;
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.vcpu.injected, [Exception::PageFault { error: 7, address: 0x40_0000 }]);
}

#[test]
fn input_to_vmm_memory_is_dropped_and_output_from_it_is_ones() {
    let mut run = Run::new(MockVcpu::long(), REP_INSB).with(Gpr::Rdi, VMM.start).with(Gpr::Rcx, 4);
    let before = run.machine.memory.bytes.clone();
    run.go(PORT, Byte, REP_INSB);
    assert_eq!(run.state(Gpr::Rdi), (VMM.start + 4, 0, 0x1002));
    assert!(run.machine.memory.bytes == before);
    let mut run = Run::new(MockVcpu::long(), REP_OUTSB).with(Gpr::Rsi, VMM.start).with(Gpr::Rcx, 2);
    run.machine.memory.bytes[VMM.start as usize] = 0x55;
    run.go(PORT, Byte, REP_OUTSB);
    assert_eq!(run.machine.events(), [WriteString(PORT, Byte, [0xff, 0xff].into())]);
}

#[test]
fn instruction_that_is_not_what_the_exit_says_raises_ud() {
    let mut run = Run::new(MockVcpu::long(), REP_OUTSB).with(Gpr::Rcx, 1);
    run.go(PORT, Byte, REP_INSB);
    assert_eq!((&run.vcpu.injected[..], run.vcpu.rip), (&[Exception::InvalidOpcode][..], 0x1000));
    assert_eq!(run.machine.events(), []);
}

#[test]
fn hidden_and_guarded_ports_are_guarded_in_string_form_too() {
    let mut run = Run::new(MockVcpu::long(), REP_OUTSB).with(Gpr::Rsi, 0x2000).with(Gpr::Rcx, 2);
    run.go(0x3f8, Byte, REP_OUTSB);
    assert_eq!(run.machine.events(), []);
    let mut run = Run::new(MockVcpu::long(), REP_OUTSB).with(Gpr::Rsi, 0x2000).with(Gpr::Rcx, 1);
    run.go(0x92, Byte, REP_OUTSB);
    assert_eq!(run.machine.events(), [Write(0x92, Byte, 2)]);
    let mut run = Run::new(MockVcpu::long(), REP_INSW).with(Gpr::Rdi, 0x2000).with(Gpr::Rcx, 1);
    run.machine.ports.values.insert(0x3f7, 0x5a);
    run.go(0x3f7, Word, REP_INSW);
    assert_eq!(run.machine.events(), [Read(0x3f7, Byte)]);
    assert_eq!(run.machine.memory.bytes[0x2000..0x2002], [0x5a, 0xff]);
}

fn mediated(on_string: impl FnMut(&mut [u8]) -> Result<usize, Violation> + Send + 'static) -> Run {
    let mut on_string = on_string;
    let on_string = Box::new(move |cx: &mut mediator::Ctx<'_>, region, offset, io: StringIo<'_>| {
        assert_eq!((region, offset), (COMMAND, 0));
        cx.device.read(COMMAND, 7, Byte);
        match io {
            StringIo::In { width: Word, data } => on_string(data),
            _ => Err(Violation { what: "not a word in", detail: 0 }),
        }
    });
    let mut machine = MockMachine::with_code(REP_INSW);
    let script = Script { on_string, on_access: Box::new(|_, _| Ok(Verdict::Done)), ..Script::default() };
    let cpu = cpu_with(&mut machine, script);
    Run { machine, cpu, vcpu: MockVcpu::long() }.with(Gpr::Rdi, 0x2000).with(Gpr::Rcx, 256)
}

#[test]
fn mediator_gets_the_whole_string_at_once() {
    let mut run = mediated(|data| {
        data.fill(0x5a);
        Ok(data.len() / 2)
    });
    run.go(0x1f0, Word, REP_INSW);
    assert_eq!(run.machine.events(), [Read(0x1f7, Byte)]);
    assert!(run.machine.memory.bytes[0x2000..0x2200].iter().all(|&byte| byte == 0x5a));
    assert_eq!(run.state(Gpr::Rdi), (0x2200, 0, 0x1003));
}

#[test]
fn mediator_is_offered_the_rest_and_refusals_read_ones() {
    let mut call = 0;
    let mut run = mediated(move |data| {
        call += 1;
        data[..4].fill(call);
        if call < 3 { Ok(2) } else { Err(Violation { what: "enough", detail: 0 }) }
    });
    run.go(0x1f0, Word, REP_INSW);
    assert_eq!(run.machine.memory.bytes[0x2000..0x2008], [1, 1, 1, 1, 2, 2, 2, 2]);
    assert!(run.machine.memory.bytes[0x2008..0x2200].iter().all(|&byte| byte == 0xff));
    assert_eq!(run.state(Gpr::Rdi), (0x2200, 0, 0x1003));
}

#[test]
fn mediator_that_moves_nothing_or_too_much_is_refused() {
    for elements in [0, 257, usize::MAX] {
        let mut run = mediated(move |_| Ok(elements));
        run.go(0x1f0, Word, REP_INSW);
        assert!(run.machine.memory.bytes[0x2000..0x2200].iter().all(|&byte| byte == 0xff));
        assert_eq!(run.machine.events(), [Read(0x1f7, Byte)]);
    }
}
