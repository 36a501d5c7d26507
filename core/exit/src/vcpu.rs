//! The contract of a virtual CPU, the same for AMD-V and VT-x.

use crate::{Event, ExitKind, TaskState};
use mediator::{Gpa, Width};
use sleep::WakingVector;
use x86::mtrr::Mtrrs;

/// General purpose registers by their encoding (SDM Vol. 2A table 2-2: RAX = 0 ... R15 = 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Gpr {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// Segment registers by their encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SegmentName {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    pub selector: u16,
    pub base: u64,
    /// In bytes, granularity applied.
    pub limit: u32,
    /// CS.L: 64-bit code.
    pub long: bool,
    /// D/B: 32-bit default sizes.
    pub default_32: bool,
    /// The raw type, S, DPL, P bits (descriptor byte 5).
    pub access: u8,
}

/// Control registers and EFER, as the guest has set them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ControlRegisters {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    /// As the guest sees it: without the bits that the VMM keeps set.
    pub efer: u64,
}

/// An exception to be raised in the guest at its next instruction boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exception {
    /// #DB, vector 1; these bits are set in DR6 besides those that it has.
    Debug(u64),
    /// #UD, vector 6.
    InvalidOpcode,
    /// #DF, vector 8, error code 0.
    DoubleFault,
    /// #TS, vector 10.
    InvalidTss(u32),
    /// #NP, vector 11.
    SegmentNotPresent(u32),
    /// #SS, vector 12.
    StackFault(u32),
    /// #GP, vector 13.
    GeneralProtection(u32),
    /// #PF, vector 14; CR2 is set to the address.
    PageFault { error: u32, address: u64 },
}

impl Exception {
    pub const fn vector(self) -> u8 {
        match self {
            Self::Debug(_) => 1,
            Self::InvalidOpcode => 6,
            Self::DoubleFault => 8,
            Self::InvalidTss(_) => 10,
            Self::SegmentNotPresent(_) => 11,
            Self::StackFault(_) => 12,
            Self::GeneralProtection(_) => 13,
            Self::PageFault { .. } => 14,
        }
    }

    /// What its handler finds on the stack, but in real mode, where no exception has an error code.
    pub const fn error_code(self) -> Option<u32> {
        match self {
            Self::Debug(_) | Self::InvalidOpcode => None,
            Self::DoubleFault => Some(0),
            Self::InvalidTss(error)
            | Self::SegmentNotPresent(error)
            | Self::StackFault(error)
            | Self::GeneralProtection(error)
            | Self::PageFault { error, .. } => Some(error),
        }
    }
}

/// A port access that left the guest. Neither RIP nor registers have changed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
// Too large to be returned in a register, where its fields would be packed and unpacked again: 8 instructions an exit.
#[repr(align(32))]
pub struct IoExit {
    pub port: u16,
    /// Byte, word or dword.
    pub width: Width,
    /// IN or INS.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// REP prefix; only of INS and OUTS.
    pub rep: bool,
}

/// A guest access that nested paging refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NestedFault {
    pub gpa: Gpa,
    pub write: bool,
    pub fetch: bool,
    /// The access was made by the CPU while it walked the guest's own page tables.
    pub page_walk: bool,
    /// The fault came while this event was delivered through the IDT: the access is not that of the instruction at RIP. The event
    /// is lost unless it is injected again.
    pub delivering: Option<Event>,
}

/// Why the guest stopped running; neutral words. No larger than a register: in memory it would keep the compiler from
/// seeing through an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Cpuid,
    ReadMsr,
    WriteMsr,
    /// IN, OUT, INS or OUTS; [`Vcpu::io`] tells more.
    Io,
    /// [`Vcpu::nested_fault`] tells more.
    NestedFault,
    /// VMMCALL or VMCALL.
    Hypercall,
    /// An instruction of the virtualization extension that the guest is told it does not have.
    VirtualizationInstruction,
    /// A task switch that the VMM is to carry out; [`Vcpu::task_state`] tells more.
    TaskSwitch,
    /// INVD. The CPU crate has written the caches back and invalidated them; the instruction is still to be skipped.
    InvalidateCaches,
    /// HLT while a queued interrupt waits, or the VMM is to be back in time; [`Vcpu::halt`] goes on.
    Halt,
    /// Triple fault.
    Shutdown,
    /// An INIT signal: the guest's own by its local APIC, port 92h, port CF9h or the keyboard controller.
    Init,
    /// Another CPU of the VMM asks for this one; nothing of the guest has changed.
    Signal,
    /// The CPU crate has answered it already; it is only counted.
    Answered(ExitKind),
    /// The CPU refused the guest state.
    InvalidState,
    /// A cause that was never asked for; the low half of the hardware's code.
    Unexpected(u32),
}
const _: () = assert!(size_of::<Exit>() <= 8);

/// When the VMM wants the CPU back, besides at the guest's own exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recall {
    /// When an external interrupt comes. The guest gets it afterwards.
    pub at_interrupt: bool,
    /// When the CPU's TSC shows that much, or soon after, whatever the guest does.
    pub at_tsc: Option<u64>,
}

