//! The owner of every port, one byte each. CPUs read it without a lock; it changes before the guest starts, and later
//! while all CPUs but one stand still ([`crate::Machine::stop_others`]).

use alloc::boxed::Box;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;
use mediator::Width;

/// Owners as the table holds them.
pub(crate) mod owner {
    /// The guest: accesses pass.
    pub const NOBODY: u8 = 0;
    /// Nothing is there: reads give all ones, writes vanish.
    pub const HIDDEN: u8 = 1;
    pub const SYSTEM_CONTROL: u8 = 2;
    pub const KEYBOARD: u8 = 3;
    pub const CONFIG_ADDRESS: u8 = 4;
    pub const CONFIG_DATA: u8 = 5;
    pub const SLEEP: u8 = 6;
    /// From here on: a region of a controller, see [`super::RegionOwner`].
    pub const FIRST_REGION: u8 = 1 << 3;
    /// This bit is no part of the owner: at times reads of a byte of this register pass, see [`crate::gate`].
    pub const POLLED: u8 = 1 << 7;
}

/// Regions that one controller may have.
pub(crate) const MAX_REGIONS: usize = 8;
/// Controllers that fit into an owner's byte.
pub(crate) const MAX_CONTROLLERS: usize = 15;
const _: () = assert!(owner::FIRST_REGION as usize + MAX_CONTROLLERS * MAX_REGIONS <= owner::POLLED as usize);

/// Number of a controller and of one of its regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RegionOwner {
    pub controller: usize,
    /// Less than [`MAX_REGIONS`].
    pub region: usize,
}

impl RegionOwner {
    /// The owner's byte: the controller's number plus 1 in bits 6:3, the region's in bits 2:0.
    #[inline(always)]
    pub fn decode(owner: u8) -> Self {
        Self { controller: usize::from(owner >> 3 & 0xf).wrapping_sub(1), region: usize::from(owner & 7) }
    }

    /// For numbers within their limits.
    pub fn encode(self) -> u8 {
        owner::FIRST_REGION.wrapping_add((self.controller << 3 | self.region) as u8)
    }
}

const PORTS: usize = 1 << 16;

/// Who owns each port.
pub(crate) struct PortTable(Box<[AtomicU8; PORTS]>);

impl PortTable {
    /// All ports are the guest's.
    pub fn new() -> Self {
        Self(Box::new([const { AtomicU8::new(owner::NOBODY) }; PORTS]))
    }

    #[inline(always)]
    pub fn owner(&self, port: u16) -> u8 {
        self.entry(port) & !owner::POLLED
    }

    /// The owner, and whether it is the port of a polled register.
    #[inline(always)]
    pub fn entry(&self, port: u16) -> u8 {
        self.0.get(usize::from(port)).map_or(owner::HIDDEN, |entry| entry.load(Relaxed))
    }

    /// Are all ports that an access touches `owner`'s? Past port FFFFh there are none.
    #[inline(always)]
    pub fn is_sole_owner(&self, owner: u8, port: u16, width: Width) -> bool {
        let owns = |offset| port.checked_add(offset).is_some_and(|port| self.owner(port) == owner);
        match width {
            Width::Byte => true,
            Width::Word => owns(1),
            _ => owns(1) && owns(2) && owns(3),
        }
    }

    fn ports(&self, base: u16, len: u16) -> Option<&[AtomicU8]> {
        self.0.get(usize::from(base)..)?.get(..usize::from(len))
    }

    /// Takes the ports `base..base + len`, with a polled register among them at this offset. False, and nothing changed: one
    /// of them is not there, or somebody else's.
    #[must_use]
    pub fn claim(&self, owner: u8, base: u16, len: u16, polled: Option<u16>) -> bool {
        let is_free = |entry: &AtomicU8| [owner::NOBODY, owner].contains(&(entry.load(Relaxed) & !owner::POLLED));
        let Some(ports) = self.ports(base, len).filter(|ports| ports.iter().all(is_free)) else { return false };
        for (offset, entry) in (0_u16..).zip(ports) {
            let flag = if polled == Some(offset) { owner::POLLED } else { 0 };
            entry.store(owner | flag, Relaxed);
        }
        true
    }

    /// What is `owner`'s of the ports `base..base + len` becomes nobody's.
    pub fn release(&self, owner: u8, base: u16, len: u16) {
        let ports = self.ports(base, len).unwrap_or_default();
        for entry in ports.iter().filter(|entry| entry.load(Relaxed) & !owner::POLLED == owner) {
            entry.store(owner::NOBODY, Relaxed);
        }
    }
}
