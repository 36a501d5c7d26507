//! The alarm of a CPU: what ends a program's time in ring 3. It is the local APIC's timer, lent for as long as programs run there.

use crate::apic_timer::{self, Borrower};
use crate::lapic::{Held, Lapic};
use crate::{cpus, interrupts, time};
use core::cell::Cell;
use mediator::Instant;

/// Only its own CPU touches it, and no handler of interrupts does.
pub(crate) struct Alarm {
    /// Nanoseconds since Shoji started; 0: it is off.
    until: Cell<u64>,
    held: Cell<Held>,
}
// SAFETY: see above.
unsafe impl Sync for Alarm {}

impl Alarm {
    pub const fn new() -> Self {
        Self { until: Cell::new(0), held: Cell::new(Held { legacy: None, spurious: None }) }
    }
}

/// It rings at that time. False: the guest has switched the local APIC off, and a program's time is looked at only where it leaves
/// ring 3.
pub(crate) fn set(until: u64) -> bool {
    let alarm = &cpus::this().alarm;
    if alarm.until.get() == until {
        return true;
    }
    let apic = Lapic::this();
    if apic_timer::lend(apic, Borrower::Program, time::tsc_at(Instant(until))).is_none() {
        return alarm.until.get() != 0;
    }
    if alarm.until.replace(until) == 0 {
        alarm.held.set(apic.hold());
        interrupts::put_off_timer_class();
    }
    true
}

/// It is off.
pub(crate) fn stop() {
    let alarm = &cpus::this().alarm;
    if alarm.until.take() == 0 {
        return;
    }
    let apic = Lapic::this();
    apic_timer::give_back(apic, Borrower::Program);
    apic.release(alarm.held.take());
    interrupts::stop_putting_off(apic);
}
