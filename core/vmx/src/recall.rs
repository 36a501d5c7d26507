//! How the VMM gets the CPU back from a guest that has no exit of its own: at its interrupts, which the exit acknowledges and which
//! are queued for it, and at a time, by the VMX-preemption timer (SDM s. 26.5.1).

use crate::features::Features;
use crate::instructions::{read, write};
use crate::vcpu::VmxVcpu;
use exit::{Exit, ExitKind, Recall, Vcpu};
use hw::{lapic, time};
use mediator::Instant;
use x86::vmx::{ExitControls, Field, InterruptionInfo, PinControls};

/// Where interrupts must not exit the timer does, after this time.
const INSTEAD_NS: u64 = 1_000_000;

/// What this CPU does to get the guest back.
#[derive(Default)]
pub struct Watch {
    wanted: Recall,
    /// What the preemption timer waits for.
    deadline: Option<u64>,
    /// Interrupts are wanted, and some have gone to the guest since.
    passing: bool,
}

impl Watch {
    /// Must every entry be prepared?
    pub fn is_timed(&self) -> bool {
        self.deadline.is_some()
    }
}

/// Exits may leave interrupts pending instead of acknowledging them; then they are better left alone.
fn acknowledges(features: &Features) -> bool {
    features.controls.exit.contains(ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT)
}

fn has_timer(features: &Features) -> bool {
    features.capabilities.pin.allows(PinControls::ACTIVATE_PREEMPTION_TIMER.bits())
}

impl VmxVcpu {
    /// As [`Vcpu::set_recall`].
    #[cold]
    pub(crate) fn watch_for(&mut self, wanted: Recall) {
        if wanted == self.watch.wanted && !wanted.at_interrupt {
            return;
        }
        self.watch.wanted = wanted;
        let features = &self.features().clone();
        self.watch.deadline = wanted.at_tsc.filter(|_| has_timer(features));
        // Without the timer the guest's interrupts must do.
        let at_interrupt = wanted.at_interrupt || wanted.at_tsc.is_some() && !has_timer(features);
        let mut pin = features.controls.pin;
        pin.set(PinControls::ACTIVATE_PREEMPTION_TIMER, self.watch.is_timed());
        // They would exit whatever the guest's mask says.
        let come_early = lapic::legacy_interrupts_come();
        if come_early && at_interrupt && has_timer(features) {
            let soon = time::tsc_at(Instant(time::now().0.saturating_add(INSTEAD_NS)));
            self.watch.deadline = Some(self.watch.deadline.map_or(soon, |deadline| deadline.min(soon)));
            pin.insert(PinControls::ACTIVATE_PREEMPTION_TIMER);
        }
        let exits = at_interrupt && !come_early && acknowledges(features);
        pin.set(PinControls::EXTERNAL_INTERRUPT_EXITING, exits);
        // What has gone to the guest is made good before the end of the wish, which so is that of the state.
        let passing = wanted.at_interrupt && (self.watch.passing || !exits);
        if passing != self.watch.passing {
            self.watch.passing = passing;
            lapic::count_passing(passing);
        }
        write(Field::PIN_CONTROLS, pin.bits().into());
        self.make_busy();
    }

    /// Just before an entry. The timer counts in the guest only, also while that halts, and begins anew at each entry.
    pub(crate) fn set_timer(&self) {
        let Some(deadline) = self.watch.deadline else { return };
        let shift = self.features().capabilities.misc.preemption_timer_shift();
        // Rounded up: it is not to exit too early. What does not fit is waited for in parts.
        let units = (deadline.saturating_sub(time::tsc()) >> shift) + 1;
        write(Field::VMX_PREEMPTION_TIMER_VALUE, units.min(u32::MAX.into()));
    }

    /// The preemption timer has run out.
    pub(crate) fn on_timer(&mut self) -> Exit {
        // How interrupts come may have changed.
        self.watch_for(self.watch.wanted);
        Exit::Answered(ExitKind::Recall)
    }

    /// An external interrupt has left the guest.
    pub(crate) fn on_interrupt(&mut self) -> Exit {
        let info = InterruptionInfo(read(Field::VM_EXIT_INTERRUPTION_INFORMATION) as u32);
        if info.is_valid() {
            self.queue_interrupt(info.vector());
        }
        Exit::Answered(ExitKind::ExternalInterrupt)
    }
}
