//! Network cards of Intel (82540EM, 82545EM, 82574L), the machine around one, and a driver in the guest.
//!
//! Written from Intel's "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453) rev. 4.0 and the 82574's
//! datasheet rev. 3.4, independently of the mediator, as a second opinion.

mod config;
mod device;
mod guest;
mod machine;
mod regs;

pub use device::SimE1000;
pub use guest::{E1000Guest, Form, Frame, Offload, TX_BUFFERS};
pub use machine::{BAR, E1000Machine, function};
pub use regs::*;
