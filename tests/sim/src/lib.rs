//! A simulated machine for mediators: devices, memory, clock and power cuts.
//!
//! [`Machine`] plays the part of the VMM: it routes the guest's accesses to a mediator, performs the [`Verdict`]s and
//! the [`Work`], and so is the executable documentation of the contract in the crate `mediator`. [`SimIde`] is the
//! controller behind it, [`guest`] the drivers in front of it. Nothing happens by itself: the device makes progress
//! when a test calls [`Machine::tick`], so that every interleaving can be scripted.
//!
//! This is an instrument of tests: a breach of the contract panics, and the test that caused it fails.
//!
//! [`Verdict`]: mediator::Verdict
//! [`Work`]: mediator::Work
#![forbid(unsafe_code)]

pub mod ahci;
mod arena;
mod bus;
pub mod e1000;
pub mod guest;
mod hooks;
pub mod ide;
mod machine;
mod memory;
pub mod nvme;
mod platter;
mod ranges;

pub use arena::SimArena;
pub use bus::{Bus, DmaFault};
pub use hooks::{SimHooks, Wires};
pub use ide::SimIde;
pub use machine::Machine;
pub use memory::{ARENA, RAM_HIGH, RAM_LOW, RAM_TOP, SimMemory, VMM};
pub use platter::{Platter, SECTOR_BYTES, Sector, untouched};
pub use ranges::{SimRanges, SimTransform};
