//! What the refused accesses of one controller lead to (`one-reaction`).

use alloc::vec::Vec;
use mediator::Violation;

/// A guest that was refused this often hunts for a hole in the mediator.
const QUARANTINE: u32 = 10_000;
/// Kinds of violations that are told apart in the log.
const KINDS: usize = 64;

/// The refused accesses of one controller.
#[derive(Default)]
pub(crate) struct Refusals {
    last: Option<Violation>,
    /// Refusals that differ from the one before. A harmless driver that polls one refused register stays at 1, however
    /// long it polls; a guest that tries this and that does not.
    changes: u32,
    logged: Vec<&'static str>,
}

impl Refusals {
    /// From then on, until the machine is reset, the mediator is not asked any more: every access is refused.
    pub fn is_quarantined(&self) -> bool {
        self.changes >= QUARANTINE
    }

    pub fn note(&mut self, name: &str, violation: Violation) {
        let Violation { what, detail } = violation;
        if !self.logged.contains(&what) && self.logged.len() < KINDS {
            log::warn!("{name}: refused: {what} ({detail:#x}); further ones are not logged");
            self.logged.push(what);
        }
        if self.is_quarantined() || self.last.replace(violation) == Some(violation) {
            return;
        }
        self.changes = self.changes.saturating_add(1);
        if self.is_quarantined() {
            log::error!("{name}: {QUARANTINE} accesses refused; the guest loses the controller until the next reset");
        }
    }
}
