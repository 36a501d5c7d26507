//! The real registers of one channel.

use crate::spec::{bm, control, reg};
use crate::taskfile::Taskfile;
use mediator::{Device, RegionId, Width};

/// Bus master registers of both channels (BMIDE s. 2.0).
pub const BUS_MASTER: RegionId = RegionId(4);

/// Where the registers of a channel are.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Command block: 1F0h-1F7h, 170h-177h, or BAR0, BAR2.
    pub command: RegionId,
    /// Device control and alternate status: 3F6h, 376h, or BAR1 + 2, BAR3 + 2.
    pub control: RegionId,
    bus_master: u32,
}

impl Ports {
    /// Of channel 0 or 1.
    pub const fn of(channel: u8) -> Self {
        let second = channel & 1;
        Self {
            command: RegionId(second << 1),
            control: RegionId((second << 1) | 1),
            bus_master: if second == 0 { 0 } else { bm::CHANNEL_PORTS },
        }
    }

    pub fn read(self, device: &mut dyn Device, register: u32) -> u8 {
        byte(device.read(self.command, register, Width::Byte))
    }

    pub fn write(self, device: &mut dyn Device, register: u32, value: u8) {
        device.write(self.command, register, Width::Byte, u64::from(value));
    }

    /// Status without effect on the pending interrupt.
    pub fn alt_status(self, device: &mut dyn Device) -> u8 {
        byte(device.read(self.control, 0, Width::Byte))
    }

    pub fn set_control(self, device: &mut dyn Device, value: u8) {
        device.write(self.control, 0, Width::Byte, u64::from(value));
    }

    pub fn bm_read(self, device: &mut dyn Device, register: u32) -> u8 {
        byte(device.read(BUS_MASTER, self.bus_master | register, Width::Byte))
    }

    pub fn bm_write(self, device: &mut dyn Device, register: u32, value: u8) {
        device.write(BUS_MASTER, self.bus_master | register, Width::Byte, u64::from(value));
    }

    /// Stops the bus master: from here on the device reaches no memory.
    pub fn bm_stop(self, device: &mut dyn Device) {
        self.bm_write(device, bm::COMMAND, 0);
    }

    /// Points the stopped bus master at a table.
    pub fn bm_table(self, device: &mut dyn Device, table: u32) {
        device.write(BUS_MASTER, self.bus_master | bm::PRDT, Width::Dword, u64::from(table));
    }

    /// Gives the selected unit a command with these registers.
    pub fn send(self, device: &mut dyn Device, taskfile: &Taskfile, command: u8) {
        self.write(device, reg::DEVICE, taskfile.device);
        for register in reg::FEATURES..reg::DEVICE {
            // Older content first: the registers are two deep (ATA/ATAPI-7 s. 5.1).
            self.write(device, register, taskfile.two_deep(register, true));
            self.write(device, register, taskfile.two_deep(register, false));
        }
        self.write(device, reg::COMMAND, command);
    }

    /// The address in the task file after a failed command: the first sector with an error.
    pub fn failed_lba(self, device: &mut dyn Device, ext: bool, control: u8) -> u64 {
        let low24 = |device: &mut dyn Device| {
            let low = self.read(device, reg::LBA_LOW);
            let mid = self.read(device, reg::LBA_MID);
            u64::from(u32::from_le_bytes([low, mid, self.read(device, reg::LBA_HIGH), 0]))
        };
        if !ext {
            let head = self.read(device, reg::DEVICE) & crate::spec::device::HEAD;
            return low24(device) | (u64::from(head) << 24);
        }
        self.set_control(device, control & !control::HOB);
        let low = low24(device);
        self.set_control(device, control | control::HOB);
        let high = low24(device);
        self.set_control(device, control);
        low | (high << 24)
    }
}

fn byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}
