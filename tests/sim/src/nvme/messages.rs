//! MSI-X (PCI 3.0 s. 6.8.2): a capability, a table in the controller's memory, and messages, which are writes to memory.

use crate::Bus;

/// Entries of the table.
pub const VECTORS: u32 = 17;
/// Where the table lies in the controller's memory.
pub const TABLE: u32 = 0x2000;
/// Where the pending bits do.
const PENDING: u32 = 0x3000;
/// Place of the capability in configuration space.
pub const CAPABILITY: u16 = 0x40;

/// What is left in the table by a reset, which no manual tells: an address of nobody's.
const JUNK: u32 = 0xffff_fffc;

/// Table and control.
#[derive(Clone, Debug)]
pub struct Messages {
    /// Bit 15: enabled; bit 14: all masked.
    pub control: u16,
    pub table: [[u32; 4]; VECTORS as usize],
    /// Waits until it is not masked any more.
    pending: [bool; VECTORS as usize],
}

impl Default for Messages {
    fn default() -> Self {
        let mut table = [[0, 0, 0, 1]; VECTORS as usize];
        table[VECTORS as usize - 1][0] = JUNK;
        Self { control: 0, table, pending: [false; VECTORS as usize] }
    }
}

impl Messages {
    /// A dword of the capability.
    pub fn capability(&self, offset: u16) -> u32 {
        match offset - CAPABILITY {
            0 => 0x11 | (VECTORS - 1) << 16 | u32::from(self.control & 0xc000) << 16,
            4 => TABLE,
            8 => PENDING,
            _ => 0,
        }
    }

    pub fn read(&self, offset: u32) -> u32 {
        let dword = (offset / 4) as usize;
        self.table[dword / 4][dword % 4]
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        let dword = (offset / 4) as usize;
        self.table[dword / 4][dword % 4] = value;
    }

    /// Sends a message. True: it has come to an interrupt controller.
    pub fn signal(&mut self, bus: &mut Bus<'_>, vector: u16) -> bool {
        if self.control & 1 << 15 == 0 {
            return true;
        }
        let Some([low, high, data, control]) = self.table.get(usize::from(vector)).copied() else { return false };
        let masked = self.control & 1 << 14 != 0 || control & 1 != 0;
        self.pending[usize::from(vector)] = masked;
        if masked {
            return false;
        }
        let at = u64::from(low) | u64::from(high) << 32;
        bus.write(at, &data.to_le_bytes());
        at >> 20 == 0xfee
    }

    /// What has waited is sent; gives the vectors that have come.
    pub fn send_pending(&mut self, bus: &mut Bus<'_>) -> Vec<u16> {
        let waiting = (0..VECTORS as u16).filter(|vector| self.pending[usize::from(*vector)]).collect::<Vec<_>>();
        waiting.into_iter().filter(|vector| self.signal(bus, *vector)).collect()
    }
}
