//! Controllers under a mediator: how one is taken over, and what its regions lead to.

use crate::bus::owner;
use crate::config_ports;
use crate::refusals::Refusals;
use crate::{Bus, Machine, Parts, Ports};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;
use mediator::disk::DiskController;
use mediator::pci::{AttachError, Attached, Bdf, Driver, Function, PortRegion};
use mediator::{Ctx, Device, HookConflict, Hooks, Op, RegionId, Violation, Width, Work};

/// Works performed after one call of a mediator; more would keep the guest waiting for ever.
const WORK_LIMIT: usize = 1024;

const TOO_MUCH_WORK: Violation = Violation { what: "defect of the mediator: work without end", detail: 0 };

/// A register block of a controller.
pub(crate) struct Region {
    pub controller: usize,
    pub id: RegionId,
    len: u16,
    /// In a cell, since a mediator may move its regions while it holds its device.
    pub base: Cell<Option<u16>>,
}

/// A controller and what leads to it.
pub(crate) struct Controller {
    pub mediator: Box<dyn DiskController>,
    pub function: Bdf,
    /// Its regions within [`Bus::regions`].
    regions: Range<usize>,
    pub refusals: Refusals,
}

/// Ports that begin or cease to leave the guest.
pub(crate) struct InterceptChange {
    first: u16,
    len: u16,
    on: bool,
}

impl Bus {
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
        if function.bdf.bus != 0 {
            return Err(AttachError("the controller lies behind a bridge, whose bus number the guest could change"));
        }
        let index = self.controllers.len();
        let Attached { controller, regions } = self.run_attach(machine, driver, function, index)?;
        let first = self.regions.len();
        let regions: Vec<_> = regions.iter().map(|region| Region::new(index, region)).collect();
        self.check_free(&regions)?;
        self.regions.extend(regions);
        let regions = first..self.regions.len();
        for number in regions.clone() {
            self.hook_region(number);
        }
        self.apply_intercepts(machine);
        let refusals = Refusals::default();
        self.controllers.push(Controller { mediator: controller, function: function.bdf, regions, refusals });
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
        let ports_needed = {
            let mut device = MappedDevice { ports: &mut *ports, regions: &[], function: function.bdf };
            (driver.regions)(function, &mut device)
        };
        let regions: Vec<_> = ports_needed.iter().map(|region| Region::new(index, region)).collect();
        let mut device = MappedDevice { ports, regions: &regions, function: function.bdf };
        let mut hooks = NoHooks;
        let work = &mut self.work;
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut hooks, work, now };
        (driver.attach)(function, &mut cx)
    }

    /// Are all ports of the regions nobody's, and the regions few enough?
    fn check_free(&self, regions: &[Region]) -> Result<(), AttachError> {
        let limit = usize::from(u8::MAX).saturating_sub(usize::from(owner::FIRST_REGION));
        if self.regions.len().saturating_add(regions.len()) > limit {
            return Err(AttachError("too many register blocks"));
        }
        for region in regions {
            let Some(base) = region.base.get() else { continue };
            let free = |ports: &[u8]| ports.iter().all(|&port_owner| port_owner == owner::NOBODY);
            if !ports_of(&self.owners, base, region.len).is_some_and(free) {
                return Err(AttachError("its ports belong to something else that is guarded"));
            }
        }
        Ok(())
    }

    fn hook_region(&mut self, number: usize) {
        let Some(region) = self.regions.get(number) else { return };
        let Some(base) = region.base.get() else { return };
        set_owner(&mut self.owners, base, region.len, owner_of(number));
        self.intercept_changes.push(InterceptChange { first: base, len: region.len, on: true });
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
        let now = machine.now();
        let Parts { ports, memory, arena } = machine.parts();
        let controller = self.controllers.get_mut(index)?;
        let regions = self.regions.get(controller.regions.clone())?;
        let mut device = MappedDevice { ports, regions, function: controller.function };
        let mut hooks = PortHooks {
            owners: &mut self.owners,
            regions,
            first: controller.regions.start,
            changes: &mut self.intercept_changes,
        };
        let work = &mut self.work;
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut hooks, work, now };
        let result = call(&mut *controller.mediator, &mut cx);
        if !self.intercept_changes.is_empty() {
            self.apply_intercepts(machine);
        }
        Some(result)
    }

    #[cold]
    fn apply_intercepts<M: Machine>(&mut self, machine: &mut M) {
        for change in self.intercept_changes.drain(..) {
            machine.set_port_intercept(change.first, change.len, change.on);
        }
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
        }
    }
}

