//! Controllers are found, taken over, and their disks given their ranges.

use crate::disks::{self, Place};
use crate::failure::Failure;
use crate::machine::{RealMachine, Shared};
use crate::vendor::Vendor;
use crate::volumes::Opener;
use crate::{calls, cards, manifest};
use abi::vpn::MAX_TUNNELS;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use config::{DiskRule, NetworkRule};
use exit::{ConfigWindow, FrozenRegisters, Guest};
use hw::{HpaRange, port};
use luks2::{Header, VolumeKey};
use mediator::disk::{DiskError, SectorTransform};
use mediator::pci::{Bdf, Function};
use mediator::{Gpa, Width};
use pci::{Address, CONFIG_ADDRESS, ConfigSpace, chipset, scan};
use ranges::HeaderSource;
use spin::Once;

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

static FUNCTIONS: Once<Vec<Function>> = Once::new();

/// All functions on the PCI buses, as the firmware has left them.
pub fn functions() -> &'static [Function] {
    FUNCTIONS.get().map_or(&[], Vec::as_slice)
}

/// Class code of mass storage.
const STORAGE: u8 = 0x01;
/// What one controller keeps a fast disk busy with; with less its requests wait for one another.
const ARENA_BYTES_EACH: u64 = 4 << 20;
/// One of so many parts of the VMM's memory is the most.
const PARTS: u64 = 2;

/// Of what devices may be pointed at, bounce buffers, tables and queues of all mediators: for the controllers that are there, and
/// at most a part of `vmm`, all of the VMM's memory.
pub fn arena_bytes(vmm: HpaRange) -> u64 {
    let storage = ARENA_BYTES_EACH * storage_controllers().max(1) as u64;
    (storage + cards::arena_bytes(functions())).min(vmm.len_bytes() / PARTS)
}

/// Number of those that are there.
pub fn storage_controllers() -> usize {
    let functions = FUNCTIONS.call_once(|| scan(&mut ConfigPorts));
    functions.iter().filter(|function| function.class == STORAGE).count()
}

/// As many as there may be tunnels.
pub fn network_cards() -> usize {
    functions().iter().filter(|function| function.class == cards::NETWORK).count().min(MAX_TUNNELS)
}

/// Has a driver taken it over?
pub fn is_guarded(function: &Function) -> bool {
    manifest::drivers().iter().any(|driver| (driver.matches)(function)) || cards::is_guarded(function)
}

/// Lets the drivers of the manifest take over what they match, network cards as `networks` says, and guards what places them, memory and the PM1 control register,
/// which `way_to_sleep` tells. Fail closed: a controller that cannot be taken over keeps the guest from starting, and a machine
/// whose way to sleep can be moved does not suspend.
pub fn attach(
    guest: &mut Guest,
    machine: &mut RealMachine,
    way_to_sleep: Option<&hw::acpi::Sleep>,
    networks: &[NetworkRule],
) -> Result<(), Failure> {
    let drivers = manifest::drivers();
    let functions = FUNCTIONS.call_once(|| scan(&mut ConfigPorts));
    for &function in functions {
        let Some(driver) = drivers.iter().find(|driver| (driver.matches)(&function)) else { continue };
        guest
            .bus
            .attach(machine, driver, &function)
            .map_err(|e| format!("the {} controller {} cannot be guarded: {}", driver.name, function.bdf, e.0))?;
    }
    cards::attach(guest, machine, functions, networks)?;
    let sleep_is_fixed = freeze_chipset(guest, way_to_sleep);
    let windows = guard_config_windows(guest);
    if !sleep_is_fixed {
        guest.bus.deny_suspend(UNKNOWN_CHIPSET);
    } else if windows.is_err() {
        guest.bus.deny_suspend(UNKNOWN_WINDOW);
    }
    if !guest.bus.has_controllers() {
        return Ok(());
    }
    windows
}

/// Freezes the registers of the chipset by which the guest could move things from under their guards. False: those of the way to
/// sleep are not known, or lead to the firmware by memory that the guest can change.
fn freeze_chipset(guest: &mut Guest, way_to_sleep: Option<&hw::acpi::Sleep>) -> bool {
    let mut freeze = |found: chipset::Registers| {
        let chipset::Registers { function, registers, what } = found;
        guest.freeze_config(FrozenRegisters { function, registers, what });
    };
    // Without a table of windows the guest itself could switch one on.
    chipset::config_window(&mut ConfigPorts).into_iter().for_each(&mut freeze);
    let memory = chipset::memory(&mut ConfigPorts);
    // A second control register is the work of a chipset that is not known here.
    let control = way_to_sleep.map(|way| way.control).filter(|(_, b)| b.is_none());
    let power = control.and_then(|(a, _)| chipset::power(&mut ConfigPorts, a));
    let all_known = memory.is_some() && power.is_some();
    memory.into_iter().chain(power.into_iter().flatten()).for_each(&mut freeze);
    all_known
}

