//! Offsets in the configuration header (PCI 3.0 s. 6.1).

pub const VENDOR_ID: u16 = 0x00;
pub const COMMAND: u16 = 0x04;
/// Revision, then the class code: programming interface, sub-class, base class.
pub const REVISION: u16 = 0x08;
pub const PROG_IF: u16 = 0x09;
pub const HEADER_TYPE: u16 = 0x0e;
/// First base address register of a type 0 header; there are six.
pub const BAR0: u16 = 0x10;
pub const BAR4: u16 = 0x20;
/// The last of them.
pub const BAR5: u16 = 0x24;
/// Of the expansion ROM.
pub const ROM_BAR: u16 = 0x30;
/// Offset of the first capability.
pub const CAPABILITIES: u16 = 0x34;
/// Line of the interrupt pin, then the pin.
pub const INTERRUPT_LINE: u16 = 0x3c;
/// Cache line size, then latency timer, header type and self test.
pub const CACHE_LINE: u16 = 0x0c;

/// From here on registers are the device's own.
pub const DEVICE_SPECIFIC: u16 = 0x40;

/// Command register: the function decodes its I/O space.
pub const COMMAND_IO: u32 = 1 << 0;
/// Command register: the function decodes its memory.
pub const COMMAND_MEMORY: u32 = 1 << 1;
/// Command register: the function may master the bus.
pub const COMMAND_MASTER: u32 = 1 << 2;
/// Command register: the function does not assert its interrupt pin.
pub const COMMAND_NO_INTERRUPT: u32 = 1 << 10;

/// Status register, as part of the command's dword: there is a list of capabilities.
pub const STATUS_CAPABILITIES: u32 = 1 << 20;

/// Header type: the device has functions besides 0.
pub const HEADER_MULTI_FUNCTION: u32 = 1 << 7;
/// What a read of the vendor ID gives where there is no function.
pub const NO_VENDOR: u16 = 0xffff;
