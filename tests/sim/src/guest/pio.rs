//! Data through the data port.

use super::{Command, Failure, GuestDriver, PATIENCE};
use crate::ide::status;
use mediator::Width;

/// How the guest moves the words of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    pub width: Width,
    /// One REP instruction for the block instead of single accesses.
    pub rep: bool,
    /// Waits by polling, with interrupts off (nIEN), as a BIOS does.
    pub polled: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: Width::Word, rep: true, polled: false }
    }
}

impl GuestDriver<'_> {
    /// Reads `data` in blocks of `block` bytes.
    pub fn pio_in(&mut self, command: Command, block: usize, style: Style, data: &mut [u8]) -> Result<(), Failure> {
        self.out(8, if style.polled { 0x02 } else { 0 })?;
        self.issue(command)?;
        for piece in data.chunks_mut(block) {
            self.wait_block(style)?;
            self.move_in(style, piece)?;
        }
        // The end of a read brings no interrupt.
        self.input(8)?;
        self.acknowledge().map(drop)
    }

    /// Writes `data` in blocks of `block` bytes.
    pub fn pio_out(&mut self, command: Command, block: usize, style: Style, data: &[u8]) -> Result<(), Failure> {
        self.out(8, if style.polled { 0x02 } else { 0 })?;
        self.issue(command)?;
        for (index, piece) in data.chunks(block).enumerate() {
            // No interrupt asks for the first block.
            self.wait_block(Style { polled: style.polled || index == 0, ..style })?;
            self.move_out(style, piece)?;
        }
        if style.polled {
            self.wait_not_busy()?;
        } else {
            self.wait_irq()?;
        }
        self.acknowledge().map(drop)
    }

    /// Waits until the device wants or has a block. An interrupt that finds BSY set is none of ours.
    fn wait_block(&mut self, style: Style) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            if style.polled {
                self.wait_not_busy()?
            } else {
                self.wait_irq().map(|()| 0)?
            };
            let now = self.acknowledge()?;
            if now & (status::BSY | status::DRQ) == status::DRQ {
                return Ok(());
            }
            self.tick()?;
        }
        Err(Failure::Timeout)
    }

    /// Moves a block to the guest.
    pub fn move_in(&mut self, style: Style, data: &mut [u8]) -> Result<(), Failure> {
        let port = self.port(0);
        if style.rep {
            self.step()?;
            self.machine.guest_rep_in(port, style.width, data);
            return Ok(());
        }
        for element in data.chunks_exact_mut(style.width.bytes()) {
            self.step()?;
            let value = self.machine.guest_in(port, style.width).to_le_bytes();
            element.copy_from_slice(&value[..style.width.bytes()]);
        }
        Ok(())
    }

    /// Moves a block to the device.
    pub fn move_out(&mut self, style: Style, data: &[u8]) -> Result<(), Failure> {
        let port = self.port(0);
        if style.rep {
            self.step()?;
            self.machine.guest_rep_out(port, style.width, data);
            return Ok(());
        }
        for element in data.chunks_exact(style.width.bytes()) {
            self.step()?;
            self.machine.guest_out(port, style.width, crate::machine::little_endian(element));
        }
        Ok(())
    }

    /// A packet command whose answer comes by PIO; gives what came.
    pub fn packet_in(&mut self, packet: [u8; 12], limit: u16) -> Result<Vec<u8>, Failure> {
        let style = Style::default();
        self.out(8, 0)?;
        self.issue(Command { command: 0xa0, lba: u64::from(limit) << 8, ..Command::default() })?;
        self.wait_block(Style { polled: true, ..style })?;
        self.move_out(style, &packet)?;
        let mut data = Vec::new();
        loop {
            self.wait_irq()?;
            if self.acknowledge()? & status::DRQ == 0 {
                return Ok(data);
            }
            let len = u16::from_le_bytes([self.input(4)?, self.input(5)?]);
            let mut block = vec![0; len.into()];
            self.move_in(style, &mut block)?;
            data.extend(block);
        }
    }
}
