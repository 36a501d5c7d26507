//! Controllers under a mediator: how one is taken over, called, and how its work is done.

use crate::cards::Planned;
use crate::config_ports::{ConfigPorts, address_of};
use crate::mediated_memory::Block;
use crate::port_table::{MAX_CONTROLLERS, PortTable};
use crate::refusals::Refusals;
use crate::watch::Watched;
use crate::windows::Windows;
use crate::wiring::{Change, ControllerHooks, InterceptChange, MappedDevice, NoHooks, Wiring};
use crate::{Bus, Machine, Parts};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use lock::{Guard, Ranked, rank::CONTROLLER};
use mediator::pci::{self, AttachError, Attached, Bdf, Driver, Function};
use mediator::{Completions, Ctx, Mediator, Violation, Work, WorkError};

/// Works performed after one call of a mediator; more would keep the guest waiting for ever. As many again are handed back
/// undone, so that the mediator gets what they hold.
const WORK_LIMIT: usize = 1024;

const TOO_MUCH_WORK: Violation = Violation { what: "defect of the mediator: work without end", detail: 0 };
const MISNUMBERED_REGIONS: AttachError = AttachError("too many register blocks, or not numbered 0, 1, 2, ...");

/// What a session with a controller begins and ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// There are polled registers, whose gate is closed meanwhile.
    Gated,
    Plain,
    /// [`Completions::MemoryOnly`]. Reads of polled registers, if there are any, always lead to the mediator.
    Watched,
    /// [`Completions::TrappedRegister`] of a network card, which has no polled registers.
    Card,
}

/// A controller and what leads to it.
pub(crate) struct Controller {
    pub function: Bdf,
    /// What CF8 holds for its first register.
    pub config_address: u32,
    pub kind: Kind,
    pub state: Ranked<State, CONTROLLER>,
}

impl Controller {
    pub fn mediator(&mut self) -> &mut dyn Mediator {
        &mut *self.state.get_mut().mediator
    }
}

/// What one CPU at a time has of a controller.
pub(crate) struct State {
    pub mediator: Box<dyn Mediator>,
    pub wiring: Wiring,
    pub refusals: Refusals,
    pub watched: Watched,
    pub planned: Planned,
    /// Pushed by the mediator in this call.
    pub work: Vec<Work>,
    /// Asked for by the mediator in this call.
    pub changes: Vec<Change>,
}

/// What the other CPUs of the guest do during a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Others {
    Run,
    /// They stand still, so that regions may be moved.
    Stand,
}

/// One call of a mediator and what follows it at once; no other CPU has a session with the controller meanwhile.
pub(crate) struct Session<'b> {
    table: &'b PortTable,
    windows: &'b Windows,
    config: &'b ConfigPorts,
    others: Others,
    kind: Kind,
    pub state: Guard<'b, State, CONTROLLER>,
}

impl Bus {
    /// Lets `driver` take `function` over; from then on its registers and its configuration space lead to the mediator. Pages of
    /// device memory do when [`crate::Guest::hooked_pages`] are hooked. Gives the number of the controller.
    ///
    /// # Errors
    /// [`AttachError`]: no access of the guest leads to the mediator, so no guest may be started.
    pub fn attach<M: Machine, C: pci::Controller + ?Sized>(
        &mut self,
        machine: &mut M,
        driver: &Driver<C>,
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
        let Attached { controller: mut mediator, regions, windows } =
            self.run_attach(machine, driver, function, index, &mut work)?;
        let wiring = Wiring::new(index, function.bdf, &regions).ok_or(MISNUMBERED_REGIONS)?;
        let blocks = self.blocks_of(machine, &wiring)?;
        self.hook(machine, &wiring)?;
        self.windows.add(index, &windows, &blocks);
        self.blocks.extend(blocks);
        let polled = regions.iter().any(|region| region.polled.is_some());
        let kind = match mediator.completions() {
            Completions::MemoryOnly => Kind::Watched,
            Completions::TrappedRegister if mediator.as_card().is_some() => Kind::Card,
            Completions::TrappedRegister if polled => Kind::Gated,
            Completions::TrappedRegister => Kind::Plain,
        };
        let (refusals, watched, planned) = (Refusals::default(), Watched::default(), Planned::default());
        let state = State { mediator, wiring, refusals, watched, planned, work: Vec::new(), changes: Vec::new() };
        let (function, state) = (function.bdf, Ranked::new(state));
        self.controllers.push(Controller { function, config_address: address_of(function, 0), kind, state });
        self.perform(machine, index, Others::Stand, work);
        Ok(index)
    }

