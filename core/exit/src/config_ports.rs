//! PCI configuration mechanism #1, seen from the guest: the address port CF8 and the data ports CFC-CFF leave it.
//!
//! CF8 is the VMM's: what the guest writes there is kept here, and goes to the port with the access to the data, under one
//! lock. Or another CPU could change the address between the decision about an access and the access.
//!
//! Specification: PCI Local Bus Specification 3.0, s. 3.2.2.3.2.

use crate::ecam::Frozen;
use crate::mediated::Others;
use crate::sleep::Written;
use crate::{Bus, Machine, Ports};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use lock::{Ranked, rank::CONFIG};
use mediator::pci::Bdf;
use mediator::{ConfigAccess, Op, Violation, Width};

pub(crate) const CONFIG_ADDRESS: u16 = 0xcf8;
pub(crate) const CONFIG_DATA: u16 = 0xcfc;
/// Reset control register of Intel's and AMD's chipsets (PIIX4 datasheet 290562-001, 4.2.7); bit 2 resets.
const RESET_CONTROL: u16 = 0xcf9;
const RESET_CPU: u8 = 1 << 2;
const ENABLE: u32 = 1 << 31;
/// The last one that this mechanism reaches; the others are reached in memory alone.
const LAST_REGISTER: u16 = 0xff;
/// Extended register numbers on some chipsets and nothing on others.
const EXTENDED: u32 = 0x7f00_0000;

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

    /// IN of CF8.
    #[inline]
    pub fn address(&self) -> u32 {
        self.address.load(Relaxed)
    }

    /// OUT to CF8.
    #[inline]
    pub fn set_address(&self, address: u32) {
        self.address.store(address, Relaxed);
    }

    /// OUT of less than a dword to the ports CF8-CFB, where chipsets have other registers.
    pub fn write_beside<P: Ports>(&self, ports: &mut P, port: u16, width: Width, value: u32) -> Written {
        let bytes = (port..).zip(value.to_le_bytes()).take(width.bytes());
        if bytes.into_iter().any(|(port, byte)| port == RESET_CONTROL && byte & RESET_CPU != 0) {
            return Written::Reset;
        }
        self.with_address(ports, self.address(), |ports| ports.write(port, width, value));
        Written::Done
    }

    /// IN of less than a dword.
    pub fn read_beside<P: Ports>(&self, ports: &mut P, port: u16, width: Width) -> u32 {
        self.with_address(ports, self.address(), |ports| ports.read(port, width))
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

/// What CF8 holds for a register of `function`.
pub(crate) fn address_of(function: Bdf, offset: u16) -> u32 {
    ENABLE
        | u32::from(function.bus) << 16
        | u32::from(function.device & 0x1f) << 11
        | u32::from(function.function & 7) << 8
        | u32::from(offset & 0xfc)
}

/// What an address is of, as [`crate::mediated::Controller`] has it: bits 1:0 of it and its register do not count,
/// nor the [`EXTENDED`] ones.
#[inline]
fn function_of(address: u32) -> u32 {
    address & (ENABLE | 0xff_ff00)
}

impl Bus {
    /// The guarded controller that an address is of.
    #[inline]
    fn guarded(&self, address: u32) -> Option<usize> {
        let function = function_of(address);
        self.controllers.iter().position(|controller| controller.config_address == function)
    }

    /// A write to a function that no mediator guards. Where it would change a frozen register it is dropped, and also where it
    /// depends on the chipset which register it reaches.
    fn write_unguarded<M: Machine>(&self, machine: &mut M, address: u32, port: u16, width: Width, value: u32) {
        let frozen = &self.config.frozen;
        let function = frozen.function(function_of(address));
        self.config.with_address(machine.ports(), address, |ports| {
            let refused = function.is_some_and(|function| {
                offset_of(address, port).is_none_or(|offset| {
                    let before = ports.read(port, width);
                    frozen.refuses(function, offset, width, value.into(), before.into())
                })
            });
            if !refused {
                ports.write(port, width, value);
            }
        });
    }

    /// The address is read once: what was decided about is what is accessed.
    #[inline(always)]
    pub(crate) fn read_config<M: Machine>(&self, machine: &mut M, port: u16, width: Width) -> u32 {
        let address = self.config.address();
        match self.guarded(address) {
            None => self.config.with_address(machine.ports(), address, |ports| ports.read(port, width)),
            Some(controller) => self.read_guarded(machine, controller, address, port, width),
        }
    }

    #[cold]
    fn read_guarded<M: Machine>(
        &self,
        machine: &mut M,
        controller: usize,
        address: u32,
        port: u16,
        width: Width,
    ) -> u32 {
        if !is_aligned(port, width) {
            return self.read_split(machine, port, width);
        }
        let perform = |machine: &mut M| {
            self.config.with_address(machine.ports(), address, |ports| ports.read(port, width)).into()
        };
        let access = config_access(address, port, width, Op::Read);
        self.ask_config(machine, controller, Others::Run, access, Op::Read, perform) as u32
    }

    #[inline(never)]
    pub(crate) fn write_config<M: Machine>(&self, machine: &mut M, port: u16, width: Width, value: u32) {
        let address = self.config.address();
        match self.guarded(address) {
            None => self.write_unguarded(machine, address, port, width, value),
            // None of the bytes puts anything to sleep.
            Some(_) if !is_aligned(port, width) => drop(self.write_split(machine, port, width, value)),
            Some(controller) => {
                let op = Op::Write(u64::from(value) & width.ones());
                let access = config_access(address, port, width, op);
                let perform = |machine: &mut M| {
                    self.config.with_address(machine.ports(), address, |ports| ports.write(port, width, value));
                    0
                };
                machine.stop_others(|machine| {
                    self.ask_config(machine, controller, Others::Stand, access, op, perform);
                });
            }
        }
    }
}

/// What an access of `port` means with `address` in CF8.
fn config_access(address: u32, port: u16, width: Width, op: Op) -> Result<ConfigAccess, Violation> {
    let what = "configuration address whose meaning depends on the chipset";
    let offset = offset_of(address, port).ok_or(Violation { what, detail: u64::from(address) })?;
    Ok(ConfigAccess { offset, width, op })
}

/// The register that an access of `port` reaches with `address` in CF8. `None`: that depends on the chipset.
fn offset_of(address: u32, port: u16) -> Option<u16> {
    // Chipsets ignore the low two bits or combine them with the port's. Linux' early scan sets them as the port has
    // them, which means the same to all.
    let low_bits_differ = (address as u16 & 3) & !port != 0;
    let clear = address & EXTENDED == 0 && !low_bits_differ;
    clear.then_some((address & 0xfc) as u16 | port & 3)
}

fn is_aligned(port: u16, width: Width) -> bool {
    (port & 3).checked_rem(width.bytes() as u16) == Some(0)
}
