//! What is connected to a port.

use acs::identify::Identity;
use acs::taskfile::Request;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::disk::RangeMap;

/// The device of a port, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unit {
    /// Nobody, or a device that has come or was reset since, and has not told who it is. It moves no sectors.
    #[default]
    Unknown,
    /// A disk that was there before the guest, by its place in [`Disks`].
    Disk(usize),
    /// A disk that has come later: nothing on it is protected.
    Newcomer,
}

/// A disk that was there before the guest.
pub struct Disk {
    pub port: u32,
    pub identity: Identity,
    /// `None`: wholly plain.
    pub ranges: Option<Arc<dyn RangeMap>>,
}

impl Disk {
    /// The map of a disk with protected ranges.
    pub fn protection(&self) -> Option<Arc<dyn RangeMap>> {
        self.ranges.clone().filter(|ranges| ranges.is_protected())
    }

    /// Does the request lie wholly on the disk?
    pub fn holds(&self, request: &Request) -> bool {
        request.lba.checked_add(u64::from(request.sectors)).is_some_and(|end| end <= self.identity.sectors)
    }
}

/// The disks that were there before the guest. They keep their ranges wherever they are plugged in again.
#[derive(Default)]
pub struct Disks(pub Vec<Disk>);

impl Disks {
    /// Who a device at a port is by its answer to IDENTIFY DEVICE. Its size does not count: it can be set. One that does not give
    /// itself a name may be anybody.
    pub fn recognise(&self, port: u32, identity: &Identity) -> Unit {
        let same = |disk: &Disk| disk.identity.serial == identity.serial && disk.identity.model == identity.model;
        let here = self.0.iter().position(|disk| same(disk) && disk.port == port);
        let nameless = identity.serial.is_empty() || identity.model.is_empty();
        let other = if nameless { Unit::Unknown } else { Unit::Newcomer };
        here.or_else(|| self.0.iter().position(same)).map_or(other, Unit::Disk)
    }

    pub fn get(&self, unit: Unit) -> Option<&Disk> {
        match unit {
            Unit::Disk(place) => self.0.get(place),
            Unit::Unknown | Unit::Newcomer => None,
        }
    }
}