    /// The driver's own part: its regions are reachable for the call, but none is hooked yet.
    fn run_attach<M: Machine, C: pci::Controller + ?Sized>(
        &self,
        machine: &mut M,
        driver: &Driver<C>,
        function: &Function,
        index: usize,
        work: &mut Vec<Work>,
    ) -> Result<Attached<dyn Mediator>, AttachError> {
        let now = machine.now();
        let Parts { ports, device_memory, memory, arena } = machine.parts();
        let config = &self.config;
        let nowhere = Wiring::new(index, function.bdf, &[]).ok_or(MISNUMBERED_REGIONS)?;
        let mut device = MappedDevice { ports, memory: device_memory, config, wiring: &nowhere };
        let regions = (driver.regions)(function, &mut device);
        let wiring = Wiring::new(index, function.bdf, &regions).ok_or(MISNUMBERED_REGIONS)?;
        Block::all_of(&wiring)?;
        device.wiring = &wiring;
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut NoHooks, work, now };
        (driver.attach)(function, &mut cx).and_then(Attached::into_mediator)
    }

    /// Ports: all regions or none.
    fn hook<M: Machine>(&self, machine: &mut M, wiring: &Wiring) -> Result<(), AttachError> {
        let mapped = || {
            let regions = wiring.regions();
            regions.filter_map(|(owner, region)| Some((owner.encode(), region.base.get()?, region)))
        };
        if !mapped().all(|(owner, base, region)| self.table.claim(owner, base, region.ports(), region.polled)) {
            mapped().for_each(|(owner, base, region)| self.table.release(owner, base, region.ports()));
            return Err(AttachError("its ports belong to something else that is guarded"));
        }
        mapped().for_each(|(_, base, region)| machine.set_port_intercept(base, region.ports(), true));
        Ok(())
    }

    /// Calls controller `index` as the guest's accesses would, then performs the work it pushed. For what the VMM asks while no CPU
    /// of the guest runs ([`mediator::disk::DiskController::read_before_guest`], [`mediator::net::NetController::set_policy`]).
    pub fn with_controller<M: Machine, R>(
        &self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn Mediator, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let (result, work) = self.with_session(machine, index, Others::Stand, |session, machine| {
            let result = session.call(machine, call);
            (result, session.take_work())
        })?;
        self.perform(machine, index, Others::Stand, work);
        Some(result)
    }

    /// Calls controller `index` while the guest runs, then performs the work that comes of it. For what the VMM itself asks of a disk
    /// ([`mediator::disk::DiskController::submit_own`]). `None`: there is no such controller, or it is not served any more.
    pub fn with_running_controller<M: Machine, R>(
        &self,
        machine: &mut M,
        index: usize,
        call: impl FnOnce(&mut dyn Mediator, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let (result, work) = self.with_session(machine, index, Others::Run, |session, machine| {
            if session.state.refusals.is_quarantined() {
                return None;
            }
            let result = session.call(machine, call);
            Some((result, session.take_work()))
        })??;
        self.perform(machine, index, Others::Run, work);
        Some(result)
    }

    /// Has a session with controller `number`. While it lasts, all reads of polled registers lead to the mediator; where the guest
    /// learns of completions from memory alone, interrupts leave all of its CPUs before.
    #[inline(always)]
    pub(crate) fn with_session<M: Machine, R>(
        &self,
        machine: &mut M,
        number: usize,
        others: Others,
        access: impl FnOnce(&mut Session<'_>, &mut M) -> R,
    ) -> Option<R> {
        let mut session = self.begin_session(machine, number, others)?;
        let result = access(&mut session, machine);
        self.end_session(machine, number, session);
        Some(result)
    }

    /// As [`Bus::with_session`]. `None`: there is no such controller.
    #[inline(always)]
    pub(crate) fn begin_session<M: Machine>(
        &self,
        machine: &mut M,
        number: usize,
        others: Others,
    ) -> Option<Session<'_>> {
        let (controller, gate) = (self.controllers.get(number)?, self.gates.get(number.wrapping_add(1))?);
        let kind = controller.kind;
        let state = match kind {
            Kind::Watched => {
                let mut state = self.lock_watched(machine, controller, others);
                state.tell_of_interrupts(machine);
                state
            }
            Kind::Gated | Kind::Plain | Kind::Card => controller.state.lock(),
        };
        gate.close();
        Some(Session { table: &self.table, windows: &self.windows, config: &self.config, others, kind, state })
    }

    /// The other end.
    #[inline(always)]
    pub(crate) fn end_session<M: Machine>(&self, machine: &mut M, number: usize, mut session: Session<'_>) {
        match session.kind {
            Kind::Gated if !session.state.refusals.is_quarantined() => {
                if let Some(gate) = self.gates.get(number.wrapping_add(1)) {
                    gate.open(number, session.state.mediator.passing_reads());
                }
            }
            Kind::Gated | Kind::Plain => {}
            Kind::Watched | Kind::Card => session.note_wish(machine),
        }
    }

    /// Performs work in order, without the controller's lock, and hands each back; what is pushed then is performed, too, up to
    /// [`WORK_LIMIT`]. Gives how many were handed back.
    #[inline]
    pub(crate) fn perform<M: Machine>(&self, machine: &mut M, number: usize, others: Others, work: Vec<Work>) -> usize {
        if work.is_empty() { 0 } else { self.perform_all(machine, number, others, work.into()) }
    }

    fn perform_all<M: Machine>(
        &self,
        machine: &mut M,
        number: usize,
        others: Others,
        mut queue: VecDeque<Work>,
    ) -> usize {
        let mut performed = 0_usize;
        while let Some(work) = queue.pop_front() {
            if performed == WORK_LIMIT {
                self.refuse(machine, number, others, TOO_MUCH_WORK);
            }
            if performed == WORK_LIMIT.wrapping_mul(2) {
                break;
            }
            let Parts { memory, arena, .. } = machine.parts();
            let result = if performed < WORK_LIMIT { work.perform(memory, arena) } else { Err(WorkError::TooMuch) };
            let pushed = self.with_session(machine, number, others, |session, machine| {
                session.call(machine, |mediator, cx| mediator.on_work_done(cx, work, result));
                session.take_work()
            });
            queue.extend(pushed.unwrap_or_default());
            performed = performed.wrapping_add(1);
        }
        performed
    }

    #[cold]
    pub(crate) fn refuse<M: Machine>(&self, machine: &mut M, number: usize, others: Others, violation: Violation) {
        self.with_session(machine, number, others, |session, _| session.refuse(violation));
    }
}

