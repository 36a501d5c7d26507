//! This CPU's local APIC, as far as the VMM uses it: interprocessor interrupts (SDM Vol. 3A s. 11.6 and 11.12.9; APM s. 16.5).
//!
//! The guest owns it. What the VMM changes, the upper half of the interrupt command register, it puts back.

use crate::{Hpa, direct, msr};

/// IA32_APIC_BASE (SDM Vol. 3A s. 11.4.4 and 11.12.1).
const APIC_BASE: u32 = 0x1b;
const X2APIC_MODE: u64 = 1 << 10;
const BASE: u64 = 0x000f_ffff_ffff_f000;

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

/// Where the page of its registers lies.
pub fn base() -> Hpa {
    Hpa(msr::read(APIC_BASE).unwrap_or(0) & BASE)
}

/// Sends an NMI to the CPU with this local APIC.
pub fn send_nmi(apic_id: u32) {
    send(apic_id, NMI);
}

/// Sends an INIT.
///
/// # Safety
/// The CPU may be taken from whatever it does.
pub unsafe fn send_init(apic_id: u32) {
    send(apic_id, INIT);
}

/// Sends a startup IPI: a CPU that has had an INIT starts in real mode at the page with this number.
///
/// # Safety
/// There is code for it.
pub unsafe fn send_startup(apic_id: u32, page: u8) {
    send(apic_id, STARTUP | u32::from(page));
}

fn send(apic_id: u32, command: u32) {
    let base = msr::read(APIC_BASE).unwrap_or(0);
    if base & X2APIC_MODE != 0 {
        // SAFETY: an interrupt of the callers' choice. The register is there in this mode, and takes what they send.
        let _ = unsafe { msr::write(X2APIC_ICR, u64::from(apic_id) << 32 | u64::from(command)) };
        return;
    }
    let page = direct::pointer(Hpa(base & BASE));
    // SAFETY: the registers of the local APIC, which lie in the direct map: their base is never above 4 GiB, as the guest cannot
    // move it. Each is a dword.
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
