//! A PIIX-like IDE controller: two channels with two units each, bus-master DMA, PCI configuration space.
//!
//! Written from ATA/ATAPI-7 (INCITS 397-2005, "ATA7": volume 1 commands, volume 2 protocols), ATA8-ACS (INCITS
//! 452-2008), "Programming Interface for Bus Master IDE Controller" 1.0 ("BMIDE") and the data sheet of Intel's 82371
//! (PIIX3), independently of the mediator, as a second opinion.

pub mod atapi;
mod busmaster;
mod channel;
mod command;
mod config;
pub mod identify;
mod taskfile;
mod transfer;
mod unit;

pub use busmaster::BusMaster;
pub use channel::{Channel, Received};
pub use config::{BUS_MASTER_BASE, Config};
pub use taskfile::Taskfile;
pub use unit::{Cdrom, Disk, Kind, Unit};

use crate::Bus;
use mediator::Width;

/// Status register (ATA7 vol. 1, s. 5.14).
pub mod status {
    pub const ERR: u8 = 0x01;
    pub const DRQ: u8 = 0x08;
    pub const DSC: u8 = 0x10;
    pub const DF: u8 = 0x20;
    pub const DRDY: u8 = 0x40;
    pub const BSY: u8 = 0x80;
}

/// Error register (ATA7 vol. 1, s. 5.9).
pub mod error {
    pub const ABRT: u8 = 0x04;
    pub const IDNF: u8 = 0x10;
    pub const UNC: u8 = 0x40;
}

/// Device control register (ATA7 vol. 1, s. 5.8).
pub mod control {
    pub const NIEN: u8 = 0x02;
    pub const SRST: u8 = 0x04;
    pub const HOB: u8 = 0x80;
}

/// First ports of the command blocks.
pub const COMMAND: [u16; 2] = [0x1f0, 0x170];
/// Device control and alternate status.
pub const CONTROL: [u16; 2] = [0x3f6, 0x376];

/// The controller.
pub struct SimIde {
    pub channels: [Channel; 2],
    pub config: Config,
    /// The power has failed: everything reads all ones.
    dead: bool,
}

impl SimIde {
    /// With the units of both channels: primary master and slave, secondary master and slave.
    pub fn new(units: [Kind; 4]) -> Self {
        let [a, b, c, d] = units;
        Self { channels: [Channel::new(a, b), Channel::new(c, d)], config: Config::default(), dead: false }
    }

    /// Is the interrupt line of the channel asserted (IRQ 14, IRQ 15)?
    pub fn irq(&self, channel: usize) -> bool {
        self.channels[channel].irq()
    }

    /// The disk at a position.
    ///
    /// # Panics
    /// When there is none.
    pub fn disk(&mut self, channel: usize, unit: usize) -> &mut Disk {
        match &mut self.channels[channel].units[unit].kind {
            Kind::Disk(disk) => disk,
            _ => panic!("no disk at {channel}/{unit}"),
        }
    }

    /// Lets both channels make one step: end a busy phase, or move DMA data.
    pub fn tick(&mut self, bus: &mut Bus<'_>) {
        let may_master = self.config.bus_master();
        for channel in &mut self.channels {
            channel.tick(may_master.then_some(&mut *bus));
        }
        self.look_for_power_cut();
    }

    /// Notes in `bus.faults` whatever address the controller holds and must not.
    pub fn audit(&self, bus: &mut Bus<'_>) {
        self.channels.iter().for_each(|channel| channel.bm.audit(bus));
    }

    /// The power was off while the machine slept: the function is as after a reset and placed nowhere, the devices have lost their
    /// settings and what was under way. What the disks hold stays.
    pub fn sleep(&mut self) {
        for channel in &mut self.channels {
            let [mut master, mut slave] =
                channel.units.each_mut().map(|unit| std::mem::replace(&mut unit.kind, Kind::Empty));
            master.lose_settings();
            slave.lose_settings();
            *channel = Channel::new(master, slave);
        }
        self.config = Config::after_reset();
    }

    fn look_for_power_cut(&mut self) {
        let units = self.channels.iter().flat_map(|channel| &channel.units);
        self.dead |= units.into_iter().any(|unit| matches!(&unit.kind, Kind::Disk(disk) if disk.platter.is_cut()));
    }

    /// The CPU reads a port.
    pub fn port_in(&mut self, port: u16, width: Width) -> u64 {
        if self.dead {
            return width.ones();
        }
        if let Some(channel) = self.data_port(port) {
            return self.channels[channel].read_data(width);
        }
        (0..width.bytes()).fold(0, |value, i| value | u64::from(self.byte_in(port.wrapping_add(i as u16))) << (8 * i))
    }

    /// The CPU writes a port.
    pub fn port_out(&mut self, port: u16, width: Width, value: u64) {
        if self.dead {
            return;
        }
        if let Some(channel) = self.data_port(port) {
            return self.channels[channel].write_data(width, value);
        }
        if let Some((channel, 4)) = self.bus_master_port(port).filter(|_| width == Width::Dword) {
            return self.channels[channel].bm.set_table(value as u32);
        }
        for (i, byte) in value.to_le_bytes().into_iter().take(width.bytes()).enumerate() {
            self.byte_out(port.wrapping_add(i as u16), byte);
        }
    }

    /// The CPU reads configuration space.
    pub fn config_read(&self, offset: u16, width: Width) -> u32 {
        if self.dead { width.ones() as u32 } else { self.config.read(offset, width) }
    }

    /// The CPU writes configuration space.
    pub fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        if !self.dead {
            self.config.write(offset, width, value);
        }
    }

    fn data_port(&self, port: u16) -> Option<usize> {
        (0..2).find(|&channel| COMMAND[channel] == port && self.config.decodes(channel))
    }

    /// Channel and offset of a bus-master register.
    fn bus_master_port(&self, port: u16) -> Option<(usize, u16)> {
        let offset = port.checked_sub(self.config.bus_master_base()?)?;
        (offset < 16).then_some((usize::from(offset / 8), offset % 8))
    }

    /// Channel and offset in the command block; offset 8 is the control block's register.
    fn taskfile_port(&self, port: u16) -> Option<(usize, u16)> {
        let channel = (0..2).find(|&c| port == CONTROL[c] || (COMMAND[c]..COMMAND[c] + 8).contains(&port))?;
        let offset = if port == CONTROL[channel] { 8 } else { port - COMMAND[channel] };
        self.config.decodes(channel).then_some((channel, offset))
    }

    fn byte_in(&mut self, port: u16) -> u8 {
        if let Some((channel, offset)) = self.taskfile_port(port) {
            return self.channels[channel].read(offset);
        }
        self.bus_master_port(port).map_or(0xff, |(channel, offset)| self.channels[channel].bm.read(offset))
    }

    fn byte_out(&mut self, port: u16, value: u8) {
        if let Some((channel, offset)) = self.taskfile_port(port) {
            self.channels[channel].write(offset, value);
        } else if let Some((channel, offset)) = self.bus_master_port(port) {
            self.channels[channel].bm.write(offset, value);
        }
    }
}
