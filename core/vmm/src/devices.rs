//! Controllers are found, taken over, and their disks given their ranges.

use crate::failure::Failure;
use crate::machine::RealMachine;
use crate::manifest;
use alloc::format;
use exit::Guest;
use hw::port;
use mediator::Width;
use mediator::pci::Bdf;
use pci::{Address, CONFIG_ADDRESS, ConfigSpace, scan};

/// Configuration space through the ports; before the guest runs nobody else uses them.
struct ConfigPorts;

impl ConfigPorts {
    /// Selects the register; gives the data port.
    fn select(bdf: Bdf, offset: u16, width: Width) -> Option<u16> {
        let (address, data) = Address { bdf, offset, width }.encode()?;
        // SAFETY: selecting a register has no effect on any device.
        unsafe { port::write(CONFIG_ADDRESS, Width::Dword, address) };
        Some(data)
    }
}

impl ConfigSpace for ConfigPorts {
    fn read(&mut self, bdf: Bdf, offset: u16, width: Width) -> u32 {
        let Some(data) = Self::select(bdf, offset, width) else { return u32::MAX };
        // SAFETY: reading configuration space has no effect.
        unsafe { port::read(data, width) }
    }

    fn write(&mut self, bdf: Bdf, offset: u16, width: Width, value: u32) {
        if let Some(data) = Self::select(bdf, offset, width) {
            // SAFETY: the caller means this function.
            unsafe { port::write(data, width, value) }
        }
    }
}

/// Lets the drivers of the manifest take over what they match. Fail closed: a controller that cannot be taken over
/// keeps the guest from starting.
pub fn attach(guest: &mut Guest, machine: &mut RealMachine) -> Result<(), Failure> {
    let drivers = manifest::drivers();
    for function in scan(&mut ConfigPorts) {
        let Some(driver) = drivers.iter().find(|driver| (driver.matches)(&function)) else { continue };
        guest
            .bus
            .attach(machine, driver, &function)
            .map_err(|e| format!("the {} controller {} cannot be guarded: {}", driver.name, function.bdf, e.0))?;
    }
    Ok(())
}
