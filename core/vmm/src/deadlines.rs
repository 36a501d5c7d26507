//! Tries the deadlines of tasks, on a guest's request (`abi::hypercall::DEBUG_DEADLINES`).

use abi::hypercall::{UNKNOWN, deadlines};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};
use hw::{cpus, lapic};
use task::Class;

/// Sleeps that are over, and what the latest one was late, in microseconds.
static OVER: AtomicU32 = AtomicU32::new(0);
static LATEST: AtomicU32 = AtomicU32::new(0);
/// Counts the trials: an old one that still runs changes nothing.
static TRIAL: AtomicU64 = AtomicU64::new(0);

pub fn try_them(argument: u64) -> u64 {
    if argument == 0 {
        return u64::from(LATEST.load(Relaxed)) << 32 | u64::from(OVER.load(Relaxed));
    }
    let class = match argument & 0x7f {
        deadlines::AT_EXIT => Class::AtExit,
        deadlines::AT_INTERRUPT => Class::AtInterrupt,
        deadlines::HARD => Class::Hard,
        _ => return UNKNOWN,
    };
    let (millis, rounds) = (argument >> 8 & 0xff_ffff, argument >> 32);
    if millis == 0 {
        // Such sleeps are over at once: the task would never let go of the CPU.
        return UNKNOWN;
    }
    OVER.store(0, Relaxed);
    LATEST.store(0, Relaxed);
    let trial = TRIAL.fetch_add(1, Relaxed) + 1;
    let by_nmi = argument & deadlines::END_BY_NMI != 0;
    let spawned = task::spawn("deadlines", async move {
        for _ in 0..rounds {
            let due = task::now().0 + millis * 1_000_000;
            task::sleep_ms(millis, class).await;
            if TRIAL.load(Relaxed) != trial {
                return;
            }
            let late_us = task::now().0.saturating_sub(due) / 1000;
            LATEST.fetch_max(u32::try_from(late_us).unwrap_or(u32::MAX), Relaxed);
            OVER.fetch_add(1, Relaxed);
        }
        if by_nmi {
            lapic::send_nmi(cpus::this().apic_id());
        }
    });
    spawned.map_or(UNKNOWN, |_| 0)
}
