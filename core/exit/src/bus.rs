//! Who owns which port.

use crate::Machine;
use alloc::boxed::Box;
use alloc::vec::Vec;
use mediator::Ctx;
use mediator::disk::DiskController;
use mediator::pci::{AttachError, Driver, Function};

/// The port bus of one guest.
pub struct Bus {
    slots: Vec<Box<dyn DiskController>>,
}

impl Bus {
    /// A bus whose ports all pass.
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Guards what the VMM itself needs: A20 gate (92h, 60h, 64h) and PCI configuration data (CFC-CFF).
    pub fn guard_platform<M: Machine>(&mut self, machine: &mut M) {
        let _ = machine;
    }

    /// COM1 is the VMM's: the guest finds no port there.
    pub fn hide_com1<M: Machine>(&mut self, machine: &mut M) {
        let _ = machine;
    }

    /// Lets `driver` take `function` over; from then on its ports and its configuration space lead to the mediator.
    /// Gives the number of the controller.
    ///
    /// # Errors
    /// [`AttachError`]: nothing was hooked.
    pub fn attach<M: Machine>(
        &mut self,
        machine: &mut M,
        driver: &Driver,
        function: &Function,
    ) -> Result<usize, AttachError> {
        let _ = (machine, driver, function);
        Err(AttachError("not yet"))
    }

    /// The controllers attached, in the order of their numbers.
    pub fn controllers(&self) -> impl Iterator<Item = &dyn DiskController> {
        self.slots.iter().map(|slot| &**slot)
    }

    /// Calls controller `index` as the guest's accesses would, then performs the work it pushed. For what the VMM asks
    /// before the guest starts ([`DiskController::read_before_guest`], [`DiskController::set_ranges`]).
    pub fn with_controller<M: Machine, R>(
        &mut self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let _ = (machine, index, call);
        None
    }
}
