//! One guest and the dispatcher: one `match` from an exit to the file that answers it.

use crate::{Bus, Counters, Exit, FirmwareCall, Machine, Vcpu};
use alloc::boxed::Box;

/// What follows an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The guest runs on.
    Resume,
    /// Triple fault: reset the machine as hardware would.
    Reset,
    /// The CPU refuses to run the guest, or left it for a cause nobody asked for; the log says which.
    Stop,
}

/// The state of one guest; nothing of it is global.
pub struct Guest {
    pub bus: Bus,
    pub counters: Counters,
}

impl Guest {
    /// A guest on `machine` whose ports all pass. `hypercalls`: debug hypercalls are answered.
    pub fn new<M: Machine>(machine: &mut M, hypercalls: bool) -> Self {
        let _ = (machine, hypercalls);
        Self { bus: Bus::new(), counters: Counters::default() }
    }

    /// The VMMCALL or VMCALL at the linear address `at` calls `handler`; anywhere else it does not.
    pub fn set_firmware_call(&mut self, at: u64, handler: Box<dyn FirmwareCall>) {
        let _ = (at, handler);
    }

    /// Answers one exit. Never waits and never panics, whatever the guest did.
    pub fn on_exit<V: Vcpu, M: Machine>(&mut self, vcpu: &mut V, machine: &mut M, exit: Exit) -> Outcome {
        let _ = (vcpu, machine, exit);
        Outcome::Stop
    }
}
