//! The guest's timer while the hardware counts for the VMM.

use crate::{Apic, Ratio, Register};

// LVT timer register (SDM Vol. 3A figure 11-8).
const VECTOR: u32 = 0xff;
pub const MASKED: u32 = 1 << 16;
const MODE: u32 = 3 << 17;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
/// What can be written; delivery status is read only.
const WRITABLE: u32 = VECTOR | MASKED | MODE;
/// Lower ones are illegal, and a local vector with one raises nothing.
const FIRST_VECTOR: u8 = 16;

/// The counter as it stood at some moment.
#[derive(Clone, Copy, Debug)]
struct Origin {
    tsc: u64,
    /// 0: it stands still.
    count: u32,
}

#[derive(Debug)]
pub struct GuestTimer {
    local_vector: u32,
    initial: u32,
    divide: u32,
    origin: Origin,
    /// TSC_DEADLINE; 0: not armed, or not in that mode.
    deadline: u64,
}

impl GuestTimer {
    /// As the hardware has it.
    pub fn take<A: Apic>(apic: &mut A) -> Self {
        let local_vector = apic.read(Register::LocalVector) & WRITABLE;
        let is_deadline = local_vector & MODE == TSC_DEADLINE;
        Self {
            local_vector,
            initial: apic.read(Register::InitialCount),
            divide: apic.read(Register::Divide),
            deadline: if is_deadline { apic.deadline() } else { 0 },
            origin: Origin { count: apic.read(Register::CurrentCount), tsc: apic.tsc() },
        }
    }

    /// The hardware goes on where this stands. Of a periodic timer that runs: how many counts of its period are over, which the
    /// hardware begins anew.
    pub fn give_back<A: Apic>(&self, apic: &mut A, ratio: Ratio, now: u64) -> Option<u32> {
        let count = self.current(ratio, now);
        apic.write(Register::InitialCount, 0);
        apic.write(Register::LocalVector, self.local_vector);
        if self.is_deadline() {
            if self.deadline != 0 {
                apic.set_deadline(self.deadline);
            }
            None
        } else if self.is_periodic() && count != 0 {
            apic.write(Register::InitialCount, self.initial);
            Some(self.initial.saturating_sub(count))
        } else {
            apic.write(Register::InitialCount, count);
            None
        }
    }

    pub fn initial(&self) -> u32 {
        self.initial
    }

    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// As the local APIC masks it where it is switched off.
    pub fn mask(&mut self) {
        self.local_vector |= MASKED;
    }

    /// In other modes it is not there to be written.
    pub fn set_deadline(&mut self, tsc: u64) {
        if self.is_deadline() {
            self.deadline = tsc;
        }
    }

    /// By what the clock is divided (SDM Vol. 3A figure 11-10): bits 0, 1 and 3 of the register.
    pub fn divisor(&self) -> u32 {
        let code = self.divide & 3 | self.divide.wrapping_shr(1) & 4;
        if code == 7 { 1 } else { 2_u32.wrapping_shl(code) }
    }

    fn is_periodic(&self) -> bool {
        self.local_vector & MODE == PERIODIC
    }

    fn is_deadline(&self) -> bool {
        self.local_vector & MODE == TSC_DEADLINE
    }

    /// When it is at zero next. `None`: it stands still.
    fn expiry(&self, ratio: Ratio) -> Option<u64> {
        if self.is_deadline() {
            return Some(self.deadline).filter(|deadline| *deadline != 0);
        }
        let ticks = ratio.ticks(self.origin.count, self.divisor());
        (self.origin.count != 0).then(|| self.origin.tsc.saturating_add(ticks))
    }

    /// When it interrupts next.
    pub fn next_interrupt(&self, ratio: Ratio) -> Option<u64> {
        if self.local_vector & MASKED != 0 { None } else { self.expiry(ratio) }
    }

    /// Has it come to zero? Several expiries of a periodic timer that nobody could tell apart are one.
    pub fn expire(&mut self, ratio: Ratio, now: u64) -> bool {
        let Some(expiry) = self.expiry(ratio).filter(|expiry| *expiry <= now) else { return false };
        if self.is_deadline() {
            self.deadline = 0;
        } else if self.is_periodic() && self.initial != 0 {
            let period = ratio.ticks(self.initial, self.divisor()).max(1);
            let over = now.saturating_sub(expiry).checked_rem(period).unwrap_or(0);
            self.origin = Origin { tsc: now.saturating_sub(over), count: self.initial };
        } else {
            self.origin = Origin { tsc: expiry, count: 0 };
        }
        true
    }

    /// Its interrupt, unless it is masked.
    pub fn raise<A: Apic>(&self, apic: &mut A) {
        let vector = (self.local_vector & VECTOR) as u8;
        if self.local_vector & MASKED == 0 && vector >= FIRST_VECTOR {
            apic.raise(vector);
        }
    }

    /// A one-shot timer at zero has interrupted, or is about to: between the two an emulator may take milliseconds (QEMU, whose
    /// counter is read off the clock), and stopping the counter takes the interrupt back. One that the guest gets once more
    /// finds nothing to do; one that it never gets stops its clock.
    pub fn raise_if_late<A: Apic>(&self, apic: &mut A) {
        let is_over = self.local_vector & MODE == 0 && self.initial != 0 && self.origin.count == 0;
        let vector = (self.local_vector & VECTOR) as u8;
        if is_over && !apic.is_requested(vector) && !apic.is_in_service(vector) {
            self.raise(apic);
        }
    }

    /// The counter. Expiries up to `now` are dealt with.
    fn current(&self, ratio: Ratio, now: u64) -> u32 {
        let passed = ratio.counts(now.saturating_sub(self.origin.tsc), self.divisor());
        // It never shows the zero of an expiry that is still to come.
        if self.origin.count == 0 { 0 } else { self.origin.count.saturating_sub(passed).max(1) }
    }

    pub fn read(&self, register: Register, ratio: Ratio, now: u64) -> u32 {
        match register {
            Register::LocalVector => self.local_vector,
            Register::InitialCount => self.initial,
            Register::CurrentCount if self.is_deadline() => 0,
            Register::CurrentCount => self.current(ratio, now),
            Register::Divide => self.divide,
            // The loan's.
            Register::Spurious => 0,
        }
    }

    pub fn write(&mut self, register: Register, value: u32, ratio: Ratio, now: u64) {
        match register {
            Register::LocalVector => {
                // From or to TSC-deadline mode it is disarmed (s. 11.5.4.1).
                if (self.local_vector ^ value) & TSC_DEADLINE != 0 {
                    self.deadline = 0;
                    self.origin.count = 0;
                }
                self.local_vector = value & WRITABLE;
            }
            // Ignored in that mode.
            Register::InitialCount if self.is_deadline() => {}
            Register::InitialCount => {
                self.initial = value;
                self.origin = Origin { tsc: now, count: value };
            }
            Register::CurrentCount | Register::Spurious => {}
            Register::Divide => {
                self.origin = Origin { tsc: now, count: self.current(ratio, now) };
                self.divide = value & 0xb;
            }
        }
    }
}
