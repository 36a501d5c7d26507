//! The virtual CPU.

use crate::*;
use alloc::vec::Vec;

#[derive(Default)]
pub struct MockVcpu {
    pub gprs: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub segments: [Segment; 6],
    pub control: ControlRegisters,
    pub cpl: u8,
    pub instruction_len: Option<u8>,
    pub injected: Vec<Exception>,
    /// Calls of `skip_instruction`.
    pub ended: usize,
    /// Of the exit to be answered.
    pub io: Option<IoExit>,
    pub fault: Option<NestedFault>,
    /// What the vCPU was told of memory types.
    pub memory_types: Vec<x86::mtrr::Mtrrs>,
    pub tsc_offset: u64,
    pub counter_control: Option<u64>,
    pub task: Option<MockTask>,
    pub queued: Vec<u8>,
    pub halted: bool,
    /// Calls of `start`.
    pub started: Vec<u8>,
    pub woken: Vec<::sleep::WakingVector>,
}

/// What a task switch needs; `None` in [`MockVcpu`]: the hardware would switch.
#[derive(Clone, Copy)]
pub struct MockTask {
    pub request: TaskSwitch,
    pub tr: Segment,
    pub ldtr: Segment,
    pub gdtr: (u64, u16),
    pub dr7: u64,
    pub nmi_blocked: Option<bool>,
    pub pdptes: Option<[u64; 4]>,
}

impl MockVcpu {
    /// 64-bit code without paging, which no CPU has, but which spares most tests the page tables.
    pub fn long() -> Self {
        let mut vcpu = Self { rflags: 2, ..Self::default() };
        vcpu.control = ControlRegisters { cr0: 1, cr3: 0, cr4: 0, efer: 0x500 };
        vcpu.segments = [Segment { limit: u32::MAX, access: 0x93, default_32: true, ..Segment::default() }; 6];
        vcpu.segments[SegmentName::Cs as usize] =
            Segment { limit: u32::MAX, access: 0x9b, long: true, ..Segment::default() };
        vcpu.rip = 0x1000;
        vcpu
    }

    pub fn real() -> Self {
        let mut vcpu = Self { rflags: 2, ..Self::default() };
        vcpu.control.cr0 = 0x10;
        vcpu.segments = [Segment { limit: 0xffff, access: 0x93, ..Segment::default() }; 6];
        vcpu.rip = 0x1000;
        vcpu
    }

    /// Flat 32-bit protected mode without paging.
    pub fn protected() -> Self {
        let mut vcpu = Self::long();
        vcpu.control.efer = 0;
        let cs = &mut vcpu.segments[SegmentName::Cs as usize];
        (cs.long, cs.default_32) = (false, true);
        vcpu
    }

    pub fn get(&self, register: Gpr) -> u64 {
        self.gprs[register as usize]
    }

    pub fn set(&mut self, register: Gpr, value: u64) {
        self.gprs[register as usize] = value;
    }
}

impl Vcpu for MockVcpu {
    fn run(&mut self) -> Exit {
        Exit::Unexpected(0)
    }
    fn io(&self) -> IoExit {
        self.io.unwrap()
    }
    fn nested_fault(&self) -> NestedFault {
        self.fault.unwrap()
    }
    fn gpr(&self, register: Gpr) -> u64 {
        self.gprs[register as usize]
    }
    fn set_gpr(&mut self, register: Gpr, value: u64) {
        self.gprs[register as usize] = value;
    }
    fn rip(&self) -> u64 {
        self.rip
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, value: u64) {
        self.rflags = value;
    }
    fn segment(&self, name: SegmentName) -> Segment {
        self.segments[name as usize]
    }
    fn control(&self) -> ControlRegisters {
        self.control
    }
    fn set_efer(&mut self, value: u64) {
        self.control.efer = value;
    }
    fn memory_types_changed(&mut self, types: &x86::mtrr::Mtrrs) {
        self.memory_types.push(types.clone());
    }
    fn tsc_offset(&self) -> u64 {
        self.tsc_offset
    }
    fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }
    fn set_counter_control(&mut self, value: u64) {
        self.counter_control = Some(value);
    }
    fn cpl(&self) -> u8 {
        self.cpl
    }
    fn instruction_len(&self) -> Option<u8> {
        self.instruction_len
    }
    fn skip_instruction(&mut self, len_bytes: u8) {
        self.rip = self.rip.wrapping_add(u64::from(len_bytes));
        self.ended += 1;
    }
    fn set_recall(&mut self, _: crate::Recall) {}
    fn halt(&mut self, len_bytes: u8) {
        self.skip_instruction(len_bytes);
        self.halted = true;
    }
    fn skip_io(&mut self) {
        self.skip_instruction(1);
    }
    fn inject(&mut self, exception: Exception) {
        self.injected.push(exception);
    }
    fn reinject(&mut self) {}
    fn queue_interrupt(&mut self, vector: u8) {
        self.queued.push(vector);
    }
    fn wake(&mut self, vector: ::sleep::WakingVector) {
        self.woken.push(vector);
    }
    fn start(&mut self, page: u8) {
        self.started.push(page);
    }
    fn task_state(&mut self) -> Option<&mut dyn TaskState> {
        if self.task.is_some() { Some(self) } else { None }
    }
}

impl TaskState for MockVcpu {
    fn task_switch(&self) -> TaskSwitch {
        self.task.unwrap().request
    }
    fn task_register(&self) -> Segment {
        self.task.unwrap().tr
    }
    fn set_task_register(&mut self, tss: Segment) {
        self.task.as_mut().unwrap().tr = tss;
    }
    fn set_ldtr(&mut self, ldt: Segment) {
        self.task.as_mut().unwrap().ldtr = ldt;
    }
    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        self.segments[name as usize] = segment;
        if name == SegmentName::Ss {
            self.cpl = segment.access >> 5 & 3;
        }
    }
    fn gdtr(&self) -> (u64, u16) {
        self.task.unwrap().gdtr
    }
    fn set_cr3(&mut self, value: u64, pdptes: Option<[u64; 4]>) {
        self.control.cr3 = value;
        self.task.as_mut().unwrap().pdptes = pdptes;
    }
    fn set_task_switched(&mut self) {
        self.control.cr0 |= 8;
    }
    fn dr7(&self) -> u64 {
        self.task.unwrap().dr7
    }
    fn set_dr7(&mut self, value: u64) {
        self.task.as_mut().unwrap().dr7 = value;
    }
    fn set_rip(&mut self, value: u64) {
        self.rip = value;
    }
    fn set_nmi_blocked(&mut self, blocked: bool) {
        self.task.as_mut().unwrap().nmi_blocked = Some(blocked);
    }
}
