//! VMMCALL and VMCALL: firmware stub first, then debug hypercalls, else #UD.

use crate::Vcpu;
use mediator::GuestMemory;

/// The VMM's end of a firmware stub, e.g. of INT 15h.
pub trait FirmwareCall: Send {
    /// The stub called. Registers and memory may be changed; the instruction is skipped afterwards.
    fn on_call(&mut self, vcpu: &mut dyn Vcpu, memory: &mut dyn GuestMemory);
}