#[cold]
fn make<M: Machine>(machine: &mut M, windows: &Windows, changes: &mut Vec<Change>) {
    for change in changes.drain(..) {
        match change {
            Change::Ports(InterceptChange { first, len, on }) => machine.set_port_intercept(first, len, on),
            Change::Window(moved) => windows.make(machine, moved),
        }
    }
}

impl Session<'_> {
    /// One call with everything that a mediator can reach. Its moves of hooks are in force afterwards.
    #[inline(always)]
    pub fn call<M: Machine, R>(
        &mut self,
        machine: &mut M,
        call: impl FnOnce(&mut dyn Mediator, &mut Ctx<'_>) -> R,
    ) -> R {
        let State { mediator, wiring, work, changes, .. } = &mut *self.state;
        let now = machine.now();
        let Parts { ports, device_memory, memory, arena } = machine.parts();
        let mut device = MappedDevice { ports, memory: device_memory, config: self.config, wiring };
        let others_stand = self.others == Others::Stand;
        let mut hooks = ControllerHooks { table: self.table, windows: self.windows, wiring, others_stand, changes };
        let mut cx = Ctx { device: &mut device, guest: memory, arena, hooks: &mut hooks, work, now };
        let result = call(&mut **mediator, &mut cx);
        if !changes.is_empty() {
            make(machine, self.windows, changes);
        }
        result
    }

    /// What the mediator wants of the VMM until the next session.
    #[inline(never)]
    fn note_wish<M: Machine>(&mut self, machine: &M) {
        if self.kind == Kind::Watched { self.state.note_wish(machine) } else { self.state.note_deadline() }
    }

    /// What was pushed is the caller's to perform, once the session is over.
    #[inline]
    pub fn take_work(&mut self) -> Vec<Work> {
        core::mem::take(&mut self.state.work)
    }

    /// The single reaction to a violation: counted, and logged once per kind. The access itself was not made.
    #[cold]
    pub fn refuse(&mut self, violation: Violation) {
        let State { mediator, refusals, .. } = &mut *self.state;
        refusals.note(mediator.name(), violation);
    }
}
