//! Where the registers lie, and the guard of the configuration that says so (PCI Local Bus Specification 3.0 s. 6.2).

use alloc::vec::Vec;
use mediator::pci::{Place, Region};
use mediator::{ConfigAccess, Ctx, Device, Gpa, Op, RegionId, Verdict, Violation, Width};
use pci::header;

/// The registers: all of BAR0 up to a bound.
pub const REGISTERS: RegionId = RegionId(0);
/// Registers, and the doorbells of far more queues than a guest gets.
const REGISTER_BYTES: u32 = 0x2000;

const BAR1: u16 = header::BAR0 + 4;
/// A memory base address register of 64 bits.
const TYPE_64: u32 = 0x4;
const TYPE_MASK: u32 = 0x6;
const COMMAND_MEMORY: u32 = 1 << 1;

/// The first capability (PCI 3.0 s. 6.7), and so many at most.
const CAPABILITIES: u16 = 0x34;
const MAX_CAPABILITIES: u32 = 48;
const CAPABILITY_MSI: u8 = 0x05;
const CAPABILITY_MSIX: u8 = 0x11;
/// Upper byte of MSI-X's control word.
const MSIX_ENABLE: u8 = 1 << 7;

/// Where the registers lie while the function decodes memory. `None`: nowhere, or above 4 GiB.
fn place(device: &mut dyn Device) -> Option<Place> {
    let low = device.config_read(header::BAR0, Width::Dword);
    let high = if low & TYPE_MASK == TYPE_64 { device.config_read(BAR1, Width::Dword) } else { 0 };
    let base = low & !0xf;
    (!pci::is_io(low) && base != 0 && high == 0).then_some(Place::Memory(Gpa(base.into())))
}

/// The register block as the configuration says now.
pub fn regions(device: &mut dyn Device) -> Vec<Region> {
    let decodes = device.config_read(header::COMMAND, Width::Word) & COMMAND_MEMORY != 0;
    let place = if decodes { place(device) } else { None };
    [Region { region: REGISTERS, place, len: REGISTER_BYTES, polled: None }].into()
}

/// Is the controller mapped where its registers can be guarded?
pub fn is_mapped(device: &mut dyn Device) -> bool {
    regions(device).iter().all(|region| region.place.is_some())
}

/// May the function master the bus? Firmware that has not used it leaves that off.
pub fn let_master(device: &mut dyn Device) {
    let command = device.config_read(header::COMMAND, Width::Word);
    device.config_write(header::COMMAND, Width::Word, command | header::COMMAND_MASTER);
}

/// Are interrupts sent as messages (MSI, MSI-X), not by pin?
pub fn signals_by_message(device: &mut dyn Device) -> bool {
    let mut at = device.config_read(CAPABILITIES, Width::Byte) & 0xfc;
    for _ in 0..MAX_CAPABILITIES {
        let Ok(offset) = u16::try_from(at) else { return false };
        if offset < header::DEVICE_SPECIFIC {
            return false;
        }
        let [id, next, _, control] = device.config_read(offset, Width::Dword).to_le_bytes();
        // MSI: enable is bit 0 of the control word's lower byte.
        let low = device.config_read(offset.saturating_add(2), Width::Byte);
        if id == CAPABILITY_MSIX && control & MSIX_ENABLE != 0 || id == CAPABILITY_MSI && low & 1 != 0 {
            return true;
        }
        at = u32::from(next & 0xfc);
    }
    false
}

/// An access of the guest to configuration space. The registers move only while the function does not decode them.
///
/// # Errors
/// A [`Violation`].
pub fn on_config(cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
    let Op::Write(value) = access.op else { return Ok(Verdict::Passthrough) };
    let dword = access.offset & !3;
    if !matches!(dword, header::COMMAND | header::BAR0 | BAR1) {
        return Ok(Verdict::Passthrough);
    }
    let old = cx.device.config_read(dword, Width::Dword);
    let value = u32::try_from(value & access.width.ones()).unwrap_or(u32::MAX);
    let new = pci::merge(old, access.offset, access.width, value);
    let refused = |what| Err(Violation { what, detail: u64::from(new) });
    if dword != header::COMMAND {
        let decodes = cx.device.config_read(header::COMMAND, Width::Word) & COMMAND_MEMORY != 0;
        return if decodes && new != old {
            refused("NVMe configuration: registers moved while they are decoded")
        } else {
            Ok(Verdict::Passthrough)
        };
    }
    let to = match (old & COMMAND_MEMORY != 0, new & COMMAND_MEMORY != 0) {
        (false, true) => match place(cx.device) {
            None => return refused("NVMe configuration: decoded at 0 or above 4 GiB"),
            place => place,
        },
        (true, false) => None,
        _ => return Ok(Verdict::Passthrough),
    };
    match cx.hooks.move_region(REGISTERS, to) {
        Ok(()) => Ok(Verdict::Passthrough),
        Err(_) => refused("NVMe configuration: registers moved onto what is guarded"),
    }
}

/// The function was reset, and perhaps placed by firmware: the hook follows, or the function decodes nothing.
pub fn on_resume(cx: &mut Ctx<'_>) {
    for region in regions(cx.device) {
        let _ = cx.hooks.move_region(region.region, None);
        if cx.hooks.move_region(region.region, region.place).is_err() {
            let command = cx.device.config_read(header::COMMAND, Width::Word);
            cx.device.config_write(header::COMMAND, Width::Word, command & !COMMAND_MEMORY);
        }
    }
}