impl Recall {
    /// Never.
    pub const NONE: Self = Self { at_interrupt: false, at_tsc: None };
}

/// A virtual CPU. Owns its control block.
pub trait Vcpu {
    /// Runs the guest to its next exit.
    fn run(&mut self) -> Exit;
    /// The port access that exited. Only after [`Exit::Io`]. Read where it is used and not
    /// carried in [`Exit`], because on the way through an enum it costs a third of the exit.
    fn io(&self) -> IoExit;
    /// The access that nested paging refused. Only after [`Exit::NestedFault`].
    fn nested_fault(&self) -> NestedFault;
    /// A general purpose register, all 64 bits.
    fn gpr(&self, register: Gpr) -> u64;
    fn set_gpr(&mut self, register: Gpr, value: u64);
    fn rip(&self) -> u64;
    fn rflags(&self) -> u64;
    fn set_rflags(&mut self, value: u64);
    fn segment(&self, name: SegmentName) -> Segment;
    fn control(&self) -> ControlRegisters;
    /// Sets EFER as the guest sees it; the VMM's own bits stay.
    fn set_efer(&mut self, value: u64);
    /// The guest has given physical addresses these memory types (MTRR). Nothing is to be done where the CPU's own MTRRs,
    /// which stay as the firmware left them, apply to a guest.
    fn memory_types_changed(&mut self, _types: &Mtrrs) {}
    /// What the guest's TSC is ahead of the CPU's, modulo 2 to the power of 64. Stays over [`Vcpu::start`], as the TSC stays
    /// over INIT.
    fn tsc_offset(&self) -> u64;
    /// While the offset is not 0, the guest's accesses to TSC_DEADLINE exit.
    fn set_tsc_offset(&mut self, offset: u64);
    /// Which performance counters run while the guest does (PERF_GLOBAL_CTRL). Only where the policy has that rule.
    fn set_counter_control(&mut self, _value: u64) {}
    /// Current privilege level, 0 to 3.
    fn cpl(&self) -> u8;
    /// Length of the instruction that exited, where the CPU tells it (NRIP save, VM-exit instruction length).
    fn instruction_len(&self) -> Option<u8>;
    /// Past the instruction that exited, or by 0 bytes when a repetition of it has ended: RIP moves on (wrapped to the
    /// mode's width by the implementation), TF traps, and the interrupt shadow ends.
    fn skip_instruction(&mut self, len_bytes: u8);
    /// Likewise past the IN or OUT that exited, whose length the CPU tells.
    fn skip_io(&mut self);
    /// Raises an exception at the guest's next entry, in place of any event that was being delivered.
    fn inject(&mut self, exception: Exception);
    /// The event whose delivery was cut off by the exit is delivered again at the next entry. Without such an event
    /// nothing happens.
    fn reinject(&mut self);
    /// An external interrupt with this vector is delivered as soon as the guest can take one: RFLAGS.IF is set, no STI or MOV SS
    /// holds interrupts off, and no other event is delivered first. A halted guest wakes. Of several vectors the highest comes
    /// first, and each comes once, however often it was queued before. The local APIC has no part in it: neither does its task
    /// priority hold the interrupt back, nor does it await an EOI.
    fn queue_interrupt(&mut self, vector: u8);
    /// From now on the guest is left for this as well, by exits that are [`Exit::Answered`], and no longer for what was asked before.
    /// [`Vcpu::put_away`] suspends it. Nothing asked: nothing is intercepted for it, and no timer runs.
    fn set_recall(&mut self, recall: Recall);
    /// HLT of this length has exited: the guest waits behind it for an interrupt.
    fn halt(&mut self, len_bytes: u8);
    /// The state after INIT, at what a startup IPI names (SDM Vol. 3A table 10-1 and s. 9.4.4.1): real mode, CS is
    /// `page` << 8 with the base `page` << 12, IP 0, CR0 6000_0010h, EDX the CPU's signature (CPUID leaf 1, EAX), the other
    /// registers zero. x87, SSE, XCR0 and most MSRs stay. What was queued or being delivered is dropped.
    fn start(&mut self, page: u8);
    /// The CPU may be reset now while memory is kept: what it holds of the control block is written there.
    fn put_away(&mut self) {}
    /// The control block is the CPU's again, after [`Vcpu::put_away`]. The virtualization extension is on.
    fn take_up(&mut self) {}
    /// After [`Vcpu::take_up`] on a CPU that was reset: the state in which firmware enters `vector` (ACPI Specification 6.5 s. 16.3),
    /// real mode with the caches on, other registers as after a reset. What was queued or being delivered is dropped.
    fn wake(&mut self, vector: WakingVector);
    /// What a task switch needs. `None`: the hardware switches tasks by itself, and [`Exit::TaskSwitch`] never comes.
    fn task_state(&mut self) -> Option<&mut dyn TaskState> {
        None
    }
}
