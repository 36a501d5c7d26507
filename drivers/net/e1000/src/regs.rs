//! The real card's registers.

use mediator::{Device, RegionId, Width};

/// Registers, in BAR0.
pub const REGISTERS: RegionId = RegionId(0);

pub fn read(device: &mut dyn Device, offset: u32) -> u32 {
    // A read of a dword has no more bits.
    device.read(REGISTERS, offset, Width::Dword) as u32
}

pub fn write(device: &mut dyn Device, offset: u32, value: u32) {
    device.write(REGISTERS, offset, Width::Dword, value.into());
}
