//! An NVMe controller, the machine around it, and a driver in the guest.
//!
//! Written from the NVM Express Base Specification, revision 1.4 ("NVMe"), independently of the mediator, as a second opinion.

mod admin;
mod command;
mod device;
mod guest;
mod identify;
mod machine;
mod messages;
mod queues;

pub use command::{Entry, Reply, status};
pub use device::{SimNamespace, SimNvme};
pub use guest::{Failure, NvmeGuest, Queue, read, write};
pub use machine::{BAR, FUNCTION, NvmeMachine};
pub use messages::{Messages, VECTORS};
