//! Guest-side drivers: what libata and a BIOS do at the ports, step by step.

mod dma;
mod pio;

pub use dma::{Entry, SCRATCH, scatter, write_prds};
pub use pio::Style;

use crate::Machine;
use crate::ide::{COMMAND, CONTROL, status};
use mediator::Width;

/// More steps than this without the event that the guest waits for is a hang of the device.
const PATIENCE: u32 = 20_000;

/// Why a request did not end well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// [`Machine::budget`] is used up: the script stopped in the midst, for example to reset.
    Stopped,
    /// The device ended the command with an error: status and error register.
    Device { status: u8, error: u8 },
    /// What the guest waited for never came.
    Timeout,
}

/// The parameters of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Command {
    pub command: u8,
    pub features: u16,
    pub count: u16,
    pub lba: u64,
    /// 48-bit: the previous contents are loaded first.
    pub ext: bool,
    /// Bits 4 (unit) and up are set by the driver; CHS needs these bits and no LBA bit.
    pub chs: Option<u8>,
}

/// The guest's driver for one unit.
pub struct GuestDriver<'a> {
    pub machine: &'a mut Machine,
    pub channel: usize,
    pub unit: usize,
}

impl<'a> GuestDriver<'a> {
    pub fn new(machine: &'a mut Machine, channel: usize, unit: usize) -> Self {
        Self { machine, channel, unit }
    }

    /// One guest step; everything that the guest does goes through here.
    fn step(&mut self) -> Result<(), Failure> {
        if let Some(mut beside) = self.machine.beside.take() {
            beside(self.machine);
            self.machine.beside = Some(beside);
        }
        if let Some(budget) = &mut self.machine.budget {
            *budget = budget.checked_sub(1).ok_or(Failure::Stopped)?;
        }
        Ok(())
    }

    /// Writes a byte to a register of the command block; 8 is device control.
    pub fn out(&mut self, offset: u16, value: u8) -> Result<(), Failure> {
        self.step()?;
        self.machine.guest_out(self.port(offset), Width::Byte, value.into());
        Ok(())
    }

    /// Reads a byte.
    pub fn input(&mut self, offset: u16) -> Result<u8, Failure> {
        self.step()?;
        Ok(self.machine.guest_in(self.port(offset), Width::Byte) as u8)
    }

    /// Writes a bus-master register.
    pub fn bm_out(&mut self, offset: u16, width: Width, value: u64) -> Result<(), Failure> {
        self.step()?;
        let port = self.machine.bus_master_port(self.channel) + offset;
        self.machine.guest_out(port, width, value);
        Ok(())
    }

    /// Reads a bus-master register.
    pub fn bm_in(&mut self, offset: u16) -> Result<u8, Failure> {
        self.step()?;
        let port = self.machine.bus_master_port(self.channel) + offset;
        Ok(self.machine.guest_in(port, Width::Byte) as u8)
    }

    pub(crate) fn port(&self, offset: u16) -> u16 {
        if offset == 8 { CONTROL[self.channel] } else { COMMAND[self.channel] + offset }
    }

    /// Lets the device work for a step.
    fn tick(&mut self) -> Result<(), Failure> {
        self.step()?;
        self.machine.tick();
        Ok(())
    }

    /// Polls alternate status until BSY is clear.
    pub fn wait_not_busy(&mut self) -> Result<u8, Failure> {
        for _ in 0..PATIENCE {
            let now = self.input(8)?;
            if now & status::BSY == 0 {
                return Ok(now);
            }
            self.tick()?;
        }
        Err(Failure::Timeout)
    }

    /// Sleeps until the interrupt line rises.
    pub fn wait_irq(&mut self) -> Result<(), Failure> {
        for _ in 0..PATIENCE {
            if self.machine.ide.irq(self.channel) {
                return Ok(());
            }
            self.tick()?;
        }
        Err(Failure::Timeout)
    }

    /// Selects the unit and loads the registers, then writes the command (as `ata_tf_load` and
    /// `ata_exec_command` do).
    pub fn issue(&mut self, command: Command) -> Result<(), Failure> {
        let unit = (self.unit as u8) << 4;
        self.out(6, 0xa0 | unit)?;
        self.wait_not_busy()?;
        let byte = |shift: u32| (command.lba >> shift) as u8;
        if command.ext {
            self.out(1, (command.features >> 8) as u8)?;
            self.out(2, (command.count >> 8) as u8)?;
            self.out(3, byte(24))?;
            self.out(4, byte(32))?;
            self.out(5, byte(40))?;
        }
        self.out(1, command.features as u8)?;
        self.out(2, command.count as u8)?;
        self.out(3, byte(0))?;
        self.out(4, byte(8))?;
        self.out(5, byte(16))?;
        let top = if command.ext { 0 } else { byte(24) & 0xf };
        self.out(6, command.chs.unwrap_or(0x40 | top) | 0xa0 | unit)?;
        self.out(7, command.command)
    }

    /// Reads status, which acknowledges the interrupt; an error status becomes a [`Failure`].
    pub fn acknowledge(&mut self) -> Result<u8, Failure> {
        let now = self.input(7)?;
        if now & status::BSY == 0 && now & (status::ERR | status::DF) != 0 {
            return Err(Failure::Device { status: now, error: self.input(1)? });
        }
        Ok(now)
    }

    /// A command without data, ended by its interrupt.
    pub fn non_data(&mut self, command: Command) -> Result<u8, Failure> {
        self.out(8, 0)?;
        self.issue(command)?;
        self.wait_irq()?;
        self.acknowledge()
    }

    /// Sets and clears SRST, and waits until the units are ready (as `ata_bus_softreset` does).
    pub fn soft_reset(&mut self) -> Result<u8, Failure> {
        self.out(8, 0x00)?;
        self.out(8, 0x04)?;
        self.tick()?;
        self.out(8, 0x00)?;
        self.wait_not_busy()
    }

    /// DEVICE RESET, for ATAPI units.
    pub fn device_reset(&mut self) -> Result<u8, Failure> {
        self.out(6, 0xa0 | (self.unit as u8) << 4)?;
        self.out(7, 0x08)?;
        self.wait_not_busy()
    }

    /// IDENTIFY DEVICE (ECh) or IDENTIFY PACKET DEVICE (A1h).
    pub fn identify(&mut self, command: u8) -> Result<Vec<u8>, Failure> {
        let mut data = vec![0; 512];
        self.pio_in(Command { command, ..Command::default() }, 512, Style::default(), &mut data)?;
        Ok(data)
    }
}
