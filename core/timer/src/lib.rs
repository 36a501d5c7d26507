//! The timer of a local APIC, lent: it is the guest's, and the VMM borrows it where it has no other to be woken by.
//!
//! While a [`Loan`] lasts the hardware counts down to whatever comes first, the VMM's deadline or the guest's own expiry, and
//! raises [`VECTOR`]. The guest's registers are kept here: its reads and writes are answered from them, its expiries are passed on
//! as interrupts of its own vector. Afterwards the hardware goes on where the guest's timer would stand.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, 11.5.4; AMD64 APM Vol. 2 (24593) rev. 3.41, 16.4.1, agrees, but for the
//! TSC-deadline mode, which it lacks.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

mod guest;
mod ratio;
#[cfg(test)]
mod tests;

use guest::GuestTimer;
pub use ratio::Ratio;

/// What the lent timer raises: of the highest priority class, and used by hardly any guest. (Linux has it for posted interrupts of
/// nested virtual machines. For FFh Bochs 2.7 takes no EOI where that is the spurious vector, as in most guests.)
pub const VECTOR: u8 = 0xf0;

/// The registers that a loan is about, by their offset in the page of the local APIC (SDM Vol. 3A table 11-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Register {
    /// Spurious interrupt vector register: by bit 8 software switches the local APIC on, without which no timer interrupts.
    Spurious = 0xf0,
    /// LVT timer register.
    LocalVector = 0x320,
    InitialCount = 0x380,
    /// Read only.
    CurrentCount = 0x390,
    /// Divide configuration register.
    Divide = 0x3e0,
}

impl Register {
    /// The register at this offset in the page, if it is one of them.
    pub fn at(offset: u16) -> Option<Self> {
        [Self::Spurious, Self::LocalVector, Self::InitialCount, Self::CurrentCount, Self::Divide]
            .into_iter()
            .find(|register| *register as u16 == offset)
    }
}

/// [`Register::Spurious`], bit 8.
const SOFTWARE_ENABLED: u32 = 1 << 8;

/// The local APIC of the running CPU.
pub trait Apic {
    fn read(&mut self, register: Register) -> u32;
    fn write(&mut self, register: Register, value: u32);
    /// MSR TSC_DEADLINE. Only called while the local vector is in TSC-deadline mode.
    fn deadline(&mut self) -> u64;
    fn set_deadline(&mut self, tsc: u64);
    fn tsc(&mut self) -> u64;
    /// Has the local APIC deliver this vector to its own CPU.
    fn raise(&mut self, vector: u8);
    /// Waits one with this vector to be taken?
    fn is_requested(&mut self, vector: u8) -> bool;
    fn is_in_service(&mut self, vector: u8) -> bool;
}

/// What a guest's timer owes to loans that are over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Debt {
    initial: u32,
    counts: u32,
}

impl Debt {
    pub const NONE: Self = Self { initial: 0, counts: 0 };
}

/// The timer, while the VMM has it.
#[derive(Debug)]
pub struct Loan {
    ratio: Ratio,
    /// The VMM's, in ticks of the TSC.
    deadline: u64,
    /// It has interrupted for the deadline already.
    told: bool,
    guest: GuestTimer,
    debt: Debt,
    /// The guest's bit in [`Register::Spurious`]; the hardware's is set.
    is_enabled: bool,
    /// The hardware counts, or has interrupted since.
    is_armed: bool,
    /// It had interrupted already when it was stopped the last time.
    is_requested: bool,
}

impl Loan {
    /// The timer is the VMM's from now on. `debt`: what [`Loan::end`] gave the last time on this CPU.
    pub fn begin<A: Apic>(apic: &mut A, ratio: Ratio, deadline: u64, debt: Debt) -> Self {
        let spurious = apic.read(Register::Spurious);
        let is_enabled = spurious & SOFTWARE_ENABLED != 0;
        if !is_enabled {
            // All local vectors are masked in that state, and stay so.
            apic.write(Register::Spurious, spurious | SOFTWARE_ENABLED);
        }
        let guest = GuestTimer::take(apic);
        let debt = if debt.initial == guest.initial() { debt } else { Debt::NONE };
        let mut loan =
            Self { ratio, deadline, told: false, guest, debt, is_enabled, is_armed: false, is_requested: false };
        // Stopped before its mode changes, lest an expiry comes in between.
        apic.write(Register::InitialCount, 0);
        apic.write(Register::LocalVector, VECTOR.into());
        loan.guest.raise_if_late(apic);
        loan.arm(apic);
        loan
    }

    /// The VMM's deadline, in ticks of the TSC.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// The VMM wants it at another time.
    pub fn set_deadline<A: Apic>(&mut self, apic: &mut A, deadline: u64) {
        (self.deadline, self.told) = (deadline, false);
        self.settle(apic);
    }

    /// An interrupt of [`VECTOR`] was taken: is it the timer's? The guest may use the vector as well.
    pub fn is_own<A: Apic>(&mut self, apic: &mut A) -> bool {
        if core::mem::take(&mut self.is_requested) {
            return true;
        }
        let is_own = self.is_armed && apic.read(Register::CurrentCount) == 0;
        self.is_armed &= !is_own;
        is_own
    }

