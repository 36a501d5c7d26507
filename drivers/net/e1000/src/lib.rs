//! Network cards of Intel: 82540EM, 82545EM and 82574L, which QEMU has as `e1000`, `e1000-82545em` and `e1000e`.
//!
//! Sources: Intel "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453) rev. 4.0 ("SDM"); Intel "82574 GbE
//! Controller Family Datasheet" rev. 3.4 ("DS").
//!
//! - The VMM drives the real card ([`card`]) from the start, and the guest's driver sees a model of it ([`model`]), whose registers have no effect
//!   on the real one but how often it interrupts (ITR). [`traffic`] stands between both.
//! - `pass` is the same with a piece of cable in the tunnel's place (`net::Straight`), and not shadows of the guest's rings: nothing that
//!   the guest writes reaches the card that way either, there is no second table of registers to keep right, and who publishes what the card
//!   has done is the same for drivers that read ICR and for those that look at memory only. It costs a copy of each frame each way, and
//!   sums and segments in software.
//! - The guest's descriptors of all forms are copied once; checksums, segmentation, VLAN tags and filters are software's ([`tx`], [`rx`]).
//! - One access looks at 512 descriptors and begins no packet after 256 KiB of the guest's ([`tx`]), takes 256 frames from the cable, and hands out 256
//!   frames of the tunnel's after each 32 of these ([`traffic`]), at most; the rest follows at the next call.
//! - Hidden: MSI-X, the ports of the 82574, wake-up, management, the flash. Served without effect: the second queue of the 82574 and RSS
//!   (all goes by the first), delays of interrupts by packets (RDTR, RADV, TIDV, TADV; causes come at once), flow control, loopback (no
//!   frame comes back).
//! - Completion class: `TrappedRegister`. Drivers read ICR before they trust memory. One that only looks at memory gets its frames
//!   by [`NetController::poll`](::mediator::net::NetController::poll).
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

mod card;
mod config;
mod desc;
mod eeprom;
mod mediator;
mod model;
mod phy;
mod regs;
mod rx;
mod spec;
mod statistics;
mod traffic;
mod tx;

use ::mediator::Ctx;
use ::mediator::net::NetController;
use ::mediator::pci::{AttachError, Attached, Driver, Function};
use alloc::boxed::Box;
use alloc::format;

/// The driver of these cards.
pub static DRIVER: Driver<dyn NetController> =
    Driver { name: "e1000", matches, regions: |_, device| config::regions(device), attach };

fn kind(function: &Function) -> Option<spec::Kind> {
    spec::Kind::of(function.device).filter(|_| function.vendor == spec::VENDOR)
}

fn matches(function: &Function) -> bool {
    kind(function).is_some()
}

fn attach(function: &Function, cx: &mut Ctx<'_>) -> Result<Attached<dyn NetController>, AttachError> {
    let kind = kind(function).ok_or(AttachError("no card of this kind"))?;
    let config = config::Config::attach(cx.device, kind)?;
    let card = card::Card::new(cx.device, kind).map_err(AttachError)?;
    let eeprom = eeprom::Eeprom::copy(cx.device, kind, card.mac);
    let mut model = model::Model::new(kind, card.mac, eeprom);
    let mut traffic = traffic::Traffic::new(card);
    traffic.look_at_link(cx, &mut model);
    // The link was there before the guest.
    model.reset();
    let controller = mediator::E1000 { name: format!("e1000 {}", function.bdf), config, model, traffic, io_addr: 0 };
    let (regions, windows) = (controller.config.regions(), controller.config.guard.windows());
    Ok(Attached { regions, windows, controller: Box::new(controller) })
}
