//! PCI configuration mechanism #1, seen from the guest: only the data ports CFC-CFF leave it, and what they mean is
//! read from CF8 itself.
//!
//! Specification: PCI Local Bus Specification 3.0, s. 3.2.2.3.2.

use crate::ask::Answered;
use crate::bus::CONFIG_DATA;
use crate::bus::Inner;
use crate::{Machine, Ports};
use mediator::pci::Bdf;
use mediator::{ConfigAccess, Op, Violation, Width};

const CONFIG_ADDRESS: u16 = 0xcf8;
const ENABLE: u32 = 1 << 31;
/// Extended register numbers on some chipsets and nothing on others.
const EXTENDED: u32 = 0x7f00_0000;

/// What an access to the data ports reaches.
enum Target {
    /// No guarded function: the access passes.
    Free,
    /// Register `offset` of a guarded function.
    Guarded { controller: usize, offset: u16 },
    /// Some register of a guarded function, and which one depends on the chipset.
    Unclear { controller: usize, violation: Violation },
}

/// Performs one configuration access and leaves CF8 as it was found.
pub(crate) fn access_function<P: Ports>(ports: &mut P, function: Bdf, offset: u16, width: Width, op: Op) -> u32 {
    let Some(port) = CONFIG_DATA.checked_add(offset & 3) else { return 0 };
    let saved = ports.read(CONFIG_ADDRESS, Width::Dword);
    ports.write(CONFIG_ADDRESS, Width::Dword, address_of(function, offset));
    let value = match op {
        Op::Read => ports.read(port, width),
        Op::Write(value) => {
            ports.write(port, width, value as u32);
            0
        }
    };
    ports.write(CONFIG_ADDRESS, Width::Dword, saved);
    value
}

fn address_of(function: Bdf, offset: u16) -> u32 {
    ENABLE
        | u32::from(function.bus) << 16
        | u32::from(function.device & 0x1f) << 11
        | u32::from(function.function & 7) << 8
        | u32::from(offset & 0xfc)
}

fn function_of(address: u32) -> Bdf {
    Bdf { bus: (address >> 16) as u8, device: (address >> 11) as u8 & 0x1f, function: (address >> 8) as u8 & 7 }
}

impl Inner {
    fn config_target<P: Ports>(&self, ports: &mut P, port: u16) -> Target {
        let address = ports.read(CONFIG_ADDRESS, Width::Dword);
        if address & ENABLE == 0 {
            return Target::Free;
        }
        let function = function_of(address);
        let Some(controller) = self.controllers.iter().position(|controller| controller.wiring.function == function)
        else {
            return Target::Free;
        };
        // Chipsets ignore the low two bits or combine them with the port's. Linux' early scan sets them as the port has
        // them, which means the same to all.
        let low_bits_differ = (address as u16 & 3) & !port != 0;
        if address & EXTENDED != 0 || low_bits_differ {
            let what = "configuration address whose meaning depends on the chipset";
            return Target::Unclear { controller, violation: Violation { what, detail: u64::from(address) } };
        }
        Target::Guarded { controller, offset: (address & 0xfc) as u16 | port & 3 }
    }

    #[cold]
    pub(crate) fn read_config<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width) -> u32 {
        match self.config_target(machine.ports(), port) {
            Target::Free => machine.ports().read(port, width),
            Target::Unclear { controller, violation } => {
                self.refuse(controller, violation);
                u32::MAX
            }
            Target::Guarded { .. } if !is_aligned(port, width) => self.read_split(machine, port, width),
            Target::Guarded { controller, offset } => {
                match self.ask_config(machine, controller, ConfigAccess { offset, width, op: Op::Read }) {
                    Answered::Perform => machine.ports().read(port, width),
                    Answered::Settled(value) => value as u32,
                }
            }
        }
    }

    #[cold]
    pub(crate) fn write_config<M: Machine>(&mut self, machine: &mut M, port: u16, width: Width, value: u32) {
        match self.config_target(machine.ports(), port) {
            Target::Free => machine.ports().write(port, width, value),
            Target::Unclear { controller, violation } => self.refuse(controller, violation),
            // None of the bytes puts anything to sleep.
            Target::Guarded { .. } if !is_aligned(port, width) => drop(self.write_split(machine, port, width, value)),
            Target::Guarded { controller, offset } => {
                let op = Op::Write(u64::from(value) & width.ones());
                let access = ConfigAccess { offset, width, op };
                if matches!(self.ask_config(machine, controller, access), Answered::Perform) {
                    machine.ports().write(port, width, value);
                }
            }
        }
    }
}

fn is_aligned(port: u16, width: Width) -> bool {
    (port & 3).checked_rem(width.bytes() as u16) == Some(0)
}
