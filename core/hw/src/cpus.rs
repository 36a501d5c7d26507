//! The CPUs of the machine: one so far.

use crate::direct;
use crate::nmi::NmiState;
use crate::{Hpa, msr};
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::SeqCst;
use mediator::Width;

/// What is kept of one CPU.
pub struct Cpu {
    /// An NMI was sent by [`Cpu::kick`] and has not come yet.
    kicked: AtomicBool,
    pub nmi: NmiState,
}

static FIRST: Cpu = Cpu { kicked: AtomicBool::new(false), nmi: NmiState::new() };
static ALL: [&Cpu; 1] = [&FIRST];

/// All CPUs by their numbers.
pub fn all() -> &'static [&'static Cpu] {
    &ALL
}

/// The CPU that runs this.
#[inline(always)]
pub fn this() -> &'static Cpu {
    &FIRST
}

/// Runs `action` while all other CPUs stand still in the host.
pub fn while_others_stand<R>(action: impl FnOnce() -> R) -> R {
    action()
}

const APIC_BASE: u32 = 0x1b;
const ICR_LOW: u64 = 0x300;
const NMI: u64 = 0x4400;

impl Cpu {
    /// Gets it out of the guest soon, by an NMI; what it is to do then must be told before. While one is on its way no further
    /// one is sent: it would be taken for the guest's.
    pub fn kick(&self) {
        if !self.kicked.swap(true, SeqCst) {
            let base = msr::read(APIC_BASE).unwrap_or(0) & !0xfff;
            // SAFETY: the local APIC, in its place below 4 GiB; an NMI finds its handler.
            unsafe {
                direct::write(Hpa(base + ICR_LOW + 0x10), Width::Dword, 0);
                direct::write(Hpa(base + ICR_LOW), Width::Dword, NMI);
            }
        }
    }

    /// For the NMI handler: was this NMI a kick? One that falls together with the guest's own hides it.
    pub fn take_kick(&self) -> bool {
        self.kicked.swap(false, SeqCst)
    }
}