impl Region {
    fn new(controller: usize, region: &PortRegion) -> Self {
        Self { controller, id: region.region, len: region.len, base: Cell::new(region.base) }
    }
}

/// The owner of the region with this number; [`Bus::check_free`] keeps it in range.
fn owner_of(number: usize) -> u8 {
    owner::FIRST_REGION.saturating_add(number as u8)
}

/// The owners of `len` ports from `base` on; `None` past the last port.
fn ports_of(owners: &[u8], base: u16, len: u16) -> Option<&[u8]> {
    owners.get(usize::from(base)..)?.get(..usize::from(len))
}

fn set_owner(owners: &mut [u8], base: u16, len: u16, owner: u8) {
    owners.iter_mut().skip(usize::from(base)).take(usize::from(len)).for_each(|slot| *slot = owner);
}

/// The registers of one controller where they lie now.
struct MappedDevice<'a, P> {
    ports: &'a mut P,
    regions: &'a [Region],
    function: Bdf,
}

impl<P> MappedDevice<'_, P> {
    /// The port of a register, or `None` while its region lies nowhere.
    #[inline]
    fn port(&self, region: RegionId, offset: u16, width: Width) -> Option<u16> {
        let region = self.regions.iter().find(|candidate| candidate.id == region)?;
        let end = offset.checked_add(width.bytes() as u16)?;
        if end > region.len { None } else { region.base.get()?.checked_add(offset) }
    }
}

impl<P: Ports> Device for MappedDevice<'_, P> {
    fn read(&mut self, region: RegionId, offset: u16, width: Width) -> u64 {
        match self.port(region, offset, width) {
            Some(port) => u64::from(self.ports.read(port, width)),
            None => width.ones(),
        }
    }

    fn write(&mut self, region: RegionId, offset: u16, width: Width, value: u64) {
        if let Some(port) = self.port(region, offset, width) {
            self.ports.write(port, width, value as u32);
        }
    }

    fn read_string(&mut self, region: RegionId, offset: u16, width: Width, data: &mut [u8]) {
        match self.port(region, offset, width) {
            Some(port) => self.ports.read_string(port, width, data),
            None => data.fill(0xff),
        }
    }

    fn write_string(&mut self, region: RegionId, offset: u16, width: Width, data: &[u8]) {
        if let Some(port) = self.port(region, offset, width) {
            self.ports.write_string(port, width, data);
        }
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        config_ports::access_function(self.ports, self.function, offset, width, Op::Read)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        config_ports::access_function(self.ports, self.function, offset, width, Op::Write(u64::from(value)));
    }
}

/// The hooks of one controller.
struct PortHooks<'a> {
    owners: &'a mut [u8],
    regions: &'a [Region],
    /// Number of the first of the regions.
    first: usize,
    changes: &'a mut Vec<InterceptChange>,
}

impl Hooks for PortHooks<'_> {
    fn move_region(&mut self, region: RegionId, base: Option<u16>) -> Result<(), HookConflict> {
        let index = self.regions.iter().position(|candidate| candidate.id == region).ok_or(HookConflict)?;
        let region = self.regions.get(index).ok_or(HookConflict)?;
        let owner = owner_of(self.first.saturating_add(index));
        if let Some(base) = base {
            let ports = ports_of(self.owners, base, region.len).ok_or(HookConflict)?;
            if ports.iter().any(|&port_owner| port_owner != owner::NOBODY && port_owner != owner) {
                return Err(HookConflict);
            }
        }
        if let Some(old) = region.base.replace(base) {
            set_owner(self.owners, old, region.len, owner::NOBODY);
            self.changes.push(InterceptChange { first: old, len: region.len, on: false });
        }
        if let Some(base) = base {
            set_owner(self.owners, base, region.len, owner);
            self.changes.push(InterceptChange { first: base, len: region.len, on: true });
        }
        Ok(())
    }
}

/// While a driver takes a controller over, nothing is hooked yet.
struct NoHooks;

impl Hooks for NoHooks {
    fn move_region(&mut self, _: RegionId, _: Option<u16>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }
}
