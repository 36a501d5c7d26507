//! Network cards beside the guest's accesses: each wants to be polled by a time, which any call of its mediator may change.
//!
//! Whoever polls them sleeps until then, and is woken when a card wants it earlier than it was told last.

use crate::mediated::{Others, State};
use crate::{Bus, Machine};
use core::task::Waker;
use mediator::Instant;

/// Of one card, under its lock.
#[derive(Default)]
pub(crate) struct Planned {
    /// When it will be polled; `None`: not before somebody is woken.
    at: Option<Instant>,
    waker: Option<Waker>,
}

impl State {
    /// At the end of a session.
    pub fn note_deadline(&mut self) {
        let Some(wanted) = self.mediator.as_card().and_then(|card| card.poll_timeout()) else { return };
        let Planned { at, waker: Some(waker) } = &mut self.planned else { return };
        if at.is_none_or(|at| wanted < at) {
            *at = Some(wanted);
            waker.wake_by_ref();
        }
    }
}

impl Bus {
    /// Polls card `number` while the guest runs, and gives when it wants that again ([`mediator::net::NetController::poll_timeout`]). From then on
    /// `waker` is woken when it wants it earlier. `None`: not before; or there is no such card, or it is not served any more.
    pub fn poll_card<M: Machine>(&self, machine: &mut M, number: usize, waker: &Waker) -> Option<Instant> {
        let (deadline, work) = self.with_session(machine, number, Others::Run, |session, machine| {
            if session.state.refusals.is_quarantined() {
                return None;
            }
            let deadline = session.call(machine, |mediator, cx| {
                let card = mediator.as_card()?;
                card.poll(cx);
                card.poll_timeout()
            });
            let planned = &mut session.state.planned;
            planned.at = deadline;
            if !planned.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                planned.waker = Some(waker.clone());
            }
            Some((deadline, session.take_work()))
        })??;
        self.perform(machine, number, Others::Run, work);
        deadline
    }
}