/// Where configuration space is mapped to memory, the guarded part of it is guarded as the ports are.
///
/// # Errors
/// The register that places it, and could move it from under the hooks, is not known; or it lies where it cannot be hooked.
fn guard_config_windows(guest: &mut Guest) -> Result<(), Failure> {
    let mut ports = ConfigPorts;
    let pciexbar = chipset::config_window(&mut ports).and_then(|found| pci::read_pciexbar(&mut ports, found.function));
    // AMD's CPUs have it in an MSR, which their policy freezes.
    let mmio_config_base = hw::msr::read(x86::msr::MMIO_CONFIG_BASE).and_then(pci::mmio_config_base);
    for window in hw::acpi::config_windows().into_iter().filter(|window| window.segment == 0) {
        let base = window.base.0;
        if ![pciexbar, mmio_config_base].contains(&Some(base)) {
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

const UNKNOWN_CHIPSET: &str = "it does not know this chipset, whose registers could lead the machine past Shoji";
const UNKNOWN_WINDOW: &str = "it cannot guard this machine's PCI configuration space in memory";
const USE_ANOTHER: &str = "Shoji cannot guard its controllers there; use a firmware setting or a machine without it";

/// Gives each disk that a rule names its ranges, after the keys were checked. Only reads. Fail closed: a rule that cannot
/// be applied keeps the guest from starting.
pub fn protect<V: Vendor>(
    guest: &mut Guest,
    machine: &mut RealMachine,
    rules: &[DiskRule],
    opener: Opener<'_, '_, V>,
) -> Result<(), Failure> {
    let engine = simd::Engine::of_this_cpu();
    let places = places(guest);
    let disks: Vec<_> = guest.bus.disk_controllers().flat_map(|(_, controller)| controller.disks()).collect();
    let guest = &*guest;
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
    let mut disks_of_machine = Disks { guest, machine, places: &places, engine, opener };
    let resolved = ranges::resolve(rules, &disks, &mut disks_of_machine).map_err(|e| format!("{e}"))?;
    calls::status::note_disks(&disks, &resolved);
    for found in resolved {
        for note in &found.notes {
            log::info!("{note}");
        }
        let place = places.get(found.disk).ok_or(LOST)?;
        let ranges = Arc::new(found.ranges);
        let set = guest.bus.with_controller(machine, place.controller, |controller, _| {
            controller.as_disks().map(|it| it.set_ranges(place.disk, ranges))
        });
        set.flatten().and_then(Result::ok).ok_or(LOST)?;
    }
    Ok(())
}

/// The disks that the VMM's own requests find, in the order in which [`protect`] has told them.
pub fn offer(guest: &mut Guest, machine: &'static Shared) {
    disks::note(places(guest), machine);
}

fn places(guest: &mut Guest) -> Vec<Place> {
    let controllers = guest.bus.disk_controllers();
    controllers.flat_map(|(controller, c)| (0..c.disks().len()).map(move |disk| Place { controller, disk })).collect()
}

const LOST: &str = "a disk that was found does not answer any more; check its cable";

/// The disks before the guest starts.
struct Disks<'a, 'b, 'c, V: Vendor> {
    guest: &'a Guest,
    machine: &'a mut RealMachine,
    places: &'a [Place],
    engine: simd::Engine,
    opener: Opener<'b, 'c, V>,
}

fn read(
    guest: &Guest,
    machine: &mut RealMachine,
    place: Option<&Place>,
    lba: u64,
    data: &mut [u8],
) -> Result<(), DiskError> {
    let place = place.ok_or(DiskError::Request)?;
    let read = guest.bus.with_controller(machine, place.controller, |controller, cx| {
        controller.as_disks().map(|it| it.read_before_guest(cx, place.disk, lba, data))
    });
    read.flatten().unwrap_or(Err(DiskError::Request))
}

impl<V: Vendor> ranges::Machine for Disks<'_, '_, '_, V> {
    fn read(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        read(self.guest, self.machine, self.places.get(disk), lba, data)
    }

    fn transform(&mut self, key: &[u8; 64], sector_bytes: usize) -> Result<Arc<dyn SectorTransform>, String> {
        self.engine.aes_xts(key, sector_bytes).map_err(|e| e.to_string())
    }

    fn has_header_file(&self, name: &str) -> bool {
        self.opener.header_files.has(name)
    }

    fn read_header_file(&mut self, name: &str, at_bytes: u64, data: &mut [u8]) -> Result<(), String> {
        self.opener.header_files.read(name, at_bytes, data)
    }

    fn unlock(&mut self, rule: &str, source: HeaderSource<'_>, header: &Header) -> Result<VolumeKey, String> {
        let (guest, places, files) = (self.guest, self.places, self.opener.header_files);
        self.opener.open(rule, header, self.machine, &|machine, at_bytes, data| match source {
            HeaderSource::Disk(at) => {
                let place = places.get(at.disk);
                at.read(at_bytes, data, |lba, data| read(guest, machine, place, lba, data))
            }
            HeaderSource::File(name) => files.read(name, at_bytes, data),
        })
    }
}
