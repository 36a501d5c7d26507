//! What is connected to a channel.

use crate::identify::Identity;
use crate::taskfile::{Geometry, Request};
use alloc::sync::Arc;
use mediator::disk::RangeMap;

/// One of the two units of a channel.
pub enum Unit {
    Absent,
    /// ATAPI: PACKET commands.
    Packet,
    Disk(Disk),
}

/// A disk and what the guest has set on it.
pub struct Disk {
    pub identity: Identity,
    pub geometry: Geometry,
    /// Sectors per DRQ of the MULTIPLE commands; 0: they are off.
    pub multiple: u8,
    /// `None`: wholly plain.
    pub ranges: Option<Arc<dyn RangeMap>>,
}

impl Disk {
    pub fn new(identity: Identity) -> Self {
        Self { geometry: identity.geometry, multiple: identity.multiple, identity, ranges: None }
    }

    /// The disk was switched off and on: nobody has told yet which settings it has now. Addresses by cylinder, head and sector
    /// have no meaning until the guest identifies the disk or sets a translation, as it does.
    pub fn forget_settings(&mut self) {
        self.geometry = Geometry { heads: 0, sectors: 0 };
        self.multiple = 0;
    }

    /// The map of a disk with protected ranges.
    pub fn protection(&self) -> Option<Arc<dyn RangeMap>> {
        self.ranges.clone().filter(|ranges| ranges.is_protected())
    }

    /// Does the request lie wholly on the disk?
    pub fn holds(&self, request: &Request) -> bool {
        request.lba.checked_add(u64::from(request.sectors)).is_some_and(|end| end <= self.identity.sectors)
    }
}

/// A setting that a command makes, in force once the device has accepted the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// INITIALIZE DEVICE PARAMETERS.
    Geometry(Geometry),
    /// SET MULTIPLE MODE.
    Multiple(u8),
}
