//! Data by bus-master DMA, as libata's `ata_bmdma_*` do it.

use super::{Command, Failure, GuestDriver, PATIENCE, Style};
use crate::Machine;
use crate::ide::status;
use mediator::Width;

/// A piece of guest memory: address and bytes.
pub type Entry = (u64, u64);

/// Where the scripts put their PRD tables; 64 KiB, aligned to 64 KiB.
pub const SCRATCH: u64 = 0x3f_0000;

/// Splits pieces of memory where they cross a 64 KiB border, as every driver must.
pub fn scatter(pieces: &[Entry]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for &(mut at, mut len) in pieces {
        while len > 0 {
            let here = len.min(0x1_0000 - at % 0x1_0000);
            entries.push((at, here));
            (at, len) = (at + here, len - here);
        }
    }
    entries
}

/// Writes a PRD table; the last entry has the end mark (BMIDE 1.0, s. 1.2).
pub fn write_prds(machine: &mut Machine, table: u64, entries: &[Entry]) {
    for (index, &(at, len)) in entries.iter().enumerate() {
        let end = if index + 1 == entries.len() { 0x8000_0000 } else { 0 };
        let entry = at & 0xffff_ffff | (len & 0xffff | end) << 32;
        machine.ram.poke(table + 8 * index as u64, &entry.to_le_bytes());
    }
}

impl GuestDriver<'_> {
    /// A DMA command over memory that a PRD table at [`SCRATCH`] describes.
    pub fn dma(&mut self, command: Command, to_device: bool, entries: &[Entry]) -> Result<(), Failure> {
        write_prds(self.machine, SCRATCH, entries);
        self.dma_start(command, to_device, SCRATCH)?;
        self.dma_end()
    }

    /// Sets the bus master up, issues the command and starts (`ata_bmdma_setup`, `ata_bmdma_start`).
    pub fn dma_start(&mut self, command: Command, to_device: bool, table: u64) -> Result<(), Failure> {
        self.out(8, 0)?;
        self.bm_clear()?;
        self.bm_out(4, Width::Dword, table)?;
        let direction = if to_device { 0 } else { 8 };
        let was = self.bm_in(0)?;
        self.bm_out(0, Width::Byte, u64::from(was & !9 | direction))?;
        self.issue(command)?;
        let was = self.bm_in(0)?;
        self.bm_out(0, Width::Byte, u64::from(was | 1))
    }

    /// Waits for the interrupt that ends the command (`ata_bmdma_port_intr`); others are ignored.
    pub fn dma_end(&mut self) -> Result<(), Failure> {
        self.dma_end_within(PATIENCE)
    }

    /// The same with at most so many steps of the device.
    pub fn dma_end_within(&mut self, steps: u32) -> Result<(), Failure> {
        for _ in 0..steps {
            if !self.machine.ide.irq(self.channel) {
                self.tick()?;
                continue;
            }
            // Not ours when the bus master has not seen it.
            if self.bm_in(2)? & 4 == 0 {
                self.tick()?;
                continue;
            }
            self.bm_stop()?;
            if self.input(8)? & status::BSY != 0 {
                self.tick()?;
                continue;
            }
            let outcome = self.acknowledge();
            self.bm_clear()?;
            return outcome.map(drop);
        }
        Err(Failure::Timeout)
    }

    /// Stops the bus master.
    pub fn bm_stop(&mut self) -> Result<(), Failure> {
        let was = self.bm_in(0)?;
        self.bm_out(0, Width::Byte, u64::from(was & !1))?;
        self.input(8).map(drop)
    }

    /// Clears the bus master's interrupt and error bits.
    fn bm_clear(&mut self) -> Result<(), Failure> {
        let was = self.bm_in(2)?;
        self.bm_out(2, Width::Byte, u64::from(was | 6))
    }

    /// A packet command whose answer comes by DMA.
    pub fn packet_dma(&mut self, packet: [u8; 12], entries: &[Entry]) -> Result<(), Failure> {
        write_prds(self.machine, SCRATCH, entries);
        self.out(8, 0)?;
        self.bm_clear()?;
        self.bm_out(4, Width::Dword, SCRATCH)?;
        self.bm_out(0, Width::Byte, 8)?;
        self.issue(Command { command: 0xa0, features: 1, ..Command::default() })?;
        self.wait_not_busy()?;
        self.move_out(Style::default(), &packet)?;
        self.bm_out(0, Width::Byte, 9)?;
        self.dma_end()
    }
}
