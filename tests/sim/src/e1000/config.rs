//! PCI configuration space: a bit like QEMU's cards.

use super::regs::I82574L;
use mediator::Width;

/// Power management, MSI, MSI-X.
pub const PM: u16 = 0xc8;
pub const MSI: u16 = 0xd0;
pub const MSI_X: u16 = 0xa0;

pub struct Config {
    id: u16,
    pub command: u32,
    pub bars: [u32; 4],
    pub power: u32,
    pub msi: [u32; 4],
    pub msi_x: u32,
}

impl Config {
    pub fn new(id: u16, bar: u64) -> Self {
        // Registers; then flash, ports and the table of MSI-X, or ports only.
        let bars = match id {
            I82574L => [bar as u32, bar as u32 + 0x2_0000, 0xc001, bar as u32 + 0x4_0000],
            _ => [bar as u32, 0xc001, 0, 0],
        };
        Self { id, command: 7, bars, power: 0, msi: [0x0080_0005, 0, 0, 0], msi_x: 0 }
    }

    fn is_new(&self) -> bool {
        self.id == I82574L
    }

    fn size(&self, bar: usize) -> u32 {
        match (self.is_new(), bar) {
            (_, 0) | (true, 1) => 0x2_0000,
            (true, 2) | (false, 1) => 0x40,
            (true, 3) => 0x4000,
            _ => 0,
        }
    }

    fn dword(&self, offset: u16) -> u32 {
        let next = if self.is_new() { u32::from(MSI_X) << 8 } else { 0 };
        match offset & !3 {
            0x00 => u32::from(self.id) << 16 | 0x8086,
            0x04 => self.command | 1 << 20,
            0x08 => 0x0200_0000,
            0x34 => PM.into(),
            at @ 0x10..=0x1c => {
                let bar = usize::from(at - 0x10) / 4;
                match self.size(bar) {
                    0 => 0,
                    size => self.bars[bar] & !(size - 1) | self.bars[bar] & 1,
                }
            }
            PM => 0xc822_0001 | u32::from(MSI) << 8,
            at if at == PM + 4 => self.power,
            MSI => self.msi[0] | next,
            at if at > MSI && at < MSI + 16 => self.msi[usize::from(at - MSI) / 4],
            MSI_X if self.is_new() => 0x0004_0011 | self.msi_x,
            at if self.is_new() && at == MSI_X + 4 => 3,
            at if self.is_new() && at == MSI_X + 8 => 0x2003,
            _ => 0,
        }
    }

    pub fn read(&self, offset: u16, width: Width) -> u32 {
        (u64::from(self.dword(offset) >> (8 * (offset & 3))) & width.ones()) as u32
    }

    pub fn write(&mut self, offset: u16, width: Width, value: u32) {
        let shift = 8 * (offset & 3);
        let mask = (width.ones() << shift) as u32;
        let new = self.dword(offset) & !mask | value << shift & mask;
        match offset & !3 {
            0x04 => self.command = new & 0x407,
            at @ 0x10..=0x1c => {
                let bar = usize::from(at - 0x10) / 4;
                self.bars[bar] = new & !1 | self.bars[bar] & 1;
            }
            at if at == PM + 4 => self.power = new & 0x103,
            // Enabled, and how many messages.
            MSI => self.msi[0] = self.msi[0] & !0x71_0000 | new & 0x71_0000,
            at if at > MSI && at < MSI + 16 => self.msi[usize::from(at - MSI) / 4] = new,
            MSI_X => self.msi_x = new & 0xc000_0000,
            _ => {}
        }
    }
}
