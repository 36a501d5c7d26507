//! Controllers under a mediator: how one is taken over, called, and how its work is done.

use crate::config_ports::{ConfigPorts, address_of};
use crate::port_table::{MAX_CONTROLLERS, PortTable};
use crate::refusals::Refusals;
use crate::wiring::{InterceptChange, MappedDevice, NoHooks, PortHooks, Wiring};
use crate::{Bus, Machine, Parts};
use alloc::boxed::Box;
use alloc::vec::Vec;
use lock::{Guard, Ranked, rank::CONTROLLER};
use mediator::disk::DiskController;
use mediator::pci::{AttachError, Attached, Bdf, Driver, Function};
use mediator::{Ctx, Violation, Work};

/// Works performed after one call of a mediator; more would keep the guest waiting for ever.
const WORK_LIMIT: usize = 1024;

const TOO_MUCH_WORK: Violation = Violation { what: "defect of the mediator: work without end", detail: 0 };
const MISNUMBERED_REGIONS: AttachError = AttachError("too many register blocks, or not numbered 0, 1, 2, ...");

/// A controller and what leads to it.
pub(crate) struct Controller {
    pub function: Bdf,
    /// What CF8 holds for its first register.
    pub config_address: u32,
    state: Ranked<State, CONTROLLER>,
}

impl Controller {
    pub fn mediator(&mut self) -> &dyn DiskController {
        &*self.state.get_mut().mediator
    }
}

/// What one CPU at a time has of a controller.
pub(crate) struct State {
    mediator: Box<dyn DiskController>,
    pub wiring: Wiring,
    pub refusals: Refusals,
    /// Work that the mediator pushed and that is not yet performed.
    pub work: Vec<Work>,
}

/// One access of the guest to a controller, from the first question to the mediator until the access and all work are done;
/// no other CPU has a session with it meanwhile.
pub(crate) struct Session<'b> {
    table: &'b PortTable,
    config: &'b ConfigPorts,
    /// The other CPUs are stopped, so that regions may be moved.
    pub others_stand: bool,
    pub state: Guard<'b, State, CONTROLLER>,
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
        let index = self.controllers.len();
        if index == MAX_CONTROLLERS {
            return Err(AttachError("too many controllers"));
        }
        if function.bdf.bus != 0 {
            return Err(AttachError("the controller lies behind a bridge, whose bus number the guest could change"));
        }
        let mut work = Vec::new();
        let Attached { controller: mediator, regions } =
            self.run_attach(machine, driver, function, index, &mut work)?;
        let wiring = Wiring::new(index, function.bdf, &regions).ok_or(MISNUMBERED_REGIONS)?;
        self.hook(machine, &wiring)?;
        let state = State { mediator, wiring, refusals: Refusals::default(), work };
        let (function, state) = (function.bdf, Ranked::new(state));
        self.controllers.push(Controller { function, config_address: address_of(function, 0), state });
        self.with_session(machine, index, |session, machine| session.settle(machine));
        Ok(index)
    }

    /// The driver's own part: its regions are reachable for the call, but none is hooked yet.
    fn run_attach<M: Machine>(
        &self,
        machine: &mut M,
        driver: &Driver,
        function: &Function,
        index: usize,
        work: &mut Vec<Work>,
    ) -> Result<Attached, AttachError> {
        let now = machine.now();
        let Parts { ports, memory, arena } = machine.parts();
        let config = &self.config;
        let nowhere = Wiring::new(index, function.bdf, &[]).ok_or(MISNUMBERED_REGIONS)?;
        let regions = (driver.regions)(function, &mut MappedDevice { ports: &mut *ports, config, wiring: &nowhere });
        let wiring = Wiring::new(index, function.bdf, &regions).ok_or(MISNUMBERED_REGIONS)?;
        let mut device = MappedDevice { ports, config, wiring: &wiring };
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut NoHooks, work, now };
        (driver.attach)(function, &mut cx)
    }

    /// All regions or none.
    fn hook<M: Machine>(&self, machine: &mut M, wiring: &Wiring) -> Result<(), AttachError> {
        let mapped = || {
            let regions = wiring.regions();
            regions.filter_map(|(owner, region)| Some((owner.encode(), region.base.get()?, region)))
        };
        if !mapped().all(|(owner, base, region)| self.table.claim(owner, base, region.len, region.polled)) {
            mapped().for_each(|(owner, base, region)| self.table.release(owner, base, region.len));
            return Err(AttachError("its ports belong to something else that is guarded"));
        }
        mapped().for_each(|(_, base, region)| machine.set_port_intercept(base, region.len, true));
        Ok(())
    }

    /// Calls controller `index` as the guest's accesses would, then performs the work it pushed. For what the VMM asks
    /// before the guest starts ([`DiskController::read_before_guest`], [`DiskController::set_ranges`]).
    pub fn with_controller<M: Machine, R>(
        &self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        self.with_session(machine, index, |session, machine| {
            let result = session.call(machine, call);
            session.settle(machine);
            result
        })
    }

    /// Has a session with controller `number`. While it lasts, all reads of polled registers lead to the mediator.
    #[inline(always)]
    pub(crate) fn with_session<M: Machine, R>(
        &self,
        machine: &mut M,
        number: usize,
        access: impl FnOnce(&mut Session<'_>, &mut M) -> R,
    ) -> Option<R> {
        let (controller, gate) = (self.controllers.get(number)?, self.gates.get(number.wrapping_add(1))?);
        let (table, config) = (&self.table, &self.config);
        let mut session = Session { table, config, others_stand: false, state: controller.state.lock() };
        gate.close();
        let result = access(&mut session, machine);
        if !session.state.refusals.is_quarantined() {
            gate.open(number, session.state.mediator.passing_reads());
        }
        Some(result)
    }
}

