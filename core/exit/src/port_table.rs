//! The owner of every port, and whether reads pass it by, one byte each.

use crate::Machine;
use alloc::boxed::Box;
use alloc::vec::Vec;
use mediator::Width;

/// Owners as the table holds them.
pub(crate) mod owner {
    /// The guest: accesses pass.
    pub const NOBODY: u8 = 0;
    /// Nothing is there: reads give all ones, writes vanish.
    pub const HIDDEN: u8 = 1;
    pub const A20: u8 = 2;
    pub const CONFIG_DATA: u8 = 3;
    pub const SLEEP: u8 = 4;
    /// From here on: a region of a controller, see [`super::RegionOwner`].
    pub const FIRST_REGION: u8 = 8;
    /// This bit is no part of the owner: it tells that reads of a byte pass for now, whoever owns the port.
    pub const READS_PASS: u8 = 1 << 7;
}

/// Regions that one controller may have.
pub(crate) const MAX_REGIONS: usize = 8;
/// Controllers that fit into an owner's byte.
pub(crate) const MAX_CONTROLLERS: usize = 15;
const _: () = assert!(owner::FIRST_REGION as usize + MAX_CONTROLLERS * MAX_REGIONS <= owner::READS_PASS as usize);

/// Number of a controller and of one of its regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RegionOwner {
    pub controller: usize,
    /// Less than [`MAX_REGIONS`].
    pub region: usize,
}

impl RegionOwner {
    /// The owner's byte is `FIRST_REGION + controller * 8 + region`.
    #[inline]
    pub fn decode(owner: u8) -> Self {
        let number = usize::from(owner.wrapping_sub(owner::FIRST_REGION));
        Self { controller: number >> 3, region: number & 7 }
    }

    /// For numbers within their limits.
    pub fn encode(self) -> u8 {
        owner::FIRST_REGION.wrapping_add((self.controller << 3 | self.region) as u8)
    }
}

/// Ports that begin or cease to leave the guest.
struct InterceptChange {
    first: u16,
    len: u16,
    on: bool,
}

const PORTS: usize = 1 << 16;

/// Who owns each port.
pub(crate) struct PortTable {
    owners: Box<[u8; PORTS]>,
    /// Not yet told to the machine, which a mediator's call keeps borrowed.
    changes: Vec<InterceptChange>,
}

impl PortTable {
    /// All ports are the guest's.
    pub fn new() -> Self {
        Self { owners: Box::new([owner::NOBODY; PORTS]), changes: Vec::new() }
    }

    #[inline(always)]
    pub fn owner(&self, port: u16) -> u8 {
        self.reader(port) & !owner::READS_PASS
    }

    /// Who is asked for a byte: the owner, or from [`owner::READS_PASS`] on nobody.
    #[inline(always)]
    pub fn reader(&self, port: u16) -> u8 {
        self.owners.get(usize::from(port)).copied().unwrap_or(owner::HIDDEN)
    }

    /// Until this is changed, or the port claimed or released.
    pub fn set_reads_pass(&mut self, port: u16, pass: bool) {
        if let Some(entry) = self.owners.get_mut(usize::from(port)) {
            *entry = *entry & !owner::READS_PASS | if pass { owner::READS_PASS } else { 0 };
        }
    }

    /// Are all ports that an access touches `owner`'s? Past port FFFFh there are none.
    #[inline(never)]
    pub fn is_sole_owner(&self, owner: u8, port: u16, width: Width) -> bool {
        let ports = self.owners.get(usize::from(port)..).and_then(|ports| ports.get(..width.bytes()));
        ports.is_some_and(|ports| ports.iter().all(|&other| other & !owner::READS_PASS == owner))
    }

    /// Are the ports `base..base + len` there, and each nobody's or `owner`'s?
    pub fn is_free_for(&self, owner: u8, base: u16, len: u16) -> bool {
        let ports = self.owners.get(usize::from(base)..).and_then(|ports| ports.get(..usize::from(len)));
        let mut owners = ports.into_iter().flatten().map(|entry| entry & !owner::READS_PASS);
        ports.is_some() && owners.all(|other| other == owner::NOBODY || other == owner)
    }

    pub fn claim(&mut self, owner: u8, base: u16, len: u16) {
        self.set(owner, base, len);
        self.changes.push(InterceptChange { first: base, len, on: true });
    }

    pub fn release(&mut self, base: u16, len: u16) {
        self.set(owner::NOBODY, base, len);
        self.changes.push(InterceptChange { first: base, len, on: false });
    }

    fn set(&mut self, owner: u8, base: u16, len: u16) {
        self.owners.iter_mut().skip(usize::from(base)).take(usize::from(len)).for_each(|slot| *slot = owner);
    }

    #[inline]
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Tells the machine what has changed, in order.
    #[cold]
    pub fn apply<M: Machine>(&mut self, machine: &mut M) {
        for change in self.changes.drain(..) {
            machine.set_port_intercept(change.first, change.len, change.on);
        }
    }
}
