//! Model-specific registers.

use x86_64::registers::model_specific::Msr;

/// Reads an MSR.
///
/// # Safety
/// The CPU has this MSR.
pub unsafe fn read(number: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(number).read() }
}

/// Writes an MSR.
///
/// # Safety
/// The CPU has this MSR, takes this value, and the VMM survives it.
pub unsafe fn write(number: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(number).write(value) }
}
