//! Tunnels of network cards.

use crate::failure::Failure;
use alloc::boxed::Box;
use alloc::format;
use config::TunnelRule;
use mediator::net::{CardInfo, Tunnel};

/// Opens the tunnel of a card, given by its number and the name of its rule.
///
/// # Errors
/// This image has none.
pub fn open(_: usize, name: &str, _: CardInfo, _: &TunnelRule) -> Result<Box<dyn Tunnel>, Failure> {
    Err(format!("the network rule `{name}` wants a tunnel, and tunnels are not linked into this image").into())
}
