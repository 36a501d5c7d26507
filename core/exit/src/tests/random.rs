//! Guests that do anything at all: none stops the dispatcher.

use super::mock::*;
use crate::*;
use alloc::boxed::Box;
use mediator::{Gpa, StringIo, Verdict, Violation, Width};

/// xorshift64*: repeatable.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    /// True in `n` of 16 cases.
    pub fn chance(&mut self, n: u64) -> bool {
        self.below(16) < n
    }
}

/// Values at which things go wrong.
fn value(random: &mut Random) -> u64 {
    let edges = [0, 1, 0xfff, 0x1000, 0xffff, 0xffff_ffff, 0x7fff_ffff_ffff, VMM.start - 1, u64::MAX];
    match random.below(4) {
        0 => random.next(),
        1 => random.below(RAM_BYTES),
        2 => random.below(0x1_0000),
        _ => edges[random.below(edges.len() as u64) as usize],
    }
}

fn vcpu(random: &mut Random) -> MockVcpu {
    let mut vcpu = MockVcpu::long();
    vcpu.gprs.iter_mut().for_each(|gpr| *gpr = value(random));
    vcpu.rflags = random.next();
    vcpu.cpl = random.below(4) as u8;
    for segment in &mut vcpu.segments {
        *segment = Segment {
            selector: 0,
            base: if random.chance(10) { 0 } else { value(random) },
            limit: value(random) as u32,
            long: random.chance(6),
            default_32: random.chance(8),
            access: random.next() as u8,
        };
    }
    let paging = if random.chance(6) { 1 << 31 } else { 0 };
    vcpu.control = ControlRegisters {
        cr0: random.next() & 0xffff_ffff & !(1 << 31) | paging,
        cr3: value(random),
        cr4: random.next(),
        efer: random.next(),
    };
    vcpu.rip = value(random);
    vcpu
}

const CODES: &[&[u8]] = &[
    &[0x0f, 0xa2],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x0f, 0x01, 0xd9],
    &[0xf3, 0x6c],
    &[0xf3, 0x66, 0x6d],
    &[0x67, 0xf3, 0x6f],
    &[0x65, 0x6e],
    &[0x8b, 0x00],
    &[0x66, 0x89, 0x04, 0x24],
    &[0xab],
    &[0x67, 0x66, 0xab],
    &[0x0f, 0xb6, 0x00],
];

fn exit(random: &mut Random, vcpu: &mut MockVcpu) -> Exit {
    let ports =
        [0x60, 0x64, 0x91, 0x92, 0x1f0, 0x1f6, 0x1f7, 0x3f5, 0x3f8, 0xcfa, 0xcfc, 0xcfe, 0xc000, 0xc00f, 0xffff];
    match random.below(9) {
        0 => Exit::Cpuid,
        1 => Exit::ReadMsr,
        2 => Exit::WriteMsr,
        3 => Exit::Hypercall,
        4 => Exit::VirtualizationInstruction,
        5 => {
            vcpu.fault = Some(NestedFault {
                gpa: Gpa(value(random)),
                write: random.chance(8),
                fetch: random.chance(2),
                page_walk: random.chance(2),
                delivering: random.chance(4).then(|| Event {
                    vector: random.next() as u8,
                    kind: [EventKind::HardwareException, EventKind::ExternalInterrupt][random.next() as usize % 2],
                    error: None,
                }),
            });
            Exit::NestedFault
        }
        _ => {
            vcpu.io = Some(IoExit {
                port: ports[random.below(ports.len() as u64) as usize],
                width: [Width::Byte, Width::Word, Width::Dword][random.below(3) as usize],
                input: random.chance(8),
                string: random.chance(8),
                rep: random.chance(8),
            });
            Exit::Io
        }
    }
}

#[test]
fn no_guest_stops_the_dispatcher_or_writes_into_vmm_memory() {
    let mut random = Random(0xf00d);
    let mut machine = MockMachine::new();
    let mut answers = Random(7);
    let on_access = Box::new(move |_: &mut mediator::Ctx<'_>, _| match answers.below(5) {
        0 => Ok(Verdict::Passthrough),
        1 => Ok(Verdict::Value(answers.next())),
        2 => Ok(Verdict::Done),
        3 => Ok(Verdict::Again),
        _ => Err(Violation { what: "random", detail: answers.next() & 1 }),
    });
    let mut elements = Random(9);
    let on_string = Box::new(move |_: &mut mediator::Ctx<'_>, _, _, io: StringIo<'_>| match io {
        StringIo::In { width, data } => Ok((elements.next() as usize) % (data.len() / width.bytes() + 2)),
        StringIo::Out { width, data } => Ok(data.len() / width.bytes()),
    });
    let mut cpu = cpu_with(&mut machine, Script { on_access, on_string, ..Script::default() });
    machine.memory.bytes[VMM.start as usize..VMM.end as usize].fill(0x5a);
    let mut moved = 0;
    for _ in 0..30_000 {
        let mut vcpu = vcpu(&mut random);
        let code = CODES[random.below(CODES.len() as u64) as usize];
        let at = (vcpu.rip % (VMM.start - 16)) as usize;
        machine.memory.bytes[at..at + code.len()].copy_from_slice(code);
        let address = [0x8000_0904, 0x8000_0905, 0x8100_0940, 0][random.below(4) as usize];
        write_port(&mut cpu, &mut machine, 0xcf8, Width::Dword, address);
        let before = vcpu.rip;
        let exit = exit(&mut random, &mut vcpu);
        let outcome = cpu.on_exit(&mut vcpu, &mut machine, exit);
        assert_ne!(outcome, Outcome::Stop);
        assert!(vcpu.injected.len() <= 1);
        moved += usize::from(vcpu.rip != before);
    }
    assert!(machine.memory.bytes[VMM.start as usize..VMM.end as usize].iter().all(|&byte| byte == 0x5a));
    assert!(moved > 3_000, "{moved}");
}
