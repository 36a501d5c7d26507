//! What an exit is and who answers it: dispatcher, bus, one file per kind of exit.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod a20;
mod ask;
mod bus;
mod calls;
mod cards;
mod config_ports;
mod counters;
mod cpu;
mod cpuid;
mod delivery;
mod ecam;
mod gate;
mod gpr;
mod guest;
mod hooks;
mod hypercall;
mod icr;
mod instruction;
mod interrupts;
mod io;
mod local_apic;
mod machine;
mod mediated;
mod mediated_memory;
pub mod mmio;
mod msr;
mod msr_refusals;
mod nested_fault;
mod port_table;
mod refusals;
mod sleep;
mod string;
mod task_state;
mod task_switch;
#[cfg(test)]
mod tests;
mod tsc;
mod vcpu;
mod walk;
mod watch;
mod windows;
mod wiring;

pub use bus::Bus;
pub use calls::{Call, Caller, Callers, Handler, register};
pub use counters::{Counters, ExitKind};
pub use cpu::{Cpu, Outcome};
pub use delivery::second_exception;
pub use ecam::{ConfigWindow, FrozenRegisters, FrozenValues, WindowAbove4Gib};
pub use guest::Guest;
pub use hooks::Hook;
pub use hypercall::FirmwareCall;
pub use instruction::init;
pub use interrupts::QueuedInterrupts;
pub use machine::{DeviceMemory, Machine, Parts, Ports};
pub use policy::{CpuidLeaf, Policy};
pub use sleep::{SleepPorts, SleepRequest, SleepWrite};
pub use task_state::{Event, EventKind, TaskState, TaskSwitch, TaskSwitchSource};
pub use vcpu::{ControlRegisters, Exception, Exit, Gpr, IoExit, NestedFault, Recall, Segment, SegmentName, Vcpu};
