//! The direct map: all physical memory that Shoji may touch, at a fixed offset.

use crate::Hpa;
use mediator::Width;

/// Virtual address of physical address 0. PML4 entry 256; `boot/entry` maps the first 4 GiB there, [`crate::paging`]
/// the rest.
#[cfg(not(test))]
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// In tests on the host its own addresses are the physical ones.
#[cfg(test)]
pub const DIRECT_MAP: u64 = 0;

/// Where a physical address is reached. Only valid as far as the direct map goes.
pub fn pointer(at: Hpa) -> *mut u8 {
    (DIRECT_MAP + at.0) as *mut u8
}

/// Reads the register of a device in memory; the value is zero-extended.
///
/// # Safety
/// The direct map reaches the address, which is aligned to `width` and uncacheable, and the read does nothing to VMM memory.
pub unsafe fn read(at: Hpa, width: Width) -> u64 {
    let at = pointer(at);
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            Width::Byte => at.read_volatile().into(),
            Width::Word => at.cast::<u16>().read_volatile().into(),
            Width::Dword => at.cast::<u32>().read_volatile().into(),
            Width::Qword => at.cast::<u64>().read_volatile(),
        }
    }
}

/// Writes the low `width` bytes of `value` to the register of a device in memory.
///
/// # Safety
/// As [`read`].
pub unsafe fn write(at: Hpa, width: Width, value: u64) {
    let at = pointer(at);
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            Width::Byte => at.write_volatile(value as u8),
            Width::Word => at.cast::<u16>().write_volatile(value as u16),
            Width::Dword => at.cast::<u32>().write_volatile(value as u32),
            Width::Qword => at.cast::<u64>().write_volatile(value),
        }
    }
}
