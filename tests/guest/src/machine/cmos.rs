//! A byte of CMOS memory, which survives resets and is zero when the machine is switched on.

use super::port::{in8, out8};

/// Neither used by the firmware nor part of its checksum.
pub const STAGE: u8 = 0x76;
/// Likewise.
pub const UNDER_SHOJI: u8 = 0x77;

pub fn read(index: u8) -> u8 {
    out8(0x70, index);
    in8(0x71)
}

pub fn write(index: u8, value: u8) {
    out8(0x70, index);
    out8(0x71, value);
}
