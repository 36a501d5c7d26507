//! NVMe controllers.
//!
//! Guards every function of class 01h, sub-class 08h, interface 02h. Specification: NVM Express Base Specification, revision 1.4;
//! controllers of other revisions are served within it.
//!
//! - The device never sees a queue of the guest's. Each has a shadow in the arena ([`ring`]): entries are copied once when the
//!   doorbell rings, judged by tables ([`policy`]), and get addresses that were checked ([`prp`]) or those of bounce buffers (the
//!   crate `block`). Completions are copied to the guest's queue with its own identifiers, head and phase.
//! - Not offered, and hidden in what the controller tells: SGLs, memory buffers of controller and host, doorbell buffers, boot
//!   partitions, other command sets, and the commands that [`policy`] refuses.
//! - Completion class: `MemoryOnly`. The guest looks at its completion queue and at no register, so completions are there before the
//!   guest takes the interrupt. MSI-X stays the guest's; an interrupt that may have come too early is followed by another one, which
//!   a command without effect raises. Queues without interrupts are polled while the doorbell's writer is kept waiting.
//! - Namespaces with metadata are not served. A namespace is the disk `channel = NSID`.
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

mod admin;
mod cmd;
mod controller;
mod guard;
mod identify;
mod io;
mod mediator;
mod namespaces;
mod own;
mod policy;
mod power;
mod probe;
mod prp;
mod queues;
mod registers;
mod requests;
mod ring;
pub mod spec;
mod unused;

#[cfg(test)]
mod tests;

use ::mediator::Ctx;
use ::mediator::pci::{AttachError, Attached, Driver, Function};
use alloc::boxed::Box;
use alloc::format;

/// Size of a controller's bounce buffers.
pub const BOUNCE_BYTES: usize = 1 << 20;

/// The driver of NVMe controllers.
pub static DRIVER: Driver = Driver { name: "nvme", matches, regions: |_, device| guard::regions(device), attach };

/// Mass storage, non-volatile memory, NVM Express.
fn matches(function: &Function) -> bool {
    (function.class, function.subclass, function.prog_if) == (0x01, 0x08, 0x02)
}

fn attach(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached, AttachError> {
    let nvme = probe::attach(cx, format!("nvme {}", function.bdf))?;
    Ok(Attached { regions: nvme.guard.regions(), windows: nvme.guard.windows(), controller: Box::new(nvme) })
}
