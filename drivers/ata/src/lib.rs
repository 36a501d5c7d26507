//! ATA (IDE) controllers: PIO and bus-master DMA.
//!
//! Guards every unit of a controller of class 01h, sub-class 01h: disks with protected ranges, plain disks, and packet
//! devices. Specifications: ATA/ATAPI-7 (T13/1532D revision 4b) volumes 1 and 2, ATA8-ACS (T13/1699D revision 6a) for
//! later commands, Programming Interface for Bus Master IDE Controller 1.0, PCI IDE Controller Specification 1.0.
//!
//! - Register accesses pass while nothing of ours is pending, commands are judged by a table ([`cmd`]).
//! - The bus master never sees a table of the guest: it gets a copy that was checked ([`prd`]), or one that points at
//!   the channel's bounce buffer, where sectors of protected ranges are transformed.
//! - What is refused the device aborts as a NOP. Where it is a sector that is not the guest's, those before are moved first,
//!   and the registers show a bad sector instead of the abort.
//! - A DMA command is held until the guest has also started the bus master, because only then is everything known.
//! - A request of the VMM's own has the channel to itself, and the guest sees nothing of it (`own.rs`).
//! - Completion class: `TrappedRegister`. The guest must read a status register before it trusts memory; that read
//!   makes the data complete first.
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

mod bounce;
mod busmaster;
mod channel;
mod command;
mod dma;
mod extents;
mod guard;
mod mediator;
mod own;
mod pio;
mod ports;
mod prd;
mod probe;
pub mod spec;
mod unit;

#[cfg(test)]
mod tests;

use acs::{cmd, denied, identify, taskfile, trim};

use ::mediator::Ctx;
use ::mediator::pci::{AttachError, Attached, Driver, Function};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

/// Size of the bounce buffer that each channel with a disk takes from the DMA arena.
pub use bounce::BOUNCE_BYTES;
/// Size of the PRD table that each channel with a unit takes from the DMA arena.
pub use prd::TABLE_BYTES;

/// The driver of IDE controllers.
pub static DRIVER: Driver = Driver { name: "ata", matches, regions: |_, device| guard::regions(device), attach };

/// Mass storage, IDE.
fn matches(function: &Function) -> bool {
    (function.class, function.subclass) == (0x01, 0x01)
}

fn attach(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached, AttachError> {
    let regions = guard::regions(cx.device);
    let mut channels = [channel::Channel::new(0), channel::Channel::new(1)];
    for channel in &mut channels {
        probe::attach(cx, channel)?;
    }
    let name = format!("ata {}", function.bdf);
    Ok(Attached { controller: Box::new(mediator::Ata { name, channels }), regions, windows: Vec::new() })
}