    /// The hardware stands still. True: its interrupt waits to be taken.
    pub fn stop<A: Apic>(&mut self, apic: &mut A) -> bool {
        let before = apic.is_requested(VECTOR);
        let is_over = apic.read(Register::CurrentCount) == 0;
        apic.write(Register::InitialCount, 0);
        // What waits may be the guest's, unless it was the timer's turn.
        let came = core::mem::take(&mut self.is_armed) && (is_over || !before);
        self.is_requested = (self.is_requested || came) && apic.is_requested(VECTOR);
        self.is_requested
    }

    /// It has interrupted by [`VECTOR`], and that has been ended. For a deadline that is over it does so only once.
    pub fn on_interrupt<A: Apic>(&mut self, apic: &mut A) {
        self.told = self.deadline <= apic.tsc();
        self.settle(apic);
    }

    /// What is due to the guest is raised, and the hardware counts to what comes next.
    fn settle<A: Apic>(&mut self, apic: &mut A) {
        self.pass_on(apic);
        self.arm(apic);
    }

    /// The timer is the guest's again. A periodic one begins a new period now, as hardware counts whole periods only; by what is
    /// left of the last one a later tick comes earlier, so that their number is right.
    #[must_use]
    pub fn end<A: Apic>(self, apic: &mut A) -> Debt {
        let is_enabled = self.is_enabled;
        let debt = self.give_back(apic);
        if !is_enabled {
            let spurious = apic.read(Register::Spurious);
            apic.write(Register::Spurious, spurious & !SOFTWARE_ENABLED);
        }
        debt
    }

    fn give_back<A: Apic>(mut self, apic: &mut A) -> Debt {
        self.pass_on(apic);
        let now = apic.tsc();
        let passed = self.guest.give_back(apic, self.ratio, now);
        let Some(passed) = passed else { return Debt::NONE };
        let initial = self.guest.initial();
        let counts = u64::from(self.debt.counts).saturating_add(passed.into());
        let left = counts.checked_sub(initial.into());
        if left.is_some() {
            self.guest.raise(apic);
        }
        Debt { initial, counts: left.unwrap_or(counts).min(initial.into()) as u32 }
    }

    /// The guest reads.
    pub fn read<A: Apic>(&mut self, apic: &mut A, register: Register) -> u32 {
        // First: an expiry changes what is read.
        self.settle(apic);
        if register == Register::Spurious {
            let enabled = if self.is_enabled { SOFTWARE_ENABLED } else { 0 };
            return apic.read(register) & !SOFTWARE_ENABLED | enabled;
        }
        self.guest.read(register, self.ratio, apic.tsc())
    }

    /// The guest writes.
    pub fn write<A: Apic>(&mut self, apic: &mut A, register: Register, value: u32) {
        self.settle(apic);
        if register == Register::InitialCount {
            self.debt = Debt::NONE;
        }
        let now = apic.tsc();
        match register {
            Register::Spurious => self.write_spurious(apic, value),
            // Switched off, the local APIC takes no write to the mask (SDM Vol. 3A s. 11.4.7.2).
            Register::LocalVector if !self.is_enabled => {
                self.guest.write(register, value | guest::MASKED, self.ratio, now);
            }
            _ => self.guest.write(register, value, self.ratio, now),
        }
        if register == Register::Divide {
            // The hardware's is the guest's.
            apic.write(register, value);
        }
        self.settle(apic);
    }

    /// The hardware's bit stays set, but for a moment in which it masks all local vectors, as the guest wants it. The timer's is
    /// the VMM's afterwards.
    fn write_spurious<A: Apic>(&mut self, apic: &mut A, value: u32) {
        let was_enabled = core::mem::replace(&mut self.is_enabled, value & SOFTWARE_ENABLED != 0);
        if was_enabled && !self.is_enabled {
            apic.write(Register::Spurious, value);
            self.guest.mask();
        }
        apic.write(Register::Spurious, value | SOFTWARE_ENABLED);
        apic.write(Register::LocalVector, VECTOR.into());
    }

    /// The guest reads MSR TSC_DEADLINE.
    pub fn read_deadline<A: Apic>(&mut self, apic: &mut A) -> u64 {
        self.settle(apic);
        self.guest.deadline()
    }

    /// The guest writes MSR TSC_DEADLINE.
    pub fn write_deadline<A: Apic>(&mut self, apic: &mut A, tsc: u64) {
        self.guest.set_deadline(tsc);
        self.settle(apic);
    }

    fn pass_on<A: Apic>(&mut self, apic: &mut A) {
        let now = apic.tsc();
        if self.guest.expire(self.ratio, now) {
            self.guest.raise(apic);
        }
    }

    /// Counts to whatever comes first; at least by one, since zero would stop it.
    fn arm<A: Apic>(&mut self, apic: &mut A) {
        self.stop(apic);
        let own = (!self.told).then_some(self.deadline);
        let next = own.into_iter().chain(self.guest.next_interrupt(self.ratio)).min();
        let now = apic.tsc();
        let count = next.map_or(0, |next| self.ratio.counts(next.saturating_sub(now), self.guest.divisor()).max(1));
        apic.write(Register::InitialCount, count);
        self.is_armed = count != 0;
    }
}
