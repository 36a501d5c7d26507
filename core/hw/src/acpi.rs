//! ACPI tables, as far as Shoji needs them: the power management timer, the number of CPUs, the way to
//! configuration space. The firmware is trusted (threat model).

use crate::{Hpa, direct};
use acpi::AcpiError;
use acpi::address::AddressSpace;
use acpi::address::GenericAddress;
use acpi::rsdp::Rsdp;
use acpi::sdt::SdtHeader;
use acpi::sdt::fadt::Fadt;
use acpi::sdt::madt::{Madt, MadtEntry};
use acpi::sdt::mcfg::{Mcfg, McfgEntry};
use acpi::{AcpiTables, Handler, PciAddress, PhysicalMapping};
use alloc::vec::Vec;
use core::ptr::NonNull;
use sleep::{FACS_BYTES, Types};
use spin::Once;

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

/// The RSDP of ACPI 1.0 (ACPI s. 5.2.5.3).
const RSDP_1_BYTES: usize = 20;
/// Option ROMs and BIOS. What firmware needs of it to write stays writable, code beside it as well (SeaBIOS).
const FIRMWARE_AREA: u64 = 0xc_0000;
const FIRMWARE_AREA_BYTES: usize = 256 << 10;
/// How far the start code's tables reach, with room for a FACS.
const BELOW_4_GIB: u64 = (1 << 32) - FACS_BYTES as u64;

/// How the machine is put to sleep.
pub struct Sleep {
    /// PM1 control and status registers, a and where it is there b (ACPI s. 4.8.3.1 and 4.8.3.2).
    pub control: (u16, Option<u16>),
    pub status: (u16, Option<u16>),
    pub types: Types,
    /// Each FACS that the FADT names. Without any nobody wakes.
    pub facs: Vec<Hpa>,
    /// What firmware runs when it wakes up, and by which it finds the FACS again: its area below 1 MiB, RSDP, RSDT, XSDT, FADT.
    /// All lie in memory that the guest can write, of the firmware's area at least a part.
    pub way: Vec<Original>,
}

/// Memory as the firmware has left it.
pub struct Original {
    at: Hpa,
    content: Vec<u8>,
}

impl Original {
    /// `None`: it lies above 4 GiB, where the start code's tables do not reach.
    fn keep(at: u64, len_bytes: usize) -> Option<Self> {
        Some(Self { at: Hpa(at), content: bytes(at, len_bytes)?.to_vec() })
    }

    /// As [`Original::keep`], of a table with a header (ACPI s. 5.2.6).
    fn keep_table(at: u64) -> Option<Self> {
        let header = bytes(at, size_of::<SdtHeader>())?;
        Self::keep(at, u32::from_le_bytes(*header.get(4..)?.first_chunk()?) as usize)
    }

    /// From now on it is what lies there now.
    pub fn renew(&mut self) {
        if let Some(now) = bytes(self.at.0, self.content.len()) {
            self.content.copy_from_slice(now);
        }
    }

    /// Puts right what the guest has changed of it. False: it stays changed, because it lies in write-protected memory.
    pub fn restore(&self) -> bool {
        let is_intact = || bytes(self.at.0, self.content.len()) == Some(self.content.as_slice());
        if !is_intact() {
            // SAFETY: inside of the direct map, as it was kept; memory of firmware and guest.
            unsafe {
                core::ptr::copy_nonoverlapping(self.content.as_ptr(), direct::pointer(self.at), self.content.len());
            }
        }
        is_intact()
    }
}

/// Why a guest's way to sleep cannot be guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSleep {
    /// There is no ACPI, and so no way.
    NoAcpi,
    /// The hardware-reduced kind has no PM1 registers (ACPI s. 3.11.1), or they lie elsewhere.
    NoPorts,
}

