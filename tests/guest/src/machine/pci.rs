//! PCI configuration through CF8h/CFCh. PCI Local Bus Specification 3.0, s. 3.2.2.3.2, 6.1.

use super::port::{in8, in16, in32, out8, out16, out32};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

pub const COMMAND: u8 = 0x04;
pub const COMMAND_IO: u16 = 1;
pub const COMMAND_MEMORY: u16 = 2;
pub const COMMAND_BUS_MASTER: u16 = 4;
pub const BAR4: u8 = 0x20;

/// A function on bus 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    pub device: u8,
    pub function: u8,
}

impl Function {
    /// The first function of a class (class and subclass byte).
    pub fn of_class(class: u16) -> Option<Self> {
        (0..32u8)
            .flat_map(|device| (0..8u8).map(move |function| Self { device, function }))
            .find(|f| f.read32(0) != !0 && f.read32(8) >> 16 == u32::from(class))
    }

    /// Its memory answers, and it may be a bus master.
    pub fn enable_memory(self) {
        self.write16(COMMAND, self.read16(COMMAND) | COMMAND_MEMORY | COMMAND_BUS_MASTER);
    }

    fn select(self, offset: u8) -> u16 {
        let at = u32::from(self.device) << 11 | u32::from(self.function) << 8 | u32::from(offset & 0xfc);
        out32(ADDRESS, 1 << 31 | at);
        DATA + u16::from(offset & 3)
    }

    pub fn read32(self, offset: u8) -> u32 {
        in32(self.select(offset))
    }

    pub fn write32(self, offset: u8, value: u32) {
        out32(self.select(offset), value);
    }

    pub fn read16(self, offset: u8) -> u16 {
        in16(self.select(offset))
    }

    pub fn write16(self, offset: u8, value: u16) {
        out16(self.select(offset), value);
    }

    pub fn read8(self, offset: u8) -> u8 {
        in8(self.select(offset))
    }

    pub fn write8(self, offset: u8, value: u8) {
        out8(self.select(offset), value);
    }
}
