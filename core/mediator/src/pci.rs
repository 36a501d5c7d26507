//! PCI functions and the drivers that claim them.

use crate::disk::DiskController;
use crate::net::NetController;
use crate::{Ctx, Device, Gpa, Mediator, RegionId};
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

/// Where a register block lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Its first port.
    Port(u16),
    /// Its first byte in memory, below 4 GiB.
    Memory(Gpa),
}

impl Place {
    /// The first port of a block of ports.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(port),
            Self::Memory(_) => None,
        }
    }

    /// The first byte of a block in memory.
    pub fn memory(self) -> Option<Gpa> {
        match self {
            Self::Memory(at) => Some(at),
            Self::Port(_) => None,
        }
    }
}

/// A register block that a mediator wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Those of a controller are numbered 0, 1, 2 and so on, in their order.
    pub region: RegionId,
    /// `None` while the region is not mapped.
    pub place: Option<Place>,
    /// Number of ports, or of bytes in memory. Guests leave at every access to a page of memory that holds a part of the block;
    /// what else lies in such a page passes.
    pub len: u32,
    /// Offset of the port that guests read most, if reads of it may at times pass unseen: see
    /// [`crate::Mediator::passing_reads`].
    pub polled: Option<u32>,
}

/// What one base address register places in memory: register blocks, and what lies beside them, as the device decodes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Below 4 GiB, where the device has it for good.
    pub home: Gpa,
    /// 0: nothing that could be moved.
    pub len: u32,
}

/// A controller taken over: its mediator and the register blocks that lead to it. `C` is what it is a controller of:
/// [`dyn DiskController`](DiskController), [`dyn NetController`](NetController), or a [`dyn Mediator`](Mediator) that is neither.
pub struct Attached<C: ?Sized = dyn DiskController> {
    pub controller: Box<C>,
    pub regions: Vec<Region>,
    /// What the guest may find elsewhere than the device has it ([`crate::Hooks::move_window`]), by number. Registers in memory that are
    /// in none of them stay where they are.
    pub windows: Vec<Window>,
}

/// Why a matching function could not be taken over. Fail closed: the VMM does not start a guest beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttachError(pub &'static str);

/// What every driver crate exports as its `DRIVER` static; `C` as in [`Attached`].
pub struct Driver<C: ?Sized = dyn DiskController> {
    pub name: &'static str,
    /// Is this function mine?
    pub matches: fn(&Function) -> bool,
    /// The register blocks that [`Device`] must reach while `attach` runs (read from configuration space).
    pub regions: fn(&Function, &mut dyn Device) -> Vec<Region>,
    /// Takes the function over. The regions are reachable through `cx.device`; the guest is not running.
    pub attach: fn(&Function, &mut Ctx<'_>) -> Result<Attached<C>, AttachError>,
}

/// What there are drivers of.
pub trait Controller {
    fn into_mediator(self: Box<Self>) -> Box<dyn Mediator>;

    /// Does this mediator offer itself as one of them?
    fn is_offered_by(mediator: &mut dyn Mediator) -> bool;
}

impl Controller for dyn DiskController {
    fn into_mediator(self: Box<Self>) -> Box<dyn Mediator> {
        self
    }

    fn is_offered_by(mediator: &mut dyn Mediator) -> bool {
        mediator.as_disks().is_some()
    }
}

impl Controller for dyn NetController {
    fn into_mediator(self: Box<Self>) -> Box<dyn Mediator> {
        self
    }

    fn is_offered_by(mediator: &mut dyn Mediator) -> bool {
        mediator.as_card().is_some()
    }
}

impl Controller for dyn Mediator {
    fn into_mediator(self: Box<Self>) -> Box<dyn Mediator> {
        self
    }

    fn is_offered_by(_: &mut dyn Mediator) -> bool {
        true
    }
}

impl<C: Controller + ?Sized> Attached<C> {
    /// The same, whatever it is a controller of.
    ///
    /// # Errors
    /// It does not offer what it is.
    pub fn into_mediator(self) -> Result<Attached<dyn Mediator>, AttachError> {
        let Self { controller, regions, windows } = self;
        let mut controller = controller.into_mediator();
        if !C::is_offered_by(&mut *controller) {
            return Err(AttachError("defect of the mediator: it does not offer what it is"));
        }
        Ok(Attached { controller, regions, windows })
    }
}
