//! PCI configuration space of the IDE function (PCI 3.0, s. 6.1; PIIX3 data sheet, s. 2.3).

use mediator::Width;

const COMMAND: usize = 0x04;
const BAR4: usize = 0x20;
const IDETIM: [usize; 2] = [0x40, 0x42];

/// Where BAR4 points when the guest starts.
pub const BUS_MASTER_BASE: u16 = 0xc040;

/// 256 bytes and which of their bits can be written.
pub struct Config {
    bytes: [u8; 256],
    writable: [u8; 256],
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self { bytes: [0; 256], writable: [0; 256] };
        // Intel 82371SB IDE, revision 0, class 01h 01h, interface 80h: legacy mode, bus master.
        config.set(0x00, &[0x86, 0x80, 0x10, 0x70], &[0; 4]);
        config.set(COMMAND, &[0x05, 0x00, 0x80, 0x02], &[0x05, 0, 0, 0]);
        config.set(0x08, &[0x00, 0x80, 0x01, 0x01], &[0; 4]);
        let [low, high] = BUS_MASTER_BASE.to_le_bytes();
        config.set(BAR4, &[low | 1, high, 0, 0], &[0xf0, 0xff, 0, 0]);
        config.set(0x0c, &[0; 2], &[0, 0xf0]);
        for at in IDETIM {
            config.set(at, &[0x00, 0x80], &[0xff, 0xff]);
        }
        config.set(0x44, &[0], &[0xff]);
        config
    }
}

impl Config {
    /// As the hardware comes out of a reset, before firmware places it.
    pub fn after_reset() -> Self {
        let mut config = Self::default();
        config.bytes[COMMAND] = 0;
        config.bytes[BAR4..BAR4 + 2].copy_from_slice(&[1, 0]);
        IDETIM.iter().for_each(|&at| config.bytes[at + 1] = 0);
        config
    }

    fn set(&mut self, at: usize, bytes: &[u8], writable: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.writable[at..at + writable.len()].copy_from_slice(writable);
    }

    pub fn read(&self, offset: u16, width: Width) -> u32 {
        let bytes = (0..width.bytes()).map(|i| self.bytes.get(usize::from(offset) + i).copied().unwrap_or(0xff));
        bytes.rev().fold(0, |value, byte| value << 8 | u32::from(byte))
    }

    pub fn write(&mut self, offset: u16, width: Width, value: u32) {
        for (at, new) in (usize::from(offset)..256).zip(value.to_le_bytes().into_iter().take(width.bytes())) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | new & mask;
        }
    }

    fn io_space(&self) -> bool {
        self.bytes[COMMAND] & 1 != 0
    }

    /// May the function master the bus?
    pub fn bus_master(&self) -> bool {
        self.bytes[COMMAND] & 4 != 0
    }

    /// Does the function answer at the ports of the channel (IDETIM bit 15)?
    pub fn decodes(&self, channel: usize) -> bool {
        self.io_space() && self.bytes[IDETIM[channel] + 1] & 0x80 != 0
    }

    /// First port of the bus-master registers.
    pub fn bus_master_base(&self) -> Option<u16> {
        let base = u16::from_le_bytes([self.bytes[BAR4] & 0xf0, self.bytes[BAR4 + 1]]);
        (self.io_space() && base != 0).then_some(base)
    }
}
