//! The timer of this CPU's local APIC, lent by the guest: what the crate `timer` decides, done with the hardware. For where the VMM
//! needs to be woken and has nothing else: while ring 3 runs, and on AMD-V while the guest does.
//!
//! Two may have it at once, each for a deadline of its own ([`Borrower`]). Between [`lend`] and [`give_back`] either the guest does not run on this CPU, or its accesses to the timer leave it and come to
//! [`Access`]. The interrupt of the timer is taken in the host only: with it interrupts are let in ([`crate::interrupts`]).

use crate::lapic::Lapic;
use crate::{cpus, interrupts, msr, ring3, time};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use initfunc::initfunc;
use spin::Once;
use timer::{Apic, Debt, Loan, Ratio, Register, VECTOR};

const TSC_DEADLINE: u32 = 0x6e0;

/// What one CPU keeps of it. Its own CPU alone touches that, with interrupts off.
pub(crate) struct Lent(UnsafeCell<State>);
// SAFETY: see above.
unsafe impl Sync for Lent {}

/// Whom it is lent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Borrower {
    /// The VMM, which wants the CPU back from its guest.
    Vcpu,
    /// The VMM, which wants it back from a program in ring 3.
    Program,
}

struct State {
    loan: Option<Loan>,
    /// Of each borrower.
    deadlines: [Option<u64>; 2],
    debt: Debt,
    /// It is being given back.
    ends: bool,
}

impl Lent {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State { loan: None, deadlines: [None; 2], debt: Debt::NONE, ends: false }))
    }
}

impl State {
    /// The next deadline of all borrowers; the last one where all are over.
    fn next_deadline(&self, now: u64) -> u64 {
        let all = || self.deadlines.iter().flatten().copied();
        all().filter(|deadline| *deadline > now).min().or(all().max()).unwrap_or(u64::MAX)
    }
}

/// Calls `then` with this CPU's state.
fn with<R>(then: impl FnOnce(&mut State) -> R) -> R {
    // SAFETY: this CPU's, and interrupts are off in all that calls this, the handler included. None of it calls another.
    then(unsafe { &mut *cpus::this().timer.0.get() })
}

struct Hardware(Lapic);

impl Apic for Hardware {
    fn read(&mut self, register: Register) -> u32 {
        self.0.read(register as u16)
    }

    fn write(&mut self, register: Register, value: u32) {
        // SAFETY: the timer is lent, being lent, or being given back.
        unsafe { self.0.write(register as u16, value) };
    }

    fn deadline(&mut self) -> u64 {
        msr::read(TSC_DEADLINE).unwrap_or(0)
    }

    fn set_deadline(&mut self, tsc: u64) {
        // The mode was set by a write to memory, which may be overtaken (SDM Vol. 3A s. 11.5.4.1).
        // SAFETY: orders memory accesses; the value is the guest's own.
        unsafe {
            core::arch::asm!("mfence", options(nostack, preserves_flags));
            let _ = msr::write(TSC_DEADLINE, tsc);
        }
    }

    fn tsc(&mut self) -> u64 {
        time::tsc()
    }

    fn raise(&mut self, vector: u8) {
        self.0.send_to_itself(vector);
    }

    fn is_requested(&mut self, vector: u8) -> bool {
        self.0.is_requested(vector)
    }

    fn is_in_service(&mut self, vector: u8) -> bool {
        self.0.is_in_service(vector)
    }
}

static RATIO: Once<Ratio> = Once::new();

/// Can timers be lent at all?
pub fn is_there() -> bool {
    RATIO.is_completed()
}

/// The VMM has the timer from now on, and is interrupted at `deadline`, in ticks of the TSC, or soon after. If this borrower has it
/// already, its deadline moves. `None`: there is no timer to be had, as the guest has switched the local APIC off.
pub fn lend(apic: Lapic, to: Borrower, deadline: u64) -> Option<()> {
    let ratio = *RATIO.get().filter(|_| apic.is_on())?;
    let hardware = &mut Hardware(apic);
    with(|state| {
        state.deadlines[to as usize] = Some(deadline);
        let deadline = state.next_deadline(hardware.tsc());
        if let Some(loan) = &mut state.loan {
            loan.set_deadline(hardware, deadline);
            return;
        }
        state.loan = Some(Loan::begin(hardware, ratio, deadline, state.debt));
    });
    Some(())
}

/// This borrower has no need of it any more. Without the other one it is the guest's again, as it would stand by now. Interrupts may
/// be noted meanwhile.
pub fn give_back(apic: Lapic, from: Borrower) {
    let hardware = &mut Hardware(apic);
    let is_requested = with(|state| {
        state.deadlines[from as usize] = None;
        let loan = state.loan.as_mut()?;
        state.ends = state.deadlines == [None; 2];
        if state.ends {
            return Some(loan.stop(hardware));
        }
        let deadline = state.deadlines.iter().flatten().copied().min().unwrap_or(u64::MAX);
        loan.set_deadline(hardware, deadline);
        None
    });
    let Some(is_requested) = is_requested else { return };
    // It would reach the guest. (It does where the guest has one of the same class in service.)
    if is_requested {
        interrupts::put_off_timer_class();
        let priority = ring3::swap_priority(ring3::TIMER_CLASS);
        interrupts::admit();
        ring3::swap_priority(priority);
        interrupts::stop_putting_off(apic);
    }
    with(|state| {
        state.ends = false;
        let Some(loan) = state.loan.take() else { return };
        state.debt = loan.end(hardware);
    });
}

