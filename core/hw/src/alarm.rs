//! The alarm of a CPU: what ends a program's time in ring 3. It is the local APIC's timer, lent for as long as programs run there.

use crate::lapic::Held;
use crate::{apic_timer, cpus, lapic, time};
use core::cell::Cell;
use mediator::Instant;

/// Only its own CPU touches it, and no handler of interrupts does.
pub(crate) struct Alarm {
    /// Nanoseconds since Shoji started; 0: it is off.
    until: Cell<u64>,
    /// What the timer was lent for before, if it was: a deadline in ticks of the TSC.
    before: Cell<Option<u64>>,
    held: Cell<Held>,
}
// SAFETY: see above.
unsafe impl Sync for Alarm {}

impl Alarm {
    pub const fn new() -> Self {
        Self { until: Cell::new(0), before: Cell::new(None), held: Cell::new(Held { legacy: None, spurious: None }) }
    }
}

/// It rings at that time. False: the guest has switched the local APIC off, and a program's time is looked at only where it leaves
/// ring 3.
pub(crate) fn set(until: u64) -> bool {
    let alarm = &cpus::this().alarm;
    if alarm.until.get() == until {
        return true;
    }
    let before = apic_timer::deadline();
    if apic_timer::lend(time::tsc_at(Instant(until))).is_none() {
        return alarm.until.get() != 0;
    }
    if alarm.until.replace(until) == 0 {
        alarm.before.set(before);
        alarm.held.set(lapic::hold());
    }
    true
}

/// It is off.
pub(crate) fn stop() {
    let alarm = &cpus::this().alarm;
    if alarm.until.take() == 0 {
        return;
    }
    match alarm.before.take() {
        None => apic_timer::give_back(),
        // It is lent for longer than programs run; if that deadline is over, its interrupt comes at once.
        Some(deadline) => _ = apic_timer::lend(deadline),
    }
    lapic::release(alarm.held.take());
}