/// Asks FADT, DSDT and SSDTs (ACPI s. 5.2.9 and 5.2.11).
///
/// # Errors
/// See [`NoSleep`].
pub fn sleep() -> Result<Sleep, NoSleep> {
    let tables = tables().ok_or(NoSleep::NoAcpi)?;
    let fadt = tables.find_table::<Fadt>().ok_or(NoSleep::NoAcpi)?;
    let fadt = fadt.get();
    if { fadt.flags }.system_is_hw_reduced_acpi() {
        return Err(NoSleep::NoPorts);
    }
    let mut types = Types::default();
    for table in tables.dsdt().into_iter().chain(tables.ssdts()) {
        if let Some(aml) = bytes(table.phys_address as u64, table.length as usize) {
            types.scan(aml);
        }
    }
    let (legacy, extended) = (u64::from(fadt.firmware_ctrl), fadt.facs_address().unwrap_or(0) as u64);
    let mut facs: Vec<Hpa> =
        [legacy, extended].into_iter().filter(|at| (1..BELOW_4_GIB).contains(at)).map(Hpa).collect();
    facs.dedup();
    let way = way_to_facs().ok_or(NoSleep::NoAcpi)?;
    Ok(Sleep {
        control: ports(fadt.pm1a_control_block(), fadt.pm1b_control_block())?,
        status: ports(fadt.pm1a_event_block(), fadt.pm1b_event_block())?,
        types,
        facs,
        way: way.into_iter().chain(Original::keep(FIRMWARE_AREA, FIRMWARE_AREA_BYTES)).collect(),
    })
}

fn way_to_facs() -> Option<Vec<Original>> {
    let rsdp = rsdp()?;
    let has_xsdt = rsdp.revision() > 0;
    let fadt = tables()?.find_table::<Fadt>()?.physical_start as u64;
    let xsdt = if has_xsdt { rsdp.xsdt_address() } else { 0 };
    let tables = [rsdp.rsdt_address().into(), xsdt, fadt].into_iter().filter(|&at| at != 0);
    let len_bytes = if has_xsdt { size_of::<Rsdp>() } else { RSDP_1_BYTES };
    let rsdp = Original::keep(rsdp.physical_start as u64, len_bytes);
    core::iter::once(rsdp).chain(tables.map(Original::keep_table)).collect()
}

/// A copy of the FACS that [`sleep`] has found.
pub fn read_facs(at: Hpa) -> [u8; FACS_BYTES] {
    // SAFETY: `sleep` gives addresses inside of the direct map only; the guest may write there meanwhile, plain bytes.
    unsafe { direct::pointer(at).cast::<[u8; FACS_BYTES]>().read_unaligned() }
}

/// Writes the FACS that [`sleep`] has found.
pub fn write_facs(at: Hpa, facs: &[u8; FACS_BYTES]) {
    // SAFETY: as above; the memory is firmware's and guest's.
    unsafe { direct::pointer(at).cast::<[u8; FACS_BYTES]>().write_unaligned(*facs) };
}

/// First ports of the blocks a and b.
fn ports(
    a: Result<GenericAddress, AcpiError>,
    b: Result<Option<GenericAddress>, AcpiError>,
) -> Result<(u16, Option<u16>), NoSleep> {
    let port = |block: GenericAddress| {
        let port = u16::try_from(block.address).ok().filter(|&port| port != 0);
        port.filter(|_| block.address_space == AddressSpace::SystemIo).ok_or(NoSleep::NoPorts)
    };
    let a = port(a.map_err(|_| NoSleep::NoPorts)?)?;
    Ok((a, b.map_err(|_| NoSleep::NoPorts)?.map(port).transpose()?))
}

/// What lies there now; not to be held while the guest runs. `None`: it lies above 4 GiB, where the start code's tables do not
/// reach.
fn bytes(at: u64, len_bytes: usize) -> Option<&'static [u8]> {
    let fits = at.checked_add(len_bytes as u64).is_some_and(|end| end <= 1 << 32);
    // SAFETY: inside the direct map, and constant while no guest runs.
    fits.then(|| unsafe { core::slice::from_raw_parts(direct::pointer(Hpa(at)), len_bytes) })
}

fn tables() -> Option<AcpiTables<DirectMap>> {
    // SAFETY: the address was found and validated.
    unsafe { AcpiTables::from_rsdp(DirectMap, rsdp()?.physical_start) }.ok()
}

/// Searched for once, which takes long; before the guest runs.
fn rsdp() -> Option<PhysicalMapping<DirectMap, Rsdp>> {
    static PLACE: Once<Option<usize>> = Once::new();
    // SAFETY: a BIOS machine keeps the RSDP in the areas that are searched; the direct map covers them and all tables
    // below 4 GiB.
    let search = || Some(unsafe { Rsdp::search_for_on_bios(DirectMap) }.ok()?.physical_start);
    let place = (*PLACE.call_once(search))?;
    // SAFETY: there is one.
    Some(unsafe { DirectMap.map_physical_region(place, size_of::<Rsdp>()) })
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
