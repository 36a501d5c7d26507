//! Where the registers lie, and what else of the configuration matters.

use alloc::vec::Vec;
use mediator::pci::Region;
use mediator::{Device, RegionId, Width};
use pci::{Block, Capabilities, header, id};

/// Registers and doorbells, in BAR0.
pub const REGISTERS: RegionId = RegionId(0);
/// More than the registers and the doorbells of any queue that a guest gets, unless they lie unusually far apart.
const MAX_REGISTER_BYTES: u32 = 0x2000;

/// MSI-X's message control is bits 31:16 of its first dword, and the uppermost of them enables it; MSI's likewise, and the lowest.
const MSI_X_ENABLE: u32 = 1 << 31;
const MSI_ENABLE: u32 = 1 << 16;

/// The register block; `len` is what of it is guarded. What shares its pages is the guest's, but
/// for the table of MSI-X, which is a block of its own.
pub fn block(len: u32) -> Block {
    Block { region: REGISTERS, bar: 0, max_len: len.min(MAX_REGISTER_BYTES) }
}

/// What of the registers is needed before the guard is there.
pub fn regions(device: &mut dyn Device) -> Vec<Region> {
    pci::memory_regions(device, &[block(MAX_REGISTER_BYTES)])
}

/// The function decodes its registers and may master the bus, which firmware that has not used it leaves off.
pub fn switch_on(device: &mut dyn Device) {
    let command = device.config_read(header::COMMAND, Width::Word);
    let needed = header::COMMAND_MEMORY | header::COMMAND_MASTER;
    device.config_write(header::COMMAND, Width::Word, command | needed);
}

/// Are interrupts sent as messages, not by pin?
pub fn signals_by_message(device: &mut dyn Device) -> bool {
    let capabilities = Capabilities::read(device);
    let mut is_on = |id, enable| {
        let found = capabilities.find(id);
        found.is_some_and(|it| device.config_read(it.offset, Width::Dword) & enable != 0)
    };
    is_on(id::MSI_X, MSI_X_ENABLE) || is_on(id::MSI, MSI_ENABLE)
}
