//! The real registers.

use crate::spec::{cmd, hba, port};
use mediator::{Device, RegionId, Width};

/// The registers' region (base address register 5).
pub const ABAR: RegionId = RegionId(0);

pub fn read(device: &mut dyn Device, register: u32) -> u32 {
    u32::try_from(device.read(ABAR, register, Width::Dword) & 0xffff_ffff).unwrap_or(u32::MAX)
}

pub fn write(device: &mut dyn Device, register: u32, value: u32) {
    device.write(ABAR, register, Width::Dword, u64::from(value));
}

/// The registers of one port.
#[derive(Clone, Copy, Debug)]
pub struct PortRegs {
    base: u32,
    /// The port's bit in IS.
    pub bit: u32,
}

impl PortRegs {
    /// Of port 0 to 31.
    pub const fn new(number: u32) -> Self {
        let number = number & 31;
        Self {
            base: hba::PORTS.saturating_add(number.saturating_mul(hba::PORT_BYTES)),
            bit: 1_u32.wrapping_shl(number),
        }
    }

    pub fn read(self, device: &mut dyn Device, register: u32) -> u32 {
        read(device, self.base.wrapping_add(register))
    }

    pub fn write(self, device: &mut dyn Device, register: u32, value: u32) {
        write(device, self.base.wrapping_add(register), value);
    }

    /// Clears interrupt causes of the port, and what they did to IS.
    pub fn clear(self, device: &mut dyn Device, causes: u32) {
        self.write(device, port::IS, causes);
        write(device, hba::IS, self.bit);
    }

    /// Is the command list processed? If not, the device reaches neither tables nor buffers.
    pub fn is_running(self, device: &mut dyn Device) -> bool {
        self.read(device, port::CMD) & cmd::CR != 0
    }
}
