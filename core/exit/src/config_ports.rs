//! PCI configuration mechanism #1, seen from the guest: the address port CF8 and the data ports CFC-CFF leave it.
//!
//! CF8 is the VMM's: what the guest writes there is kept here, and goes to the port with the access to the data, under one
//! lock. Or another CPU could change the address between the decision about an access and the access.
//!
//! Specification: PCI Local Bus Specification 3.0, s. 3.2.2.3.2.

use crate::ask::Answered;
use crate::ecam::Frozen;
use crate::{Bus, Machine, Ports};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use lock::{Ranked, rank::CONFIG};
use mediator::pci::Bdf;
use mediator::{ConfigAccess, Op, Violation, Width};

pub(crate) const CONFIG_ADDRESS: u16 = 0xcf8;
pub(crate) const CONFIG_DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// The last one that this mechanism reaches; the others are reached in memory alone.
const LAST_REGISTER: u16 = 0xff;
/// Extended register numbers on some chipsets and nothing on others.
const EXTENDED: u32 = 0x7f00_0000;

/// What an access to the data ports reaches.
enum Target {
    /// No guarded function: the access passes.
    Free,
    /// Register `offset` of a guarded function.
    Guarded { controller: usize, offset: u16 },
    /// Register of the function that has frozen ones. `None`: which one depends on the chipset.
    Frozen { offset: Option<u16> },
    /// Some register of a guarded function, and which one depends on the chipset.
    Unclear { controller: usize, violation: Violation },
}

/// The ports of the mechanism.
pub(crate) struct ConfigPorts {
    /// CF8 as the guest has written it.
    address: AtomicU32,
    /// Held from the write of CF8 to the access that it is for.
    turn: Ranked<(), CONFIG>,
    pub frozen: Frozen,
}

impl ConfigPorts {
    pub fn new() -> Self {
        Self { address: AtomicU32::new(0), turn: Ranked::new(()), frozen: Frozen::default() }
    }

    /// The guest finds CF8 as it is now.
    pub fn adopt<P: Ports>(&self, ports: &mut P) {
        self.address.store(ports.read(CONFIG_ADDRESS, Width::Dword), Relaxed);
    }

    #[inline]
    pub fn address(&self) -> u32 {
        self.address.load(Relaxed)
    }

    /// OUT to the ports CF8 to CFB. Only a dword reaches the address; chipsets have other registers there (CF9: reset).
    #[inline]
    pub fn write<P: Ports>(&self, ports: &mut P, port: u16, width: Width, value: u32) {
        if width == Width::Dword {
            self.address.store(value, Relaxed);
        } else {
            self.with_address(ports, self.address(), |ports| ports.write(port, width, value));
        }
    }

    /// IN from the ports CF8 to CFB.
    pub fn read<P: Ports>(&self, ports: &mut P, port: u16, width: Width) -> u32 {
        if width == Width::Dword {
            self.address()
        } else {
            self.with_address(ports, self.address(), |ports| ports.read(port, width))
        }
    }

    /// With `address` in CF8.
    #[inline]
    fn with_address<P: Ports, R>(&self, ports: &mut P, address: u32, access: impl FnOnce(&mut P) -> R) -> R {
        let _held = self.turn.lock();
        ports.write(CONFIG_ADDRESS, Width::Dword, address);
        access(ports)
    }

    /// Performs one access to configuration space; the guest's address stays.
    pub fn access_function<P: Ports>(&self, ports: &mut P, function: Bdf, offset: u16, width: Width, op: Op) -> u32 {
        let Some(port) = CONFIG_DATA.checked_add(offset & 3).filter(|_| offset <= LAST_REGISTER) else {
            return u32::MAX;
        };
        self.with_address(ports, address_of(function, offset), |ports| match op {
            Op::Read => ports.read(port, width),
            Op::Write(value) => {
                ports.write(port, width, value as u32);
                0
            }
        })
    }
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

impl Bus {
    #[inline]
    fn config_target(&self, address: u32, port: u16) -> Target {
        if address & ENABLE == 0 {
            return Target::Free;
        }
        let function = function_of(address);
        // Chipsets ignore the low two bits or combine them with the port's. Linux' early scan sets them as the port has
        // them, which means the same to all.
        let low_bits_differ = (address as u16 & 3) & !port != 0;
        let unclear = address & EXTENDED != 0 || low_bits_differ;
        let offset = (address & 0xfc) as u16 | port & 3;
        if self.config.frozen.is_of(function) {
            return Target::Frozen { offset: (!unclear).then_some(offset) };
        }
        let Some(controller) = self.controllers.iter().position(|controller| controller.function == function) else {
            return Target::Free;
        };
        if unclear {
            let what = "configuration address whose meaning depends on the chipset";
            return Target::Unclear { controller, violation: Violation { what, detail: u64::from(address) } };
        }
        Target::Guarded { controller, offset }
    }

    /// The address is read once: what was decided about is what is accessed.
    pub(crate) fn read_config<M: Machine>(&self, machine: &mut M, port: u16, width: Width) -> u32 {
        let address = self.config.address();
        match self.config_target(address, port) {
            Target::Free | Target::Frozen { .. } => {
                self.config.with_address(machine.ports(), address, |ports| ports.read(port, width))
            }
            Target::Guarded { .. } if !is_aligned(port, width) => self.read_split(machine, port, width),
            Target::Guarded { controller, offset } => {
                let access = ConfigAccess { offset, width, op: Op::Read };
                let answer = self.with_session(machine, controller, |session, machine| {
                    match session.ask_config(machine, access) {
                        Answered::Perform => {
                            self.config.with_address(machine.ports(), address, |ports| ports.read(port, width))
                        }
                        Answered::Settled(value) => value as u32,
                    }
                });
                answer.unwrap_or(u32::MAX)
            }
            Target::Unclear { controller, violation } => {
                self.with_session(machine, controller, |session, _| session.refuse(violation));
                u32::MAX
            }
        }
    }

    pub(crate) fn write_config<M: Machine>(&self, machine: &mut M, port: u16, width: Width, value: u32) {
        let address = self.config.address();
        match self.config_target(address, port) {
            Target::Frozen { offset } if offset.is_none_or(|offset| self.config.frozen.refuses(offset, width)) => {}
            Target::Free | Target::Frozen { .. } => {
                self.config.with_address(machine.ports(), address, |ports| ports.write(port, width, value));
            }
            // None of the bytes puts anything to sleep.
            Target::Guarded { .. } if !is_aligned(port, width) => drop(self.write_split(machine, port, width, value)),
            Target::Guarded { controller, offset } => {
                let op = Op::Write(u64::from(value) & width.ones());
                self.with_session(machine, controller, |session, machine| {
                    if session.ask_config(machine, ConfigAccess { offset, width, op }) == Answered::Perform {
                        self.config.with_address(machine.ports(), address, |ports| ports.write(port, width, value));
                    }
                });
            }
            Target::Unclear { controller, violation } => {
                self.with_session(machine, controller, |session, _| session.refuse(violation));
            }
        }
    }
}

fn is_aligned(port: u16, width: Width) -> bool {
    (port & 3).checked_rem(width.bytes() as u16) == Some(0)
}
