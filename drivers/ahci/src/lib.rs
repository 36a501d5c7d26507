//! AHCI controllers: SATA disks with native command queuing, and packet devices.
//!
//! Guards every port of a controller of class 01h, sub-class 06h, programming interface 01h. Specifications: Serial ATA
//! AHCI 1.3.1; Serial ATA 3.2; the command set is that of the crate `acs`.
//!
//! - The controller never sees a structure of the guest: command list, command tables and received FISes are ours, slot
//!   by slot. A command is copied once when the guest issues it, judged by the table of `acs`, and given to the device
//!   from the copy.
//! - Regions of plain commands point at guest memory that was checked; requests of protected ranges go through `block`.
//! - What is refused is sent to the device as NOP, which every drive aborts: so interrupt, task file, FIS and the halted
//!   port are the device's own, and the guest recovers as ever. Queued commands end first. Where it is a sector that is
//!   not the guest's, those before are moved first, and task file, FIS and log show a bad sector instead of the abort.
//! - A command shows as done (PxCI, PxSACT, PxIS) once its data is in guest memory. Completion class: `TrappedRegister`.
//! - Not offered to guests: port multipliers, FIS-based switching, command completion coalescing, enclosure management.
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

mod complete;
mod fis;
mod issue;
mod judge;
mod mediator;
mod memory;
mod own;
mod port;
mod prdt;
mod probe;
mod registers;
mod regs;
pub mod spec;
mod unit;

use ::mediator::Ctx;
use ::mediator::pci::{AttachError, Attached, Driver, Function};
use alloc::boxed::Box;
use pci::Block;

/// Size of the bounce buffers of a controller.
pub use probe::POOL_BYTES;

/// The registers of 32 ports; fewer where the base address register places less.
const BLOCKS: [Block; 1] = [Block { region: regs::ABAR, bar: 5, max_len: 0x1100 }];

/// The driver of AHCI controllers.
pub static DRIVER: Driver =
    Driver { name: "ahci", matches, regions: |_, device| pci::memory_regions(device, &BLOCKS), attach };

/// Mass storage, SATA, AHCI.
fn matches(function: &Function) -> bool {
    (function.class, function.subclass, function.prog_if) == (0x01, 0x06, 0x01)
}

fn attach(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached, AttachError> {
    let guard = pci::MemoryGuard::attach(cx.device, &BLOCKS)?;
    let (regions, windows) = (guard.regions(), guard.windows());
    let controller = Box::new(probe::attach(cx, function, guard)?);
    Ok(Attached { controller, regions, windows })
}
