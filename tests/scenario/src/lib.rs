//! Guest scripts against mediators and simulated devices, with an oracle after every request.
//!
//! [`Rig`] is the machine of the IDE scenarios and of their fuzz target ([`ahci`], [`nvme`] and [`e1000`] have their own): a disk with a protected range as primary master, a
//! plain disk as primary slave, a CD drive as secondary master, and a model of what the guest must see. The device's
//! addresses are audited at every single access of the guest; the platters, the arena and the model after every
//! request.
#![forbid(unsafe_code)]

pub mod ahci;
pub mod busy;
pub mod e1000;
mod model;
pub mod nvme;
pub mod own;
mod rig;
mod way;

pub use model::{MARKER, Model, payload};
pub use rig::{DATA, PLAIN, PROTECTED, Rig, SECTORS};
pub use way::{Way, command, pieces};
