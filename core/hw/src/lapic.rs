//! This CPU's local APIC, as far as the VMM uses it: interprocessor interrupts (SDM Vol. 3A s. 11.6 and 11.12.9; APM s. 16.5).
//!
//! The guest owns it. What the VMM changes, the upper half of the interrupt command register, it puts back.

use crate::{Hpa, direct, msr};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// IA32_APIC_BASE (SDM Vol. 3A s. 11.4.4 and 11.12.1).
const APIC_BASE: u32 = 0x1b;
const X2APIC_MODE: u64 = 1 << 10;
const BASE: u64 = 0x000f_ffff_ffff_f000;

const ENABLED: u64 = 1 << 11;
/// The registers in x2APIC mode: one MSR for 16 bytes of the page.
const X2APIC_FIRST: u32 = 0x800;

/// Interrupt command register: in x2APIC mode one MSR, else two registers of the page.
const X2APIC_ICR: u32 = 0x830;
const ICR_LOW: usize = 0x300;
const ICR_HIGH: usize = 0x310;

/// Delivery modes with level assert, as the low half of the register has them.
const NMI: u32 = 0x4400;
const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;
/// Delivery status: the last one has not been sent yet.
const PENDING: u32 = 1 << 12;
/// Reads of the status; a local APIC sends within microseconds.
const PATIENCE: u32 = 100_000;

/// The running CPU's, whose place and mode were looked at: they stay until the guest runs, and nothing else moves it.
#[derive(Clone, Copy, Debug)]
pub struct Lapic {
    /// IA32_APIC_BASE.
    base: u64,
}

impl Lapic {
    pub fn this() -> Self {
        Self { base: msr::read(APIC_BASE).unwrap_or(0) }
    }

    /// Is it on? Else it has no registers.
    pub fn is_on(self) -> bool {
        self.base & ENABLED != 0
    }

    fn is_x2apic(self) -> bool {
        self.base & X2APIC_MODE != 0
    }

    fn page(self) -> *mut u8 {
        direct::pointer(Hpa(self.base & BASE))
    }

    /// Reads the register at this offset in the page, in whatever mode the local APIC is, which is on.
    pub(crate) fn read(self, register: u16) -> u32 {
        if self.is_x2apic() {
            return msr::read(X2APIC_FIRST | u32::from(register >> 4)).unwrap_or(0) as u32;
        }
        // SAFETY: a register of the local APIC, in the direct map as in `send`. None of those that are read is changed by it.
        unsafe { self.page().add(register.into()).cast::<u32>().read_volatile() }
    }

    /// Writes likewise.
    ///
    /// # Safety
    /// The guest, whose local APIC it is, does not mind.
    pub(crate) unsafe fn write(self, register: u16, value: u32) {
        // SAFETY: the caller's promise, and as in `read`. A CPU without the register raises #GP in x2APIC mode, which is dealt
        // with.
        unsafe {
            if self.is_x2apic() {
                let _ = msr::write(X2APIC_FIRST | u32::from(register >> 4), value.into());
            } else {
                self.page().add(register.into()).cast::<u32>().write_volatile(value);
            }
        }
    }

    /// Ends the interrupt of the highest priority that is in service.
    ///
    /// # Safety
    /// It was the VMM's.
    pub(crate) unsafe fn end_of_interrupt(self) {
        const EOI: u16 = 0xb0;
        // SAFETY: the caller's promise.
        unsafe { self.write(EOI, 0) };
    }

    /// Is this vector's bit set in the eight registers from `first` on?
    fn has_bit(self, first: u16, vector: u8) -> bool {
        self.read(first + u16::from(vector / 32) * 0x10) & 1 << (vector % 32) != 0
    }

    /// Is an interrupt with this vector in service, which its own EOI must end? Spurious ones leave no trace.
    pub(crate) fn is_in_service(self, vector: u8) -> bool {
        self.is_on() && self.has_bit(0x100, vector)
    }

    /// Waits one with this vector to be taken?
    pub(crate) fn is_requested(self, vector: u8) -> bool {
        self.has_bit(0x200, vector)
    }

    /// Was the last one with this vector level-triggered?
    fn is_level(self, vector: u8) -> bool {
        self.has_bit(0x180, vector)
    }

    /// Is an interrupt of the lent timer's class in service? Until its EOI the timer's is held off.
    pub(crate) fn serves_timer_class(self) -> bool {
        // Vectors E0h to FFh are in the last register of the eight; the class is its upper half.
        const LAST_IN_SERVICE: u16 = 0x170;
        const _: () = assert!(timer::VECTOR >> 4 == 0xf);
        self.is_on() && self.read(LAST_IN_SERVICE) >> 16 != 0
    }

    /// Ends the one with this vector, of the lent timer's class, which is in service and the guest's. True: it is to be sent to the
    /// guest anew. An I/O APIC does that itself, when it hears of the EOI and the line still is asserted.
    ///
    /// # Safety
    /// The guest gets it later.
    pub(crate) unsafe fn end_early(self, vector: u8) -> bool {
        const SUPPRESSES_BROADCAST: u32 = 1 << 12;
        let sends_itself = self.is_level(vector) && self.read(SPURIOUS) & SUPPRESSES_BROADCAST == 0;
        // SAFETY: the caller's promise. None has a higher priority.
        unsafe { self.end_of_interrupt() };
        !sends_itself
    }

