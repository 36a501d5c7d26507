//! Where interrupt messages go (PCI 3.0 s. 6.8). A message is a write by the device of a dword that the guest chooses, so it goes where
//! the guest may have that: to interrupt controllers, or to the guest's own RAM, such as the address 0 that systems leave behind.
//!
//! Each register is checked as it is written, whatever stands in the others, so that no order of writes leads elsewhere; upper halves
//! of addresses stay 0. What the device itself or the firmware has left is checked before it is switched on.

use crate::capability::Capability;
use crate::merge;
use mediator::{Access, ConfigAccess, Ctx, Device, Gpa, GuestMemory, Op, RegionId, Verdict, Violation, Width};

/// Addresses of interrupt controllers (SDM Vol. 3A 11.11.1).
const MESSAGE_BASE: u32 = 0xfee0_0000;
const MESSAGE_MASK: u32 = 0xfff0_0000;
/// Of a message.
const MESSAGE_BYTES: u64 = 4;

/// Length of MSI's capability, with 64-bit address and masks.
pub const MSI_END: u16 = 24;
/// MSI: enabled, and with a 64-bit address, in the dword of the ID; the address.
const MSI_ENABLE: u32 = 1 << 16;
const MSI_WIDE: u32 = 1 << 23;
/// It has masks, and pending bits, behind the data.
const MSI_MASKS: u32 = 1 << 24;
const MSI_ADDRESS: u16 = 4;
const MSI_ADDRESS_HIGH: u16 = 8;

/// Length of MSI-X's capability.
pub const MSI_X_END: u16 = 12;
/// MSI-X: enabled, and the number of the last entry, in the dword of the ID.
const MSI_X_ENABLE: u32 = 1 << 31;
const MSI_X_LAST: u32 = 0x7ff << 16;
/// Place of the table: offset, and number of the base address register.
const MSI_X_TABLE: u16 = 4;
const TABLE_BAR: u32 = 7;

/// An entry of the table: address, data, control.
const ENTRY_BYTES: u32 = 16;
const ADDRESS: u32 = 0;
const ADDRESS_HIGH: u32 = 4;
const DATA: u32 = 8;
const CONTROL: u32 = 12;
const MASKED: u32 = 1 << 0;

/// May a message go there? The upper half of the address is 0.
fn is_good(guest: &dyn GuestMemory, low: u32) -> bool {
    let is_ram = || u64::from(low) % MESSAGE_BYTES == 0 && guest.bus_addr(Gpa(low.into()), MESSAGE_BYTES).is_ok();
    low & MESSAGE_MASK == MESSAGE_BASE || is_ram()
}

/// A write to MSI's capability. `written`: in its place in the dword, which is `at` in the capability.
///
/// # Errors
/// A [`Violation`]: the write vanishes.
pub fn write_msi(cx: &mut Ctx<'_>, access: ConfigAccess, written: u32, at: u16) -> Result<Verdict, Violation> {
    let dword = access.offset & !3;
    let start = dword.saturating_sub(at);
    let device = &mut *cx.device;
    let mut now = |register: u16| {
        let old = device.config_read(start.saturating_add(register), Width::Dword);
        let shift = u32::from(access.offset & 3).wrapping_mul(8);
        if register == at { merge(old, access.offset, access.width, written.wrapping_shr(shift)) } else { old }
    };
    let control = now(0);
    let wide = control & MSI_WIDE != 0;
    let len = match (wide, control & MSI_MASKS != 0) {
        (false, false) => 12,
        (true, false) => 16,
        (false, true) => 20,
        (true, true) => MSI_END,
    };
    if at >= len {
        return Err(Violation { what: "configuration: a register of the device's own", detail: access.offset.into() });
    }
    let low_is_good = is_good(cx.guest, now(MSI_ADDRESS));
    let high_is_good = !wide || now(MSI_ADDRESS_HIGH) == 0;
    let good = match at {
        0 => control & MSI_ENABLE == 0 || low_is_good && high_is_good,
        MSI_ADDRESS => low_is_good,
        MSI_ADDRESS_HIGH => high_is_good,
        _ => true,
    };
    if good {
        return Ok(Verdict::Passthrough);
    }
    Err(Violation {
        what: "configuration: a message (MSI) to an address that is neither an interrupt controller's nor RAM",
        detail: written.into(),
    })
}

/// Switches MSI-X off.
pub fn disable_msi_x(device: &mut dyn Device, at: Capability) {
    let control = device.config_read(at.offset, Width::Dword);
    device.config_write(at.offset, Width::Dword, control & !MSI_X_ENABLE);
}

/// The table of MSI-X, as the function tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    pub region: RegionId,
    /// Number of the base address register behind which it lies.
    pub bar: u8,
    /// In what that one places; a multiple of 8.
    pub offset: u32,
    pub len: u32,
}

impl Table {
    pub fn read(device: &mut dyn Device, at: Capability, region: RegionId) -> Self {
        let last = (device.config_read(at.offset, Width::Dword) & MSI_X_LAST) >> 16;
        let place = device.config_read(at.offset.saturating_add(MSI_X_TABLE), Width::Dword);
        let bar = (place & TABLE_BAR) as u8;
        Self { region, bar, offset: place & !TABLE_BAR, len: last.saturating_add(1).saturating_mul(ENTRY_BYTES) }
    }

    /// Past its last byte.
    pub fn end(&self) -> u32 {
        self.offset.saturating_add(self.len)
    }

    /// An access of the guest to the table.
    ///
    /// # Errors
    /// A [`Violation`]: the write vanishes, and the entry stays as it was.
    pub fn on_access(&self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        let Op::Write(value) = access.op else { return Ok(Verdict::Passthrough) };
        let (register, entry) = (access.offset % ENTRY_BYTES, access.offset & !ENTRY_BYTES.saturating_sub(1));
        let (low, high) = (value as u32, (value >> 32) as u32);
        // Switched on by this value of its control?
        let is_on = |cx: &mut Ctx<'_>, control: u32| {
            let mut now = |at: u32| cx.device.read(self.region, entry.saturating_add(at), Width::Dword) as u32;
            control & MASKED != 0 || now(ADDRESS_HIGH) == 0 && is_good(cx.guest, now(ADDRESS))
        };
        let good = match (register, access.width) {
            (ADDRESS, Width::Dword) => is_good(cx.guest, low),
            (ADDRESS, Width::Qword) => high == 0 && is_good(cx.guest, low),
            (ADDRESS_HIGH, Width::Dword) => low == 0,
            (DATA, Width::Dword) => true,
            (DATA, Width::Qword) => is_on(cx, high),
            (CONTROL, Width::Dword) => is_on(cx, low),
            _ => {
                let what = "a message (MSI-X) is written in part";
                return Err(Violation { what, detail: access.offset.into() });
            }
        };
        if good {
            return Ok(Verdict::Passthrough);
        }
        Err(Violation {
            what: "a message (MSI-X) to an address that is neither an interrupt controller's nor RAM",
            detail: value,
        })
    }
}
