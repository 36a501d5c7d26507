//! The A20 gate stays open: with address line 20 masked, the VMM's own memory would alias.
//!
//! Both registers of it reset the machine as well, which is the VMM's to do.
//!
//! The guest sees the state that it set, as on CPUs that ignore A20M#; the machine never does.
//!
//! Specifications: Intel 82371AB (PIIX4) datasheet (290562-001), 4.2.6 (port 92h); IBM PS/2 Hardware Interface
//! Technical Reference (1988), keyboard and auxiliary device controller.

use crate::Ports;
use crate::sleep::Written;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;
use mediator::Width;

/// System control port A.
pub(crate) const SYSTEM_CONTROL: u16 = 0x92;
pub(crate) const KEYBOARD_DATA: u16 = 0x60;
pub(crate) const KEYBOARD_COMMAND: u16 = 0x64;

/// In port 92h and in the keyboard controller's output port alike.
const A20: u8 = 1 << 1;
/// In port 92h: resets when it is set. In the output port: when it is clear.
const RESET: u8 = 1 << 0;

/// Commands of the keyboard controller.
mod command {
    pub const READ_OUTPUT_PORT: u8 = 0xd0;
    pub const WRITE_OUTPUT_PORT: u8 = 0xd1;
    /// Of some controllers only.
    pub const DISABLE_A20: u8 = 0xdd;
    pub const ENABLE_A20: u8 = 0xdf;
    /// From here on: the output lines whose bits are zero in the low nibble are pulsed low. FEh is the reset.
    pub const PULSE: u8 = 0xf0;
}

/// What the next access to the data port is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum DataPort {
    #[default]
    Other,
    OutputPortRead,
    OutputPortWritten,
}

/// The guest's view of the gate in port 92h: bit 1 as it was written. The port needs no lock, since whoever writes it
/// writes the same to the machine.
pub(crate) struct SystemControl(AtomicU8);

impl Default for SystemControl {
    /// As the VMM leaves it.
    fn default() -> Self {
        Self(AtomicU8::new(A20))
    }
}

impl SystemControl {
    /// The machine was reset, and A20 is open again.
    pub fn reset(&self) {
        self.0.store(A20, Relaxed);
    }

    #[inline(always)]
    pub fn read<P: Ports>(&self, ports: &mut P) -> u32 {
        ports.read(SYSTEM_CONTROL, Width::Byte) & !u32::from(A20) | u32::from(self.0.load(Relaxed))
    }

    #[inline]
    pub fn write<P: Ports>(&self, ports: &mut P, value: u8) -> Written {
        if value & RESET != 0 {
            return Written::Reset;
        }
        self.0.store(value & A20, Relaxed);
        ports.write(SYSTEM_CONTROL, Width::Byte, u32::from(value | A20));
        Written::Done
    }
}

/// The guest's view of the gate behind the keyboard controller. Its two ports are under one lock, because a command says
/// what the next data are.
pub(crate) struct Keyboard {
    /// Bit 1 of the output port.
    output_port: bool,
    data_port: DataPort,
}

impl Default for Keyboard {
    /// As the VMM leaves it.
    fn default() -> Self {
        Self { output_port: true, data_port: DataPort::Other }
    }
}

impl Keyboard {
    pub fn read<P: Ports>(&mut self, ports: &mut P, port: u16) -> u32 {
        let value = ports.read(port, Width::Byte) as u8;
        let seen = match port {
            KEYBOARD_DATA if self.data_port == DataPort::OutputPortRead => {
                self.data_port = DataPort::Other;
                with_a20(value, self.output_port)
            }
            _ => value,
        };
        u32::from(seen)
    }

    pub fn write<P: Ports>(&mut self, ports: &mut P, port: u16, value: u8) -> Written {
        let drives_lines = match port {
            KEYBOARD_COMMAND => value >= command::PULSE,
            _ => self.data_port == DataPort::OutputPortWritten,
        };
        if drives_lines && value & RESET == 0 {
            return Written::Reset;
        }
        let passed = match port {
            KEYBOARD_COMMAND => self.command(value),
            KEYBOARD_DATA if self.data_port == DataPort::OutputPortWritten => {
                self.data_port = DataPort::Other;
                self.output_port = value & A20 != 0;
                value | A20
            }
            _ => value,
        };
        ports.write(port, Width::Byte, u32::from(passed));
        Written::Done
    }

    /// The command as the controller may have it.
    fn command(&mut self, value: u8) -> u8 {
        self.data_port = match value {
            command::READ_OUTPUT_PORT => DataPort::OutputPortRead,
            command::WRITE_OUTPUT_PORT => DataPort::OutputPortWritten,
            _ => DataPort::Other,
        };
        match value {
            command::DISABLE_A20 => {
                self.output_port = false;
                // Its opposite and not nothing: the controller must forget a command before, as the guest has.
                command::ENABLE_A20
            }
            command::ENABLE_A20 => {
                self.output_port = true;
                value
            }
            command::PULSE.. => value | A20,
            _ => value,
        }
    }
}

fn with_a20(value: u8, open: bool) -> u8 {
    if open { value | A20 } else { value & !A20 }
}
