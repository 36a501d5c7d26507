//! Tests through the dispatcher, on a mock machine.

mod bus;
mod faults;
mod instructions;
pub(crate) mod mock;
mod msr;
mod passing;
mod platform;
mod random;
mod smp;
mod string;
mod task_faults;
mod task_rig;
mod task_switch;
mod walk;
