//! Tests through the dispatcher, on a mock machine.

mod bus;
mod calls;
mod cards;
mod ecam;
mod faults;
mod instructions;
mod local_apic;
mod mediated_memory;
mod mmio;
pub(crate) mod mock;
mod msr;
mod passing;
mod platform;
mod random;
mod sleep;
mod smp;
mod string;
mod task_faults;
mod task_rig;
mod task_switch;
mod walk;
mod watch;
mod windows;
