//! PCI functions and the drivers that claim them.

use crate::disk::DiskController;
use crate::{Ctx, Device, RegionId};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Bus, device, function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bdf {
    pub bus: u8,
    pub device: u8,
    pub function: u8,
}

impl core::fmt::Display for Bdf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// A PCI function as its configuration header tells it (PCI Local Bus Specification 3.0, s. 6.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    pub bdf: Bdf,
    pub vendor: u16,
    pub device: u16,
    /// Class code: base class, sub-class, programming interface.
    pub class: u8,
    pub subclass: u8,
    pub prog_if: u8,
}

/// Ports that a mediator wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRegion {
    pub region: RegionId,
    /// First port, or `None` while the region is not mapped.
    pub base: Option<u16>,
    /// Number of ports.
    pub len: u16,
    /// Offset of the register that guests read most, if reads of it may at times pass unseen: see
    /// [`crate::Mediator::passing_reads`].
    pub polled: Option<u16>,
}

/// A controller taken over: its mediator and the ports that lead to it.
pub struct Attached {
    pub controller: Box<dyn DiskController>,
    pub regions: Vec<PortRegion>,
}

/// Why a matching function could not be taken over. Fail closed: the VMM does not start a guest beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttachError(pub &'static str);

/// What every driver crate exports as its `DRIVER` static.
pub struct Driver {
    pub name: &'static str,
    /// Is this function mine?
    pub matches: fn(&Function) -> bool,
    /// The ports that [`Device`] must reach while `attach` runs (read from configuration space).
    pub regions: fn(&Function, &mut dyn Device) -> Vec<PortRegion>,
    /// Takes the function over. The regions are reachable through `cx.device`; the guest is not running.
    pub attach: fn(&Function, &mut Ctx<'_>) -> Result<Attached, AttachError>,
}
