//! ACPI tables, as far as Shoji needs them: the power management timer, the number of CPUs, the way to
//! configuration space. The firmware is trusted (threat model).

use crate::{Hpa, direct};
use acpi::address::AddressSpace;
use acpi::rsdp::Rsdp;
use acpi::sdt::fadt::Fadt;
use acpi::sdt::madt::{Madt, MadtEntry};
use acpi::sdt::mcfg::{Mcfg, McfgEntry};
use acpi::{AcpiTables, Handler, PciAddress, PhysicalMapping};
use alloc::vec::Vec;
use core::ptr::NonNull;

/// Port of the power management timer, where the FADT names one (ACPI s. 5.2.9).
pub fn pm_timer_port() -> Option<u16> {
    let fadt = tables()?.find_table::<Fadt>()?;
    let block = fadt.get().pm_timer_block().ok()??;
    if block.address_space != AddressSpace::SystemIo {
        return None;
    }
    u16::try_from(block.address).ok()
}

/// A CPU that the firmware tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalApic {
    pub id: u32,
    /// It is there. Others may be plugged in.
    pub enabled: bool,
}

/// The local APICs of the MADT, x2APICs among them (ACPI s. 5.2.12.2 and 5.2.12.12). `None`: there is no such table.
pub fn local_apics() -> Option<Vec<LocalApic>> {
    const ENABLED: u32 = 1 << 0;
    let madt = tables()?.find_table::<Madt>()?;
    let apics = madt.get().entries().filter_map(|entry| match entry {
        MadtEntry::LocalApic(cpu) => Some((u32::from(cpu.apic_id), cpu.flags)),
        MadtEntry::LocalX2Apic(cpu) => Some((cpu.x2apic_id, cpu.flags)),
        _ => None,
    });
    Some(apics.map(|(id, flags)| LocalApic { id, enabled: flags & ENABLED != 0 }).collect())
}

/// A window of PCI configuration space in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigWindow {
    /// Where bus 0 begins, whether or not the window holds it.
    pub base: Hpa,
    pub segment: u16,
    pub first_bus: u8,
    pub last_bus: u8,
}

/// The windows of the MCFG (PCI Firmware Specification 3.0 s. 4.1.2); none where there is no such table.
pub fn config_windows() -> Vec<ConfigWindow> {
    let Some(mcfg) = tables().and_then(|tables| tables.find_table::<Mcfg>()) else { return Vec::new() };
    let window = |entry: &McfgEntry| ConfigWindow {
        base: Hpa(entry.base_address),
        segment: entry.pci_segment_group,
        first_bus: entry.bus_number_start,
        last_bus: entry.bus_number_end,
    };
    mcfg.get().entries().iter().map(window).collect()
}

fn tables() -> Option<AcpiTables<DirectMap>> {
    // SAFETY: a BIOS machine keeps the RSDP in the areas that are searched; the direct map covers them and all tables
    // below 4 GiB.
    let rsdp = unsafe { Rsdp::search_for_on_bios(DirectMap) }.ok()?;
    // SAFETY: the address was just found and validated.
    unsafe { AcpiTables::from_rsdp(DirectMap, rsdp.physical_start) }.ok()
}

/// The crate's way to physical memory. Its ports, PCI and sleeping serve the AML interpreter, which is not built.
#[derive(Clone)]
struct DirectMap;

impl Handler for DirectMap {
    unsafe fn map_physical_region<T>(&self, physical_address: usize, size: usize) -> PhysicalMapping<Self, T> {
        // Never null: the direct map starts in the upper half.
        let pointer = direct::pointer(Hpa(physical_address as u64)).cast::<T>();
        PhysicalMapping {
            physical_start: physical_address,
            virtual_start: NonNull::new(pointer).unwrap_or(NonNull::dangling()),
            region_length: size,
            mapped_length: size,
            handler: Self,
        }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}

    fn read_u8(&self, _: usize) -> u8 {
        u8::MAX
    }
    fn read_u16(&self, _: usize) -> u16 {
        u16::MAX
    }
    fn read_u32(&self, _: usize) -> u32 {
        u32::MAX
    }
    fn read_u64(&self, _: usize) -> u64 {
        u64::MAX
    }
    fn write_u8(&self, _: usize, _: u8) {}
    fn write_u16(&self, _: usize, _: u16) {}
    fn write_u32(&self, _: usize, _: u32) {}
    fn write_u64(&self, _: usize, _: u64) {}
    fn read_io_u8(&self, _: u16) -> u8 {
        u8::MAX
    }
    fn read_io_u16(&self, _: u16) -> u16 {
        u16::MAX
    }
    fn read_io_u32(&self, _: u16) -> u32 {
        u32::MAX
    }
    fn write_io_u8(&self, _: u16, _: u8) {}
    fn write_io_u16(&self, _: u16, _: u16) {}
    fn write_io_u32(&self, _: u16, _: u32) {}
    fn read_pci_u8(&self, _: PciAddress, _: u16) -> u8 {
        u8::MAX
    }
    fn read_pci_u16(&self, _: PciAddress, _: u16) -> u16 {
        u16::MAX
    }
    fn read_pci_u32(&self, _: PciAddress, _: u16) -> u32 {
        u32::MAX
    }
    fn write_pci_u8(&self, _: PciAddress, _: u16, _: u8) {}
    fn write_pci_u16(&self, _: PciAddress, _: u16, _: u16) {}
    fn write_pci_u32(&self, _: PciAddress, _: u16, _: u32) {}
    fn nanos_since_boot(&self) -> u64 {
        crate::time::now().0
    }
    fn stall(&self, _: u64) {}
    fn sleep(&self, _: u64) {}
}
