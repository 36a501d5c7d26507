//! Finding the functions of a machine.

use crate::header;
use alloc::vec::Vec;
use mediator::Width;
use mediator::pci::{Bdf, Function};

/// Configuration space of the whole machine.
pub trait ConfigSpace {
    /// `offset` is aligned to `width`, which is at most a dword. Where no function is, all ones.
    fn read(&mut self, bdf: Bdf, offset: u16, width: Width) -> u32;
    fn write(&mut self, bdf: Bdf, offset: u16, width: Width, value: u32);
}

/// The function at `bdf`, if there is one.
pub fn function(space: &mut dyn ConfigSpace, bdf: Bdf) -> Option<Function> {
    let [vendor_low, vendor_high, device_low, device_high] =
        space.read(bdf, header::VENDOR_ID, Width::Dword).to_le_bytes();
    let vendor = u16::from_le_bytes([vendor_low, vendor_high]);
    if vendor == header::NO_VENDOR {
        return None;
    }
    let [_, prog_if, subclass, class] = space.read(bdf, header::REVISION, Width::Dword).to_le_bytes();
    let device = u16::from_le_bytes([device_low, device_high]);
    Some(Function { bdf, vendor, device, class, subclass, prog_if })
}

/// All functions of buses 0 to 255, in order. Functions 1 to 7 are asked for only where function 0 says that they may
/// exist (PCI 3.0 s. 6.2.1): other devices may answer for every function number.
pub fn scan(space: &mut dyn ConfigSpace) -> Vec<Function> {
    (0..=u8::MAX).flat_map(|bus| functions_of_bus(space, bus)).collect()
}

/// All functions of one bus, in order, as [`scan`] finds them.
pub(crate) fn functions_of_bus(space: &mut dyn ConfigSpace, bus: u8) -> Vec<Function> {
    let mut found = Vec::new();
    for device in 0..32 {
        scan_device(space, bus, device, &mut found);
    }
    found
}

fn scan_device(space: &mut dyn ConfigSpace, bus: u8, device: u8, found: &mut Vec<Function>) {
    let first = Bdf { bus, device, function: 0 };
    let Some(function_0) = function(space, first) else { return };
    found.push(function_0);
    if space.read(first, header::HEADER_TYPE, Width::Byte) & header::HEADER_MULTI_FUNCTION == 0 {
        return;
    }
    for number in 1..8 {
        found.extend(function(space, Bdf { function: number, ..first }));
    }
}
