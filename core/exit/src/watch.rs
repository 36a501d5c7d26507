//! Interrupts that leave the guest for the sake of controllers of [`mediator::Completions::MemoryOnly`]: before the guest sees one, it
//! finds in its memory what the device has completed.
//!
//! A session with such a controller is had only while it is *watched*: then each CPU of the guest that runs leaves it at every
//! external interrupt. So whatever reaches the device (a doorbell) does so after all CPUs watch, and no completion of it is
//! announced unseen. To begin, all other CPUs are stopped once ([`Machine::stop_others`]); on their way back into the guest each
//! asks anew what it is to leave the guest for ([`crate::Cpu::recall`]). The watch lasts for [`HOLD_NS`] longer than anything is
//! wanted, so that load does not stop CPUs again and again; it ends at an interrupt, under the controller's lock, and each CPU
//! that sees one afterwards ceases to watch by itself.
//!
//! As long as one controller is watched all CPUs watch: the count of those rises from zero only while the others stand.
//!
//! A CPU that may not take interrupts in the guest's stead ([`Machine::interrupts_pass`]) is back soon after one. Meanwhile the guest
//! has looked in vain, so the mediator is told, and has the device interrupt once more.

use crate::mediated::{Controller, Kind, Others, State};
use crate::{Bus, Cpu, Machine, Recall};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use lock::{Guard, rank::CONTROLLER};

/// Far longer than from a completion to the next request of a guest at work, far shorter than from one burst of a calm guest's to the
/// next.
const HOLD_NS: u64 = 20_000_000;

/// Of one controller, under its lock.
#[derive(Default)]
pub(crate) struct Watched {
    on: bool,
    /// When interrupts were last wanted, or the watch began.
    wanted_ns: u64,
    /// The mediator was told that interrupts pass.
    passing: bool,
}

/// Number of controllers that are watched.
#[derive(Default)]
pub(crate) struct Watch(AtomicU32);

impl Watch {
    #[inline]
    fn is_on(&self) -> bool {
        self.0.load(SeqCst) != 0
    }

    /// One more. `others`: whether they stand, without which the first one is refused.
    fn begin(&self, others: Others) -> bool {
        let more = |count: u32| (count > 0 || others == Others::Stand).then_some(count.saturating_add(1));
        self.0.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    fn end(&self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl State {
    /// At the beginning of a session.
    #[inline]
    pub fn tell_of_interrupts<M: Machine>(&mut self, machine: &M) {
        let passing = machine.interrupts_pass();
        if passing != self.watched.passing {
            self.watched.passing = passing;
            self.mediator.on_interrupts_pass(passing);
        }
    }

    /// At the end of a session.
    #[inline]
    pub fn note_wish<M: Machine>(&mut self, machine: &M) {
        if self.mediator.wants_interrupts() {
            self.watched.wanted_ns = machine.now().0;
        }
    }
}

impl Bus {
    /// Locks a controller that is watched then.
    #[inline(never)]
    pub(crate) fn lock_watched<'b, M: Machine>(
        &'b self,
        machine: &mut M,
        controller: &'b Controller,
        others: Others,
    ) -> Guard<'b, State, CONTROLLER> {
        loop {
            let state = controller.state.lock();
            if state.watched.on {
                return state;
            }
            if let Some(state) = self.begin_watch(machine, state, others) {
                return state;
            }
            machine.stop_others(|machine| {
                let state = controller.state.lock();
                if !state.watched.on {
                    self.begin_watch(machine, state, Others::Stand);
                }
            });
        }
    }

    /// `None`: the others must stand first.
    #[cold]
    fn begin_watch<'b, M: Machine>(
        &self,
        machine: &mut M,
        mut state: Guard<'b, State, CONTROLLER>,
        others: Others,
    ) -> Option<Guard<'b, State, CONTROLLER>> {
        if !self.watch.begin(others) {
            return None;
        }
        state.watched.on = true;
        state.watched.wanted_ns = machine.now().0;
        Some(state)
    }

    /// An interrupt is on its way to the guest, maybe.
    #[cold]
    fn on_interrupt<M: Machine>(&self, machine: &mut M) {
        for (number, controller) in self.controllers.iter().enumerate().filter(|(_, it)| it.kind == Kind::Watched) {
            let mut state = controller.state.lock();
            if !state.watched.on {
                continue;
            }
            if state.mediator.wants_interrupts() {
                drop(state);
                self.publish(machine, number);
            } else if machine.now().0.saturating_sub(state.watched.wanted_ns) > HOLD_NS {
                state.watched.on = false;
                self.watch.end();
            }
        }
    }

    /// The guest's memory tells afterwards what the device has completed.
    fn publish<M: Machine>(&self, machine: &mut M, number: usize) {
        let work = self.with_session(machine, number, Others::Run, |session, machine| {
            session.call(machine, |mediator, cx| mediator.on_interrupt(cx));
            session.take_work()
        });
        self.perform(machine, number, Others::Run, work.unwrap_or_default());
    }
}

impl Cpu<'_> {
    /// What the CPU is to leave the guest for: what the VMM itself wants, and the guarded controllers. To be asked before the first
    /// entry, whenever the VMM's own wish changes, after [`Machine::plan_anew`] and after the CPU has stood still
    /// ([`Machine::stop_others`]).
    pub fn recall(&mut self, own: Recall) -> Recall {
        self.watches = self.guest.bus.watch.is_on();
        Recall { at_interrupt: own.at_interrupt || self.watches, ..own }
    }

    /// Interrupts were taken in the host and are queued for the guest, or may be.
    #[inline]
    pub fn before_interrupts<M: Machine>(&mut self, machine: &mut M) {
        if self.watches {
            self.guest.bus.on_interrupt(machine);
            if !self.guest.bus.watch.is_on() {
                machine.plan_anew();
            }
        }
    }
}
