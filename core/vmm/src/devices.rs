//! Controllers are found, taken over, and their disks given their ranges.

use crate::failure::Failure;
use crate::machine::RealMachine;
use crate::manifest;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use config::DiskRule;
use exit::{ConfigWindow, FrozenRegisters, Guest};
use hw::port;
use mediator::disk::{DiskError, SectorTransform};
use mediator::pci::Bdf;
use mediator::{Gpa, Width};
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
    if guest.bus.controllers().next().is_none() {
        return Ok(());
    }
    guard_config_windows(guest)
}

/// Where configuration space is mapped to memory, the controllers' part of it is guarded as the ports are, and the register
/// that could move it from under the hooks is frozen.
fn guard_config_windows(guest: &mut Guest) -> Result<(), Failure> {
    let mut ports = ConfigPorts;
    let host_bridge = pci::function(&mut ports, HOST_BRIDGE).filter(|bridge| bridge.vendor == pci::VENDOR_INTEL);
    // Without a table the guest itself could switch the window on.
    let pciexbar = host_bridge.map(|_| {
        let registers = pci::PCIEXBAR..=pci::PCIEXBAR + 7;
        guest.freeze_config(FrozenRegisters { function: HOST_BRIDGE, registers });
        pci::read_pciexbar(&mut ports, HOST_BRIDGE)
    });
    // AMD's CPUs have it in an MSR, which their policy freezes.
    let mmio_config_base = hw::msr::read(x86::msr::MMIO_CONFIG_BASE).and_then(pci::mmio_config_base);
    for window in hw::acpi::config_windows().into_iter().filter(|window| window.segment == 0) {
        let base = window.base.0;
        if ![pciexbar.flatten(), mmio_config_base].contains(&Some(base)) {
            return Err(format!(
                "the register that places PCI configuration space at {base:#x} is not known; {USE_ANOTHER}"
            )
            .into());
        }
        let window = ConfigWindow { base: Gpa(base), buses: window.first_bus..=window.last_bus };
        if guest.guard_config_window(&window).is_err() {
            return Err(format!("PCI configuration space lies above 4 GiB, at {base:#x}; {USE_ANOTHER}").into());
        }
        log::info!("PCI configuration space at {base:#x}: guarded");
    }
    Ok(())
}

const HOST_BRIDGE: Bdf = Bdf { bus: 0, device: 0, function: 0 };
const USE_ANOTHER: &str = "Shoji cannot guard its IDE controller there; use a firmware setting or a machine without it";

/// Gives each disk that a rule names its ranges, after the keys were checked. Only reads. Fail closed: a rule that cannot
/// be applied keeps the guest from starting.
pub fn protect(guest: &mut Guest, machine: &mut RealMachine, rules: &[DiskRule]) -> Result<(), Failure> {
    let engine = simd::Engine::of_this_cpu();
    let places: Vec<Place> = guest
        .bus
        .controllers()
        .enumerate()
        .flat_map(|(controller, c)| (0..c.disks().len()).map(move |disk| Place { controller, disk }))
        .collect();
    let disks: Vec<_> = guest.bus.controllers().flat_map(|controller| controller.disks()).collect();
    for disk in &disks {
        log::info!(
            "disk {}/{}: `{}` serial `{}`, {} sectors",
            disk.channel,
            disk.unit,
            disk.model,
            disk.serial,
            disk.sectors
        );
    }
    log::info!("AES-XTS by {engine}");
    let mut disks_of_machine = Disks { guest, machine, places: &places, engine };
    let resolved = ranges::resolve(rules, &disks, &mut disks_of_machine).map_err(|e| format!("{e}"))?;
    for found in resolved {
        for note in &found.notes {
            log::info!("{note}");
        }
        let place = places.get(found.disk).ok_or(LOST)?;
        let ranges = Arc::new(found.ranges);
        let set = guest.bus.with_controller(machine, place.controller, |c, _| c.set_ranges(place.disk, ranges));
        set.and_then(Result::ok).ok_or(LOST)?;
    }
    Ok(())
}

const LOST: &str = "a disk that was found does not answer any more; check its cable";

/// A disk among those of all controllers.
struct Place {
    controller: usize,
    disk: usize,
}

/// The disks before the guest starts.
struct Disks<'a> {
    guest: &'a mut Guest,
    machine: &'a mut RealMachine,
    places: &'a [Place],
    engine: simd::Engine,
}

impl ranges::Machine for Disks<'_> {
    fn read(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let place = self.places.get(disk).ok_or(DiskError::Request)?;
        let read = self
            .guest
            .bus
            .with_controller(self.machine, place.controller, |c, cx| c.read_before_guest(cx, place.disk, lba, data));
        read.unwrap_or(Err(DiskError::Request))
    }

    fn transform(&mut self, rule: &DiskRule) -> Result<Arc<dyn SectorTransform>, String> {
        self.engine.aes_xts(&rule.key.0, SECTOR_BYTES).map_err(|e| e.to_string())
    }
}

/// The unit that the cipher numbers, whatever the disk's own sectors are (`plain64`).
const SECTOR_BYTES: usize = 512;
