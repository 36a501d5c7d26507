//! The list of capabilities in configuration space (PCI 3.0 s. 6.7).

use crate::header;
use alloc::vec::Vec;
use mediator::{Device, Width};

/// More do not fit: each takes a dword at least.
const MAX: usize = 48;

/// IDs of capabilities (PCI Code and ID Assignment Specification 1.11 s. 2).
pub mod id {
    pub const POWER_MANAGEMENT: u8 = 0x01;
    pub const MSI: u8 = 0x05;
    pub const EXPRESS: u8 = 0x10;
    pub const MSI_X: u8 = 0x11;
    pub const ADVANCED_FEATURES: u8 = 0x13;
}

/// One capability; where it lies is hard-wired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    pub id: u8,
    /// Of its first byte.
    pub offset: u16,
}

/// The capabilities of a function, in the order of their places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// Follows the list; one that is a circle ends where it would come back.
    pub fn read(device: &mut dyn Device) -> Self {
        let mut found: Vec<Capability> = Vec::new();
        if device.config_read(header::COMMAND, Width::Dword) & header::STATUS_CAPABILITIES == 0 {
            return Self(found);
        }
        let mut at = device.config_read(header::CAPABILITIES, Width::Byte) as u16 & 0xfc;
        while at >= header::DEVICE_SPECIFIC && found.len() < MAX && found.iter().all(|it| it.offset != at) {
            let [id, next, ..] = device.config_read(at, Width::Dword).to_le_bytes();
            found.push(Capability { id, offset: at });
            at = u16::from(next & 0xfc);
        }
        found.sort_by_key(|it| it.offset);
        Self(found)
    }

    /// The first with this ID.
    pub fn find(&self, id: u8) -> Option<Capability> {
        self.0.iter().copied().find(|it| it.id == id)
    }

    /// The capability that begins last before a register, which is its own unless it is nobody's.
    pub fn before(&self, register: u16) -> Option<Capability> {
        self.0.iter().copied().rfind(|it| it.offset <= register)
    }
}