    /// Sends this CPU an interrupt with this vector.
    pub(crate) fn send_to_itself(self, vector: u8) {
        const TO_ITSELF: u32 = 0x4_4000;
        // The destination is not looked at.
        self.send(0, TO_ITSELF | u32::from(vector));
    }

    fn send(self, apic_id: u32, command: u32) {
        if self.is_x2apic() {
            // SAFETY: an interrupt of the callers' choice. The register is there in this mode, and takes what they send.
            let _ = unsafe { msr::write(X2APIC_ICR, u64::from(apic_id) << 32 | u64::from(command)) };
            return;
        }
        let page = self.page();
        // SAFETY: the registers of the local APIC, which lie in the direct map: their base is never above 4 GiB, as the guest
        // cannot move it. Each is a dword.
        unsafe {
            let [low, high] = [ICR_LOW, ICR_HIGH].map(|offset| page.add(offset).cast::<u32>());
            let wait = || (0..PATIENCE).find(|_| low.read_volatile() & PENDING == 0);
            wait();
            let guests = high.read_volatile();
            high.write_volatile(apic_id << 24);
            low.write_volatile(command);
            wait();
            high.write_volatile(guests);
        }
    }

    /// While programs run in ring 3: the interrupts of the legacy controller wait, which no task priority holds back and whose
    /// vectors may be those of exceptions; and the spurious vector is not that of the lent timer, whose interrupts Bochs 2.7 would
    /// not let an EOI end. Gives what [`Lapic::release`] is to be told.
    pub(crate) fn hold(self) -> Held {
        let (lint0, spurious) = (self.read(LINT0), self.read(SPURIOUS));
        let legacy = (lint0 & DELIVERY_MODE == EXTERNAL && lint0 & MASKED == 0).then_some(lint0);
        let spurious = (spurious & VECTOR == timer::VECTOR.into()).then_some(spurious);
        // SAFETY: as the guest had it, but that it comes later; `release` puts it back.
        unsafe {
            if let Some(lint0) = legacy {
                self.write(LINT0, lint0 | MASKED);
            }
            if let Some(spurious) = spurious {
                self.write(SPURIOUS, spurious & !VECTOR | u32::from(SPURIOUS_VECTOR));
            }
        }
        Held { legacy, spurious }
    }

    pub(crate) fn release(self, held: Held) {
        // SAFETY: as the guest had it.
        unsafe {
            if let Some(spurious) = held.spurious {
                // The rest of the register is the timer's lender's.
                self.write(SPURIOUS, self.read(SPURIOUS) & !VECTOR | spurious & VECTOR);
            }
            if let Some(lint0) = held.legacy {
                self.write(LINT0, lint0);
            }
        }
    }
}

/// Where the page of its registers lies.
pub fn base() -> Hpa {
    Hpa(Lapic::this().base & BASE)
}

/// Sends an NMI to the CPU with this local APIC.
pub fn send_nmi(apic_id: u32) {
    Lapic::this().send(apic_id, NMI);
}

/// Sends an INIT.
///
/// # Safety
/// The CPU may be taken from whatever it does.
pub unsafe fn send_init(apic_id: u32) {
    Lapic::this().send(apic_id, INIT);
}

/// Sends a startup IPI: a CPU that has had an INIT starts in real mode at the page with this number.
///
/// # Safety
/// There is code for it.
pub unsafe fn send_startup(apic_id: u32, page: u8) {
    Lapic::this().send(apic_id, STARTUP | u32::from(page));
}

/// LINT0 in the local vector table: delivery mode ExtINT, and the mask.
const LINT0: u16 = 0x350;
const DELIVERY_MODE: u32 = 7 << 8;
const EXTERNAL: u32 = 7 << 8;
const MASKED: u32 = 1 << 16;
/// Spurious interrupt vector register.
const SPURIOUS: u16 = 0xf0;
const VECTOR: u32 = 0xff;
/// The spurious vector while the guest's interrupts are held.
pub(crate) const SPURIOUS_VECTOR: u8 = timer::VECTOR - 1;

/// Do the interrupts of the legacy controller come by this local APIC? Their vector is told when they are taken: taken for a guest that
/// does not let them in, it would be of no use to one that moves the vectors meanwhile, as every kernel does when it starts.
pub fn legacy_interrupts_come() -> bool {
    let apic = Lapic::this();
    let lint0 = if apic.is_on() { apic.read(LINT0) } else { EXTERNAL };
    lint0 & DELIVERY_MODE == EXTERNAL && lint0 & MASKED == 0
}

/// CPUs that are asked to leave the guest at interrupts, and do not.
static PASSING: AtomicU32 = AtomicU32::new(0);

/// This CPU becomes (`pass`), or ceases to be, one where interrupts go to the guest although it is asked to leave that for them.
pub fn count_passing(pass: bool) {
    if pass {
        PASSING.fetch_add(1, SeqCst)
    } else {
        PASSING.fetch_sub(1, SeqCst)
    };
}

/// Is there such a CPU?
pub fn interrupts_pass() -> bool {
    PASSING.load(SeqCst) != 0
}

/// What [`Lapic::hold`] has changed: the registers' values before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub legacy: Option<u32>,
    pub spurious: Option<u32>,
}