/// The deadline for which it is lent now, if it is.
pub fn deadline() -> Option<u64> {
    with(|state| state.loan.as_ref().map(Loan::deadline))
}

/// Is the deadline over, for which the timer was lent?
pub fn is_due(to: Borrower) -> bool {
    with(|state| state.deadlines[to as usize].is_some_and(|deadline| deadline <= time::tsc()))
}

/// The VMM's own interrupt, if it is that: the guest gets what is due to it, and the timer goes on.
pub(crate) fn on_interrupt() -> bool {
    let apic = Lapic::this();
    let hardware = &mut Hardware(apic);
    with(|state| {
        let Some(loan) = state.loan.as_mut().filter(|_| apic.is_in_service(VECTOR)) else { return false };
        if !loan.is_own(hardware) {
            return false;
        }
        // SAFETY: the timer's; none of a higher priority can be in service.
        unsafe { apic.end_of_interrupt() };
        if !state.ends {
            loan.on_interrupt(hardware);
            let next = state.next_deadline(hardware.tsc());
            if let Some(loan) = state.loan.as_mut().filter(|loan| loan.deadline() < next) {
                loan.set_deadline(hardware, next);
            }
        }
        true
    })
}

/// An access of the guest to its timer while that is lent.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    Read(Register),
    Write(Register, u32),
    /// MSR TSC_DEADLINE.
    ReadDeadline,
    WriteDeadline(u64),
}

/// Carries it out; gives what is read. `None`: the timer is not lent, and the access is the hardware's.
pub fn access(access: Access) -> Option<u64> {
    with(|state| {
        let loan = state.loan.as_mut()?;
        let hardware = &mut Hardware(Lapic::this());
        Some(match access {
            Access::Read(register) => loan.read(hardware, register).into(),
            Access::Write(register, value) => {
                loan.write(hardware, register, value);
                0
            }
            Access::ReadDeadline => loan.read_deadline(hardware),
            Access::WriteDeadline(tsc) => {
                loan.write_deadline(hardware, tsc);
                0
            }
        })
    })
}

// How fast the timer counts is measured while the VMM starts: no time is spent for it.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static FIRMWARES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
const BORROWED: [Register; 3] = [Register::LocalVector, Register::Divide, Register::InitialCount];
const MASKED: u32 = 1 << 16;
const DIVIDE_BY_16: u32 = 3;
const DIVISOR: u64 = 16;
/// In nanoseconds. What is shorter is no measure.
const LEAST: u64 = 200_000;

/// The timer counts, and interrupts nobody.
fn begin_measuring() -> Result<(), &'static str> {
    let apic = Lapic::this();
    if !apic.is_on() {
        return Ok(());
    }
    let mut hardware = Hardware(apic);
    for (register, firmwares) in BORROWED.into_iter().zip(&FIRMWARES) {
        firmwares.store(hardware.read(register).into(), Relaxed);
    }
    hardware.write(Register::LocalVector, MASKED);
    hardware.write(Register::Divide, DIVIDE_BY_16);
    hardware.write(Register::InitialCount, u32::MAX);
    BEGUN.store(time::tsc(), Relaxed);
    Ok(())
}
initfunc!("config00", begin_measuring);

/// As the firmware had it; one that ran does so from its start.
fn end_measuring() -> Result<(), &'static str> {
    let begun = BEGUN.load(Relaxed);
    if begun == 0 {
        return Ok(());
    }
    while time::nanos(time::tsc().wrapping_sub(begun)) < LEAST {
        core::hint::spin_loop();
    }
    let hardware = &mut Hardware(Lapic::this());
    let (counts, ticks) = counted(hardware, begun);
    RATIO.try_call_once(|| Ratio::measured(counts, ticks).ok_or(())).map_or_else(
        |()| log::warn!("the local APIC's timer does not count: hard deadlines wait for the guest's exits"),
        |_| log::debug!("local APIC timer: {counts} counts in {ticks} ticks of the TSC"),
    );
    for (register, firmwares) in BORROWED.into_iter().zip(&FIRMWARES) {
        hardware.write(register, firmwares.load(Relaxed) as u32);
    }
    Ok(())
}
initfunc!("config19", end_measuring);

/// Undivided counts and ticks since, taken as closely together as some tries give.
fn counted(hardware: &mut Hardware, begun: u64) -> (u64, u64) {
    const TRIES: u32 = 8;
    let sample = |_| {
        let before = time::tsc();
        let left = hardware.read(Register::CurrentCount);
        let after = time::tsc();
        (after - before, u64::from(u32::MAX - left) * DIVISOR, before + (after - before) / 2 - begun)
    };
    let best = (0..TRIES).map(sample).min_by_key(|&(span, ..)| span);
    best.map_or((0, 0), |(_, counts, ticks)| (counts, ticks))
}
