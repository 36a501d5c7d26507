//! The task file as the guest wrote it, and the addresses in it (ATA/ATAPI-7 s. 6.2, ATA-5 s. 8 for CHS).

use crate::spec::{device, reg};

/// How a request names its sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Chs,
    Lba28,
    Lba48,
}

/// A run of sectors as the guest names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub form: Form,
    pub lba: u64,
    /// 1 to 65536.
    pub sectors: u32,
}

/// The translation of cylinder, head, sector in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// 1 to 16.
    pub heads: u8,
    /// Sectors per track, 1 to 255.
    pub sectors: u8,
}

/// The two-deep registers features, count, LBA low, mid and high, and the device register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taskfile {
    current: [u8; 5],
    previous: [u8; 5],
    pub device: u8,
}

impl Taskfile {
    /// As after a reset (ATA/ATAPI-7 s. 5.15), with this device register: the signature of a disk.
    pub const fn after_reset(device: u8) -> Self {
        Self { current: [0, 1, 1, 0, 0], previous: [0; 5], device }
    }

    /// Features, count, LBA low, mid and high: the current content and the one before.
    pub const fn new(current: [u8; 5], previous: [u8; 5], device: u8) -> Self {
        Self { current, previous, device }
    }

    /// As given to [`Taskfile::new`].
    pub const fn two_deep_registers(&self) -> ([u8; 5], [u8; 5]) {
        (self.current, self.previous)
    }

    /// The addressed unit, 0 or 1.
    pub fn unit(&self) -> usize {
        usize::from(self.device & device::DEV != 0)
    }

    pub fn features(&self) -> u8 {
        self.two_deep(reg::FEATURES, false)
    }

    pub fn count(&self) -> u8 {
        self.two_deep(reg::COUNT, false)
    }

    /// A guest write of a register from features to device; the older content of a two-deep one is kept
    /// (ATA/ATAPI-7 s. 5.1).
    pub fn write(&mut self, register: u32, value: u8) {
        if register == reg::DEVICE {
            self.device = value;
            return;
        }
        let at = index(register);
        if let (Some(current), Some(previous)) = (self.current.get_mut(at), self.previous.get_mut(at)) {
            *previous = *current;
            *current = value;
        }
    }

    /// What a read shows; `hob`: the older content. The error register is not kept here and reads as 0.
    pub fn read(&self, register: u32, hob: bool) -> u8 {
        match register {
            reg::ERROR => 0,
            reg::DEVICE => self.device,
            _ => self.two_deep(register, hob),
        }
    }

    /// A two-deep register; `hob`: its older content.
    pub fn two_deep(&self, register: u32, hob: bool) -> u8 {
        let registers = if hob { &self.previous } else { &self.current };
        registers.get(index(register)).copied().unwrap_or(0)
    }

    /// The sectors that a command names. `None`: an address that does not exist in the geometry.
    pub fn request(&self, ext: bool, geometry: Geometry) -> Option<Request> {
        let byte = |register, hob| u64::from(self.two_deep(register, hob));
        let low24 = byte(reg::LBA_LOW, false) | (byte(reg::LBA_MID, false) << 8) | (byte(reg::LBA_HIGH, false) << 16);
        let head = self.device & device::HEAD;
        if ext {
            let high24 = byte(reg::LBA_LOW, true) | (byte(reg::LBA_MID, true) << 8) | (byte(reg::LBA_HIGH, true) << 16);
            let count = u16::from_le_bytes([self.count(), self.two_deep(reg::COUNT, true)]);
            let sectors = if count == 0 { 0x1_0000 } else { u32::from(count) };
            return Some(Request { form: Form::Lba48, lba: low24 | (high24 << 24), sectors });
        }
        let sectors = if self.count() == 0 { 0x100 } else { u32::from(self.count()) };
        if self.device & device::LBA != 0 {
            return Some(Request { form: Form::Lba28, lba: low24 | (u64::from(head) << 24), sectors });
        }
        let lba = geometry.lba(low24 >> 8, head, self.two_deep(reg::LBA_LOW, false))?;
        Some(Request { form: Form::Chs, lba, sectors })
    }

    /// Puts the address and count of a request in, as a command of that form carries them; the unit stays.
    pub fn set_request(&mut self, request: Request, geometry: Geometry) {
        self.set_lba(request.form, request.lba, geometry);
        let [low, high, ..] = request.sectors.to_le_bytes();
        self.set_two_deep(reg::COUNT, low, high);
    }

    /// Puts an address in. Addresses that the form cannot carry are cut off; callers choose a form that can.
    pub fn set_lba(&mut self, form: Form, lba: u64, geometry: Geometry) {
        let (address, head, mode) = match form {
            Form::Lba48 => (lba, 0, device::LBA),
            Form::Lba28 => (lba & 0xff_ffff, lba >> 24, device::LBA),
            Form::Chs => {
                let (cylinder, head, sector) = geometry.chs(lba);
                (u64::from(sector) | (cylinder << 8), u64::from(head), 0)
            }
        };
        let [low, mid, high, low2, mid2, high2, ..] = address.to_le_bytes();
        self.set_two_deep(reg::LBA_LOW, low, low2);
        self.set_two_deep(reg::LBA_MID, mid, mid2);
        self.set_two_deep(reg::LBA_HIGH, high, high2);
        let head = u8::try_from(head & u64::from(device::HEAD)).unwrap_or(0);
        self.device = (self.device & (device::DEV | device::OBSOLETE)) | mode | head;
    }

    fn set_two_deep(&mut self, register: u32, current: u8, previous: u8) {
        let at = index(register);
        if let (Some(to), Some(older)) = (self.current.get_mut(at), self.previous.get_mut(at)) {
            (*to, *older) = (current, previous);
        }
    }
}

fn index(register: u32) -> usize {
    register.wrapping_sub(reg::FEATURES) as usize
}

impl Geometry {
    fn lba(self, cylinder: u64, head: u8, sector: u8) -> Option<u64> {
        let in_track = sector.checked_sub(1)?;
        if head >= self.heads || in_track >= self.sectors {
            return None;
        }
        let track = cylinder.checked_mul(u64::from(self.heads))?.checked_add(u64::from(head))?;
        track.checked_mul(u64::from(self.sectors))?.checked_add(u64::from(in_track))
    }

    fn chs(self, lba: u64) -> (u64, u8, u8) {
        let (heads, sectors) = (u64::from(self.heads).max(1), u64::from(self.sectors).max(1));
        let track = lba.checked_div(sectors).unwrap_or(0);
        let sector = lba.checked_rem(sectors).unwrap_or(0).saturating_add(1);
        let head = track.checked_rem(heads).unwrap_or(0);
        let small = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        (track.checked_div(heads).unwrap_or(0), small(head), small(sector))
    }
}
