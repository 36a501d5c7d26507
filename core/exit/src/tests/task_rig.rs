//! Two tasks, A that runs and B that is switched to, in flat protected mode.

use super::mock::*;
use crate::*;

pub const GDT: u64 = 0x1_0000;
pub const LDT: u64 = 0x1_1000;
/// TSSs of 32 bits.
pub const TSS_A: u64 = 0x1_2000;
pub const TSS_B: u64 = 0x1_3000;
/// TSSs of 16 bits.
pub const TSS16_A: u64 = 0x1_4000;
pub const TSS16_B: u64 = 0x1_5000;
/// B's stack ends here.
pub const STACK_B: u32 = 0x2_0000;

pub const CODE: u16 = 0x08;
pub const DATA: u16 = 0x10;
pub const USER_CODE: u16 = 0x1b;
pub const USER_DATA: u16 = 0x23;
pub const A: u16 = 0x28;
pub const B: u16 = 0x30;
pub const A16: u16 = 0x38;
pub const B16: u16 = 0x40;
pub const LOCAL: u16 = 0x48;
/// For a test's own descriptor.
pub const SPARE: u16 = 0x50;
pub const GDT_LIMIT: u16 = 0x57;

pub fn descriptor(base: u64, limit: u32, access: u8, flags: u8) -> u64 {
    let (low, high) = (u64::from(limit & 0xffff), u64::from(limit >> 16 & 0xf));
    low | (base & 0xff_ffff) << 16
        | u64::from(access) << 40
        | high << 48
        | u64::from(flags) << 52
        | (base >> 24 & 0xff) << 56
}

pub struct Rig {
    pub vcpu: MockVcpu,
    pub machine: MockMachine,
    pub cpu: Cpu<'static>,
    pub outcome: Option<Outcome>,
}

impl Rig {
    /// A runs from its 32-bit TSS; B is available, or busy when it is to be returned to.
    pub fn new(source: TaskSwitchSource) -> Self {
        let mut machine = MockMachine::new();
        let cpu = cpu_of(Guest::new(&mut machine, policy(), false));
        let mut vcpu = MockVcpu::protected();
        vcpu.gprs = core::array::from_fn(|i| 0xa000_0000 + i as u64);
        (vcpu.rip, vcpu.rflags) = (0xaaaa, 0x4002);
        for (name, selector) in
            [(SegmentName::Cs, CODE), (SegmentName::Ss, DATA), (SegmentName::Ds, DATA), (SegmentName::Gs, 0x13)]
        {
            vcpu.segments[name as usize].selector = selector;
        }
        vcpu.task = Some(MockTask {
            request: TaskSwitch { selector: B, source, instruction_len: 7 },
            tr: Segment { selector: A, base: TSS_A, limit: 0x67, access: 0x8b, ..Segment::default() },
            ldtr: Segment::default(),
            gdtr: (GDT, GDT_LIMIT),
            dr7: 0x7ff,
            nmi_blocked: None,
            pdptes: None,
        });
        let mut rig = Self { vcpu, machine, cpu, outcome: None };
        let busy = if source == TaskSwitchSource::Iret { 2 } else { 0 };
        for (selector, value) in [
            (CODE, descriptor(0, 0xf_ffff, 0x9b, 0xc)),
            (DATA, descriptor(0, 0xf_ffff, 0x93, 0xc)),
            (USER_CODE, descriptor(0, 0xf_ffff, 0xfa, 0xc)),
            (USER_DATA, descriptor(0, 0xf_ffff, 0xf2, 0xc)),
            (A, descriptor(TSS_A, 0x67, 0x8b, 0)),
            (B, descriptor(TSS_B, 0x67, 0x89 | busy, 0)),
            (A16, descriptor(TSS16_A, 0x2b, 0x83, 0)),
            (B16, descriptor(TSS16_B, 0x2b, 0x81 | busy, 0)),
            (LOCAL, descriptor(LDT, 0x17, 0x82, 0)),
        ] {
            rig.set_descriptor(selector, value);
        }
        for (at, value) in [(0x20, 0xbbbb), (0x24, 0x202), (0x38, STACK_B), (0x48, 0x10), (0x4c, 0x8), (0x50, 0x10)] {
            rig.set_b(at, value);
        }
        for (index, at) in (0x28..0x38).step_by(4).chain((0x3c..0x48).step_by(4)).enumerate() {
            rig.set_b(at, 0xb000_0000 + index as u32);
        }
        rig.set_b(0x54, DATA.into());
        for (at, value) in [(0x0e, 0xbbb), (0x10, 0x246), (0x1a, 0x8000), (0x22, DATA), (0x24, CODE), (0x26, DATA)] {
            rig.machine.memory.put(TSS16_B + at, &u16::to_le_bytes(value));
        }
        for at in (0x12..0x1a).step_by(2) {
            rig.machine.memory.put(TSS16_B + at, &u16::to_le_bytes(0xb000 + at as u16));
        }
        rig
    }

    pub fn jump() -> Self {
        Self::new(TaskSwitchSource::Jump)
    }

    /// An event through a task gate; hardware's events have no instruction.
    pub fn gate(kind: EventKind, vector: u8, error: Option<u32>) -> Self {
        let mut rig = Self::new(TaskSwitchSource::Gate(Event { vector, kind, error }));
        rig.task().request.instruction_len = if kind == EventKind::Software { 2 } else { 0 };
        rig
    }

    pub fn task(&mut self) -> &mut MockTask {
        self.vcpu.task.as_mut().unwrap()
    }

    pub fn set_descriptor(&mut self, selector: u16, value: u64) {
        self.machine.memory.put(GDT + u64::from(selector & !7), &value.to_le_bytes());
    }

    /// Access byte of a descriptor in the GDT.
    pub fn access(&self, selector: u16) -> u8 {
        self.machine.memory.bytes[(GDT + u64::from(selector & !7)) as usize + 5]
    }

    pub fn set_b(&mut self, at: u64, value: u32) {
        self.machine.memory.put(TSS_B + at, &value.to_le_bytes());
    }

    pub fn dword(&self, at: u64) -> u32 {
        self.machine.memory.qword(at) as u32
    }

    pub fn word(&self, at: u64) -> u16 {
        self.dword(at) as u16
    }

    /// Runs the switch; what it raises.
    pub fn switch(&mut self) -> Option<Exception> {
        self.outcome = Some(self.cpu.on_exit(&mut self.vcpu, &mut self.machine, Exit::TaskSwitch));
        assert!(self.vcpu.injected.len() <= 1);
        self.vcpu.injected.pop()
    }

    pub fn assert_in_a(&self) {
        assert_eq!((self.vcpu.rip, self.vcpu.rflags, self.vcpu.task.unwrap().tr.selector), (0xaaaa, 0x4002, A));
        assert_eq!((self.dword(TSS_A + 0x20), self.access(A)), (0, 0x8b), "nothing of A has been saved");
        assert_eq!(self.vcpu.control.cr0 & 8, 0);
    }

    pub fn assert_in_b(&self) {
        assert_eq!((self.vcpu.rip, self.vcpu.task.unwrap().tr.selector), (0xbbbb, B));
        assert_eq!(self.dword(TSS_A + 0x28), 0xa000_0000, "A has been saved");
        assert_eq!(self.vcpu.control.cr0 & 8, 8);
    }
}
