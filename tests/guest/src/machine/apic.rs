//! The local APIC of this CPU, in the mode that all are in. Intel SDM Vol. 3A (order number 325384) chapter 11.

use super::cpu::{rdmsr, wrmsr};
use super::memory::{peek, poke};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// IA32_APIC_BASE.
pub const APIC_BASE: u32 = 0x1b;
pub const BASE_ENABLED: u64 = 1 << 11;
pub const BASE_X2APIC: u64 = 1 << 10;
pub const BASE_FIRST_CPU: u64 = 1 << 8;
/// Where the registers are after a reset, 16 bytes apart.
pub const PAGE: u64 = 0xfee0_0000;
/// MSR of register 0 in x2APIC mode.
const X2APIC: u32 = 0x800;

pub const ID: u32 = 0x20;
pub const VERSION: u32 = 0x30;
pub const TASK_PRIORITY: u32 = 0x80;
pub const EOI: u32 = 0xb0;
pub const LOGICAL_ID: u32 = 0xd0;
pub const LOGICAL_FORMAT: u32 = 0xe0;
pub const SPURIOUS: u32 = 0xf0;
pub const IN_SERVICE: u32 = 0x100;
pub const REQUEST: u32 = 0x200;
pub const ERROR: u32 = 0x280;
pub const ICR: u32 = 0x300;
pub const ICR_HIGH: u32 = 0x310;
pub const TIMER: u32 = 0x320;
pub const LINT0: u32 = 0x350;
pub const LINT1: u32 = 0x360;
pub const LVT_ERROR: u32 = 0x370;
pub const INITIAL_COUNT: u32 = 0x380;
pub const CURRENT_COUNT: u32 = 0x390;
pub const DIVIDE: u32 = 0x3e0;

/// Delivery modes of the ICR.
pub const FIXED: u32 = 0;
pub const LOWEST: u32 = 1 << 8;
pub const SMI: u32 = 2 << 8;
pub const NMI: u32 = 4 << 8;
pub const INIT: u32 = 5 << 8;
pub const STARTUP: u32 = 6 << 8;
pub const LOGICAL: u32 = 1 << 11;
pub const PENDING: u32 = 1 << 12;
pub const ASSERT: u32 = 1 << 14;
pub const LEVEL: u32 = 1 << 15;
pub const TO_SELF: u32 = 1 << 18;
pub const TO_ALL: u32 = 2 << 18;
pub const TO_OTHERS: u32 = 3 << 18;

pub const SPURIOUS_VECTOR: u8 = 0xff;
const SOFTWARE_ENABLED: u32 = 1 << 8;
pub const MASKED: u32 = 1 << 16;

/// The registers are MSRs.
static AS_MSRS: AtomicBool = AtomicBool::new(false);

/// Tells the functions below in which mode the APICs are from now on.
pub fn use_x2apic(on: bool) {
    AS_MSRS.store(on, Relaxed);
}

pub fn is_x2apic() -> bool {
    AS_MSRS.load(Relaxed)
}

/// MSR of a register.
pub const fn msr(register: u32) -> u32 {
    X2APIC + register / 16
}

pub fn read(register: u32) -> u32 {
    match is_x2apic() {
        true => crate::report::must(rdmsr(msr(register)), "RDMSR of an APIC register") as u32,
        false => peek(PAGE + u64::from(register)),
    }
}

pub fn write(register: u32, value: u32) {
    match is_x2apic() {
        // SAFETY: the APIC reaches no memory of this program; interrupts have their gates.
        true => crate::report::must(unsafe { wrmsr(msr(register), value.into()) }, "WRMSR of an APIC register"),
        false => poke(PAGE + u64::from(register), value),
    }
}

/// Puts this CPU's into the mode that the others are in.
pub fn follow() {
    let base = crate::report::must(rdmsr(APIC_BASE), "RDMSR of APIC_BASE");
    if is_x2apic() && base & BASE_X2APIC == 0 {
        // SAFETY: a change that every APIC with this mode allows.
        crate::report::must(unsafe { wrmsr(APIC_BASE, base | BASE_ENABLED | BASE_X2APIC) }, "x2APIC mode");
    }
}

/// Identifier of this CPU's, as a destination.
pub fn id() -> u32 {
    read(ID) >> if is_x2apic() { 0 } else { 24 }
}

/// On, with all local interrupts as the firmware has left them.
pub fn enable() {
    write(SPURIOUS, SOFTWARE_ENABLED | u32::from(SPURIOUS_VECTOR));
}

/// Sends an IPI and waits until it has left. `destination` counts where `low` has no shorthand.
pub fn send(destination: u32, low: u32) {
    if is_x2apic() {
        let value = u64::from(destination) << 32 | u64::from(low);
        // SAFETY: what the other CPU makes of it is the guest's matter.
        return crate::report::must(unsafe { wrmsr(msr(ICR), value) }, "WRMSR of the ICR");
    }
    write(ICR_HIGH, destination << 24);
    write(ICR, low);
    while read(ICR) & PENDING != 0 {
        core::hint::spin_loop();
    }
}

pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Is an interrupt of this vector waiting in `REQUEST`, or being served in `IN_SERVICE`?
pub fn bit(array: u32, vector: u8) -> bool {
    read(array + u32::from(vector / 32) * 16) & 1 << (vector % 32) != 0
}
