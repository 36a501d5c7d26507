//! The direct map: all physical memory that Shoji may touch, at a fixed offset.

use crate::Hpa;

/// Virtual address of physical address 0. PML4 entry 256; `boot/entry` maps the first 4 GiB there, [`crate::paging`]
/// the rest.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

/// Where a physical address is reached. Only valid as far as the direct map goes.
pub fn pointer(at: Hpa) -> *mut u8 {
    (DIRECT_MAP + at.0) as *mut u8
}