impl Bus {
    /// As [`Bus::with_session`], while every other CPU of the guest stands still: the controller's registers may move, and
    /// nobody is to be on the way to where they were or will be.
    pub(crate) fn with_session_alone<M: Machine, R>(
        &self,
        machine: &mut M,
        number: usize,
        access: impl FnOnce(&mut Session<'_>, &mut M) -> R,
    ) -> Option<R> {
        machine.stop_others(|machine| {
            self.with_session(machine, number, |session, machine| {
                session.others_stand = true;
                access(session, machine)
            })
        })
    }
}

impl Session<'_> {
    /// One call with everything that a mediator can reach. Its moves of hooks are in force afterwards.
    #[inline]
    pub fn call<M: Machine, R>(
        &mut self,
        machine: &mut M,
        call: impl FnOnce(&mut dyn DiskController, &mut Ctx<'_>) -> R,
    ) -> R {
        let State { mediator, wiring, work, .. } = &mut *self.state;
        let now = machine.now();
        let Parts { ports, memory, arena } = machine.parts();
        let mut device = MappedDevice { ports, config: self.config, wiring };
        let mut hooks = PortHooks { table: self.table, wiring, others_stand: self.others_stand, changes: Vec::new() };
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut hooks, work, now };
        let result = call(&mut **mediator, &mut cx);
        for InterceptChange { first, len, on } in hooks.changes {
            machine.set_port_intercept(first, len, on);
        }
        result
    }

    /// Performs the work that was pushed, in order, and hands each back. Gives how many were performed.
    #[inline]
    pub fn settle<M: Machine>(&mut self, machine: &mut M) -> usize {
        if self.state.work.is_empty() { 0 } else { self.perform_all(machine) }
    }

    fn perform_all<M: Machine>(&mut self, machine: &mut M) -> usize {
        let mut performed = 0_usize;
        while !self.state.work.is_empty() {
            if performed == WORK_LIMIT {
                self.state.work.clear();
                self.refuse(TOO_MUCH_WORK);
                break;
            }
            let work: Work = self.state.work.remove(0);
            let Parts { memory, arena, .. } = machine.parts();
            let result = work.perform(memory, arena);
            self.call(machine, |mediator, cx| mediator.on_work_done(cx, work, result));
            performed = performed.wrapping_add(1);
        }
        performed
    }

    /// The single reaction to a violation: counted, and logged once per kind. The access itself was not made.
    #[cold]
    pub fn refuse(&mut self, violation: Violation) {
        let State { mediator, refusals, .. } = &mut *self.state;
        refusals.note(mediator.name(), violation);
    }
}
