//! Controllers under a mediator: how one is taken over, called, and how its work is done.

use crate::bus::Inner;
use crate::port_table::{MAX_CONTROLLERS, PortTable, owner};
use crate::refusals::Refusals;
use crate::wiring::{MappedDevice, NoHooks, PortHooks, Wiring};
use crate::{Machine, Parts};
use alloc::boxed::Box;
use mediator::disk::DiskController;
use mediator::pci::{AttachError, Attached, Driver, Function};
use mediator::{Ctx, Violation, Work};

/// Works performed after one call of a mediator; more would keep the guest waiting for ever.
const WORK_LIMIT: usize = 1024;

const TOO_MUCH_WORK: Violation = Violation { what: "defect of the mediator: work without end", detail: 0 };
const TOO_MANY_REGIONS: AttachError = AttachError("too many register blocks");

/// A controller and what leads to it.
pub(crate) struct Controller {
    pub mediator: Box<dyn DiskController>,
    pub wiring: Wiring,
    pub refusals: Refusals,
    /// What the port table holds of [`mediator::Mediator::passing_reads`].
    passing: u8,
}

impl Controller {
    /// Tells the table, in which the regions may have moved.
    #[cold]
    fn let_pass(&mut self, table: &mut PortTable, passing: u8) {
        self.passing = passing;
        for (_, region) in self.wiring.regions() {
            if let Some(port) = region.polled_port() {
                let bit = 1_u8.checked_shl(region.id.0.into()).unwrap_or(0);
                table.set_reads_pass(port, passing & bit != 0);
            }
        }
    }
}

impl Inner {
    /// Lets `driver` take `function` over; from then on its ports and its configuration space lead to the mediator.
    /// Gives the number of the controller.
    ///
    /// # Errors
    /// [`AttachError`]: no access of the guest leads to the mediator, so no guest may be started.
    pub fn attach<M: Machine>(
        &mut self,
        machine: &mut M,
        driver: &Driver,
        function: &Function,
    ) -> Result<usize, AttachError> {
        let index = self.controllers.len();
        if index == MAX_CONTROLLERS {
            return Err(AttachError("too many controllers"));
        }
        if function.bdf.bus != 0 {
            return Err(AttachError("the controller lies behind a bridge, whose bus number the guest could change"));
        }
        let Attached { controller: mediator, regions } = self.run_attach(machine, driver, function, index)?;
        let wiring = Wiring::new(index, function.bdf, &regions).ok_or(TOO_MANY_REGIONS)?;
        self.hook(&wiring)?;
        self.table.apply(machine);
        self.controllers.push(Controller { mediator, wiring, refusals: Refusals::default(), passing: 0 });
        self.settle(machine, index);
        Ok(index)
    }

    /// The driver's own part: its regions are reachable for the call, but none is hooked yet.
    fn run_attach<M: Machine>(
        &mut self,
        machine: &mut M,
        driver: &Driver,
        function: &Function,
        index: usize,
    ) -> Result<Attached, AttachError> {
        let now = machine.now();
        let Parts { ports, memory, arena } = machine.parts();
        let nowhere = Wiring::new(index, function.bdf, &[]).ok_or(TOO_MANY_REGIONS)?;
        let regions = (driver.regions)(function, &mut MappedDevice { ports: &mut *ports, wiring: &nowhere });
        let wiring = Wiring::new(index, function.bdf, &regions).ok_or(TOO_MANY_REGIONS)?;
        let mut device = MappedDevice { ports, wiring: &wiring };
        let work = &mut self.work;
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut NoHooks, work, now };
        (driver.attach)(function, &mut cx)
    }

    /// All regions or none.
    fn hook(&mut self, wiring: &Wiring) -> Result<(), AttachError> {
        let mapped = || wiring.regions().filter_map(|(owner, region)| Some((owner, region.base.get()?, region.len)));
        if mapped().any(|(_, base, len)| !self.table.is_free_for(owner::NOBODY, base, len)) {
            return Err(AttachError("its ports belong to something else that is guarded"));
        }
        mapped().for_each(|(owner, base, len)| self.table.claim(owner.encode(), base, len));
        Ok(())
    }

    /// Calls controller `index` as the guest's accesses would, then performs the work it pushed. For what the VMM asks
    /// before the guest starts ([`DiskController::read_before_guest`], [`DiskController::set_ranges`]).
    pub fn with_controller<M: Machine, R>(
        &mut self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let result = self.call(machine, index, call);
        self.settle(machine, index);
        result
    }

    /// One call with everything that a mediator can reach. Its moves of hooks are in force afterwards.
    #[inline]
    pub(crate) fn call<M: Machine, R>(
        &mut self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let Self { table, controllers, work, .. } = self;
        let controller = controllers.get_mut(index)?;
        let Controller { mediator, wiring, .. } = &mut *controller;
        let now = machine.now();
        let Parts { ports, memory, arena } = machine.parts();
        let mut device = MappedDevice { ports, wiring };
        let mut hooks = PortHooks { table, wiring };
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut hooks, work, now };
        let result = call(&mut **mediator, &mut cx);
        let passing = controller.mediator.passing_reads();
        if table.has_changes() || passing != controller.passing {
            table.apply(machine);
            controller.let_pass(table, passing);
        }
        Some(result)
    }

    /// Performs the work that was pushed, in order, and hands each back. Gives how many were performed.
    #[inline]
    pub(crate) fn settle<M: Machine>(&mut self, machine: &mut M, index: usize) -> usize {
        if self.work.is_empty() { 0 } else { self.perform_all(machine, index) }
    }

    fn perform_all<M: Machine>(&mut self, machine: &mut M, index: usize) -> usize {
        let mut performed = 0_usize;
        while !self.work.is_empty() {
            if performed == WORK_LIMIT {
                self.work.clear();
                self.refuse(index, TOO_MUCH_WORK);
                break;
            }
            let work: Work = self.work.remove(0);
            let Parts { memory, arena, .. } = machine.parts();
            let result = work.perform(memory, arena);
            self.call(machine, index, |mediator, cx| mediator.on_work_done(cx, work, result));
            performed = performed.wrapping_add(1);
        }
        performed
    }

    /// The single reaction to a violation: counted, and logged once per kind. The access itself was not made.
    #[cold]
    pub(crate) fn refuse(&mut self, index: usize, violation: Violation) {
        if let Some(controller) = self.controllers.get_mut(index) {
            controller.refusals.note(controller.mediator.name(), violation);
            if controller.refusals.is_quarantined() {
                controller.let_pass(&mut self.table, 0);
            }
        }
    }
}
