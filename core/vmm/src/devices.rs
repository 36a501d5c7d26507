//! Controllers are found, taken over, and their disks given their ranges.

use crate::failure::Failure;
use crate::machine::RealMachine;
use crate::manifest;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use config::DiskRule;
use exit::Guest;
use hw::port;
use mediator::Width;
use mediator::disk::{DiskError, SectorTransform};
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
    match guest.bus.controllers().next() {
        Some(_) if hw::acpi::maps_configuration_space() => Err(MAPPED.into()),
        _ => Ok(()),
    }
}

/// Only the ports CFCh-CFFh are guarded yet. Past them the guest could move a controller's registers from under its hooks.
const MAPPED: &str = "this machine maps PCI configuration space to memory (ACPI table MCFG), where Shoji cannot guard \
                      its IDE controller yet; use a machine or a firmware setting without";

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
