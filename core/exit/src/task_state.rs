//! What a task switch needs of a virtual CPU beyond [`Vcpu`], where the hardware leaves the switch to the VMM.
//!
//! Task switches exist in protected mode without IA-32e mode only, so addresses have 32 bits.

use crate::{Segment, SegmentName, Vcpu};

/// An event on its way through the IDT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    pub vector: u8,
    pub kind: EventKind,
    /// The error code that the handler is to find on its stack.
    pub error: Option<u32>,
}

/// Where an event came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// From a device or a local APIC.
    ExternalInterrupt,
    Nmi,
    /// Raised by the CPU; also INT1.
    HardwareException,
    /// INT n, INT3 and INTO.
    Software,
}

/// What asked for a task switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskSwitchSource {
    /// Far CALL to a TSS or a task gate.
    Call,
    /// IRET with RFLAGS.NT set.
    Iret,
    /// Far JMP to a TSS or a task gate.
    Jump,
    /// A task gate in the IDT.
    Gate(Event),
}

/// A task switch that left the guest. Nothing of it has been done: RIP is that of the instruction or, for an event that
/// no instruction caused, the one that its handler is to return to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskSwitch {
    /// Of the new task's TSS; the CPU has taken it from the instruction, the task gate or the back link.
    pub selector: u16,
    pub source: TaskSwitchSource,
    /// Length of the instruction that switches: CALL, JMP, IRET, INT n, INT1, INT3 or INTO. 0: no instruction.
    pub instruction_len: u8,
}

/// A virtual CPU whose task switches are carried out by the VMM: [`Vcpu::task_state`].
///
/// Segments given to the setters pass the checks of VM entry if their base, limit and access byte do. One whose access
/// byte lacks P (bit 7) is unusable; its DPL counts all the same, for SS. Granularity follows from the limit: above
/// 1 MiB it ends in FFFh.
pub trait TaskState: Vcpu {
    /// The switch that exited. Only after [`crate::Exit::TaskSwitch`].
    fn task_switch(&self) -> TaskSwitch;
    /// The task register; its access byte tells a 16-bit TSS (type 3) from a 32-bit one (type 11).
    fn task_register(&self) -> Segment;
    fn set_task_register(&mut self, tss: Segment);
    fn set_ldtr(&mut self, ldt: Segment);
    /// A segment register with its hidden part. The current privilege level becomes the DPL of SS.
    fn set_segment(&mut self, name: SegmentName, segment: Segment);
    /// Base and limit of the GDT.
    fn gdtr(&self) -> (u64, u16);
    /// Loads CR3 as MOV does: translations but for global ones are dropped. `pdptes`: with PAE paging the four entries
    /// at the new address, checked.
    fn set_cr3(&mut self, value: u64, pdptes: Option<[u64; 4]>);
    /// Sets CR0.TS.
    fn set_task_switched(&mut self);
    fn dr7(&self) -> u64;
    fn set_dr7(&mut self, value: u64);
    /// Goes on at another place: the CPU is active (not halted), the interrupt shadow and pending debug exceptions end.
    fn set_rip(&mut self, value: u64);
    /// NMIs are blocked from now on, as in an NMI's handler, or no longer, as after its IRET.
    fn set_nmi_blocked(&mut self, blocked: bool);
}
