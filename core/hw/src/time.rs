//! Time from the TSC. The VMM owns no timer chip.

use core::sync::atomic::{AtomicU64, Ordering};
use initfunc::initfunc;
use mediator::Instant;

/// Ticks of the ACPI power management timer, 3.579545 MHz (ACPI s. 4.8.3.3), and what is waited for: 0.1 ms.
const PM_TIMER_HZ: u64 = 3_579_545;
const PM_TIMER_TICKS: u32 = 358;
/// Assumed where there is no such timer: time stamps are then only an order.
const FALLBACK_HZ: u64 = 1_000_000_000;
/// A port read takes at least some 100 ns, so a timer that stands still is noticed within a second.
const PATIENCE: u32 = 1_000_000;

static START: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick, as a fixed-point number with 32 fractional bits.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);

pub fn tsc() -> u64 {
    // SAFETY: RDTSC has no effect on memory, and CR4.TSD does not stop ring 0.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Time starts now.
fn init() -> Result<(), &'static str> {
    START.store(tsc(), Ordering::Relaxed);
    set_frequency(FALLBACK_HZ);
    Ok(())
}
initfunc!("global0", init);

/// Ticks since the start when the machine was about to sleep; 0: it was not, or time goes on again.
static HELD: AtomicU64 = AtomicU64::new(0);

/// The machine may sleep now, and the time stamp counter start anew.
fn hold() -> Result<(), &'static str> {
    HELD.store(ticks(), Ordering::Relaxed);
    Ok(())
}
initfunc!("suspend0", hold);

/// Time goes on where it stood.
fn go_on() -> Result<(), &'static str> {
    let held = HELD.swap(0, Ordering::Relaxed);
    if held != 0 {
        START.store(tsc().wrapping_sub(held), Ordering::Relaxed);
    }
    Ok(())
}
initfunc!("wakeup0", go_on);

fn set_frequency(hz: u64) {
    let scale = (u128::from(1_000_000_000u32) << 32) / u128::from(hz.max(1));
    NANOS_PER_TICK.store(scale as u64, Ordering::Relaxed);
}

/// Measures the TSC against the power management timer at this port; returns the frequency in Hz, or `None` when the
/// timer does not run.
///
/// # Safety
/// The port is the timer's.
pub unsafe fn calibrate(pm_timer: u16) -> Option<u64> {
    // SAFETY: the caller's promise; reading the timer has no effect.
    let now = || unsafe { crate::port::read(pm_timer, mediator::Width::Dword) } & 0xff_ffff;
    let (from_ticks, from_tsc) = (now(), tsc());
    for _ in 0..PATIENCE {
        let passed = now().wrapping_sub(from_ticks) & 0xff_ffff;
        if passed >= PM_TIMER_TICKS {
            let hz = (tsc() - from_tsc) * PM_TIMER_HZ / u64::from(passed);
            set_frequency(hz);
            return Some(hz);
        }
    }
    None
}

fn ticks() -> u64 {
    tsc().wrapping_sub(START.load(Ordering::Relaxed))
}

/// Time since Shoji started, without that in which the machine slept.
pub fn now() -> Instant {
    Instant(nanos(ticks()))
}

/// How long so many ticks of the TSC are.
pub fn nanos(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(NANOS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64
}

/// What the TSC shows at that time, or soon after.
pub fn tsc_at(time: Instant) -> u64 {
    let ticks = (u128::from(time.0) << 32).div_ceil(u128::from(NANOS_PER_TICK.load(Ordering::Relaxed)).max(1));
    // Far enough away, and not so far that it would look like the past.
    let ticks = u64::try_from(ticks).unwrap_or(u64::MAX).min(1 << 62);
    START.load(Ordering::Relaxed).wrapping_add(ticks)
}

/// Waits; for what the hardware wants time for before the guest runs.
pub fn wait_ms(millis: u64) {
    let end = now().0 + millis * 1_000_000;
    while now().0 < end {
        core::hint::spin_loop();
    }
}
