//! The guard of a function whose registers lie in memory, behind base address registers (PCI 3.0 s. 6.2).
//!
//! The device has its registers where the firmware has placed them, for good: the guest's writes to those base address registers are
//! kept here and never reach it. While the guest has memory decoded, it finds what such a register places where it has placed it
//! itself ([`mediator::Hooks::move_window`]); where that is not possible, nowhere. Sizing works as ever, whether or not the function
//! decodes memory meanwhile. Registers behind ports would be a second way to the same device: the function has none that the guest could
//! see, and decodes none.
//!
//! A function that has lost its addresses was reset, or is another one in the same place. It gets its addresses back when the guest has
//! memory decoded; its mediator is told, and treats it as new ([`MemoryGuard::was_reset`]). One that is of another kind, or has its
//! registers elsewhere, is never switched on.
//!
//! What resets the function behind the mediator's back is kept from it: a power state but D0, a function level reset, a self test.
//! Messages (MSI, MSI-X) are the guest's own, as far as [`crate::message`] lets them go; the table of MSI-X is a further block. Where it
//! cannot be one the function has no MSI-X that the guest could see. Other registers from 40h on are read-only.
//!
//! PCI Express Base Specification 4.0 s. 7.5.3 (Express capability); PCI Power Management Specification 1.2 s. 3.2; Advanced
//! Capabilities for Conventional PCI ECN (2006) for the other function level reset.

use crate::capability::{Capabilities, id};
use crate::message::{self, MSI_END, MSI_X_END, Table};
use crate::{header, is_io, merge};
use alloc::vec::Vec;
use mediator::pci::{AttachError, Place, Region, Window};
use mediator::{Access, ConfigAccess, Ctx, Device, Gpa, Hooks, Op, RegionId, Verdict, Violation, Width};

/// Bits 2:1 of a memory base address register: 64 bits wide, with the next one.
const TYPE: u32 = 3 << 1;
const TYPE_64: u32 = 2 << 1;
/// Bits 3:0 are no part of the address.
const ATTRIBUTES: u32 = 0xf;

/// Power management: control and status, and the state in it.
const PM_CONTROL: u16 = 4;
const PM_STATE: u32 = 3;
/// Express: device capabilities, device control in the low half of its dword, and function level reset in both.
const EXPRESS_CAPABILITIES: u16 = 4;
const EXPRESS_CAN_RESET: u32 = 1 << 28;
const EXPRESS_CONTROL: u16 = 8;
const EXPRESS_RESET: u32 = 1 << 15;
/// Past the last register of the Express capability.
const EXPRESS_END: u16 = 0x3c;
/// Advanced features: function level reset, in the dword of the ID.
const ADVANCED_CAN_RESET: u32 = 1 << 25;
/// Place of the next capability, in the dword of the ID.
const NEXT: u32 = 0xff00;
/// Number of the last base address register.
const MAX_BAR: u8 = 5;
/// Built-in self test, in the dword of [`header::CACHE_LINE`].
const START_TEST: u32 = 1 << 30;

/// A register block: the beginning of what a base address register places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    pub region: RegionId,
    /// Number of the base address register, 0 to 5.
    pub bar: u8,
    /// Bytes that are guarded, of a longer one.
    pub max_len: u32,
}

impl Block {
    fn offset(self) -> u16 {
        header::BAR0.saturating_add(u16::from(self.bar) << 2)
    }

    /// The two halves of the base address register as they stand; the upper one is 0 where there is none.
    fn read(self, device: &mut dyn Device) -> Result<[u32; 2], AttachError> {
        let low = device.config_read(self.offset(), Width::Dword);
        if is_io(low) || ![0, TYPE_64].contains(&(low & TYPE)) {
            return Err(AttachError("its registers are not where they belong: not in memory"));
        }
        let high = if is_wide(low) { device.config_read(self.offset().saturating_add(4), Width::Dword) } else { 0 };
        if high != 0 {
            return Err(AttachError(
                "its registers lie above 4 GiB; a firmware setting (`above 4G decoding`) moves them",
            ));
        }
        if low & !ATTRIBUTES == 0 {
            return Err(AttachError("its registers have no address; switch the controller on in the firmware setup"));
        }
        Ok([low, high])
    }
}

fn is_wide(low: u32) -> bool {
    low & TYPE == TYPE_64
}

/// The blocks that have an address, for [`mediator::pci::Driver::regions`].
pub fn memory_regions(device: &mut dyn Device, blocks: &[Block]) -> Vec<Region> {
    let region = |block: &Block| {
        let [low, _] = block.read(device).ok()?;
        Some(region(*block, low, block.max_len))
    };
    blocks.iter().filter_map(region).collect()
}

fn region(block: Block, low: u32, len: u32) -> Region {
    let at = Gpa(u64::from(low & !ATTRIBUTES));
    Region { region: block.region, place: Some(Place::Memory(at)), len, polled: None }
}

/// A guarded base address register.
#[derive(Clone, Copy, Debug)]
struct Bar {
    block: Block,
    /// As the device has it, and stays.
    home: [u32; 2],
    /// Bits that can be written.
    mask: [u32; 2],
    /// As the guest has written it.
    shown: [u32; 2],
}

impl Bar {
    /// Sizes it; the function decodes nothing meanwhile.
    fn new(device: &mut dyn Device, block: Block) -> Result<Self, AttachError> {
        let home @ [low, high] = block.read(device)?;
        let offset = block.offset();
        let mut size = |offset, before| {
            device.config_write(offset, Width::Dword, u32::MAX);
            let mask = device.config_read(offset, Width::Dword);
            device.config_write(offset, Width::Dword, before);
            mask
        };
        let mask =
            [size(offset, low) & !ATTRIBUTES, if is_wide(low) { size(offset.saturating_add(4), high) } else { 0 }];
        Ok(Self { block, home, mask, shown: home })
    }

    /// Of what lies below 4 GiB.
    fn len(&self) -> u32 {
        let [mask, _] = self.mask;
        mask.wrapping_neg()
    }

    /// Its half in this dword.
    fn half(&self, dword: u16) -> Option<usize> {
        let [low, _] = self.home;
        let half = usize::from(dword.checked_sub(self.block.offset())? >> 2);
        (half == 0 || half == 1 && is_wide(low)).then_some(half)
    }

    fn show(&mut self, half: usize, value: u32) {
        let parts = self.shown.iter_mut().zip(self.home).zip(self.mask);
        if let Some(((shown, home), mask)) = parts.into_iter().nth(half) {
            *shown = (value & mask) | (home & !mask);
        }
    }

    /// The device has it, whatever it was reset by. True: it had lost it.
    fn restore(&self, device: &mut dyn Device) -> bool {
        let [low, high] = self.home;
        let offset = self.block.offset();
        let mut put = |offset, value| {
            let lost = device.config_read(offset, Width::Dword) != value;
            if lost {
                device.config_write(offset, Width::Dword, value);
            }
            lost
        };
        let lost_low = put(offset, low);
        lost_low | (is_wide(low) && put(offset.saturating_add(4), high))
    }

    /// Where the guest has placed it.
    fn place(&self) -> Gpa {
        let [low, high] = self.shown;
        Gpa(u64::from(low & !ATTRIBUTES) | u64::from(high) << 32)
    }

    /// The guest asks for its size.
    fn is_sized(&self) -> bool {
        self.shown.iter().zip(self.mask).any(|(shown, mask)| mask != 0 && shown & mask == mask)
    }

    /// Of the device's own; what it had is there again.
    fn window(&self) -> Window {
        let [low, _] = self.home;
        let home = low & !ATTRIBUTES;
        // No length that a base address register has: it stays at home.
        let len = if self.len().is_power_of_two() && home & self.len().wrapping_sub(1) == 0 { self.len() } else { 0 };
        Window { home: Gpa(home.into()), len }
    }
}

/// Offsets of the base address registers of ports.
fn ports(device: &mut dyn Device) -> Vec<u16> {
    let mut upper = false;
    let is_one = |offset: &u16| {
        let bar = device.config_read(*offset, Width::Dword);
        // The upper half of an address tells no type.
        let is_upper = core::mem::replace(&mut upper, false);
        upper = !is_upper && !is_io(bar) && is_wide(bar);
        !is_upper && is_io(bar)
    };
    (header::BAR0..=header::BAR5).step_by(4).filter(is_one).collect()
}

/// See the module.
pub struct MemoryGuard {
    bars: Vec<Bar>,
    /// Offsets of base address registers of ports.
    ports: Vec<u16>,
    capabilities: Capabilities,
    /// Of MSI-X, which the guest does not see without.
    table: Option<Table>,
    decodes: bool,
    identity: Identity,
    /// It has lost its addresses, and was not switched on since.
    lost: bool,
    /// The machine has slept, and it was not switched on since.
    slept: bool,
    was_reset: bool,
    /// A place where the guest does not find its registers was logged.
    complained: bool,
}

/// What a function cannot be given by configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    vendor_device: u32,
    /// With the revision.
    class: u32,
    /// Where the table of MSI-X would lie, whether or not it is used.
    table: Option<Table>,
}

impl Identity {
    fn read(device: &mut dyn Device, capabilities: &Capabilities) -> Self {
        let vendor_device = device.config_read(header::VENDOR_ID, Width::Dword);
        let class = device.config_read(header::REVISION, Width::Dword);
        let table = capabilities.find(id::MSI_X).map(|it| Table::read(device, it, RegionId(0)));
        Self { vendor_device, class, table }
    }
}

const ELSEWHERE: Violation = Violation {
    what: "configuration: registers placed where something else is, or where they cannot be guarded",
    detail: 0,
};

impl MemoryGuard {
    /// The function decodes its memory afterwards, and no ports. The guest does not run.
    ///
    /// # Errors
    /// The registers of a block lie where they cannot be guarded.
    pub fn attach(device: &mut dyn Device, blocks: &[Block]) -> Result<Self, AttachError> {
        let decodes = header::COMMAND_IO | header::COMMAND_MEMORY;
        let command = device.config_read(header::COMMAND, Width::Word) & !decodes;
        device.config_write(header::COMMAND, Width::Word, command);
        let bars = blocks.iter().map(|&block| Bar::new(device, block)).collect::<Result<Vec<_>, _>>()?;
        let (ports, capabilities) = (ports(device), Capabilities::read(device));
        let identity = Identity::read(device, &capabilities);
        let mut guard = Self {
            bars,
            ports,
            capabilities,
            table: None,
            decodes: true,
            identity,
            lost: false,
            slept: false,
            was_reset: false,
            complained: false,
        };
        guard.attach_table(device);
        device.config_write(header::COMMAND, Width::Word, command | header::COMMAND_MEMORY);
        Ok(guard)
    }

    /// The table of MSI-X becomes a block of its own, or there is no MSI-X.
    fn attach_table(&mut self, device: &mut dyn Device) {
        let Some(capability) = self.capabilities.find(id::MSI_X) else { return };
        let region = RegionId(u8::try_from(self.bars.len()).unwrap_or(u8::MAX));
        let table = Table::read(device, capability, region);
        if self.bar_of(table).is_none() && table.bar <= MAX_BAR {
            // No registers that anybody asked for, but it stays where it is.
            let block = Block { region, bar: table.bar, max_len: 0 };
            self.bars.extend(Bar::new(device, block));
        }
        let fits = |bar: &Bar| bar.block.max_len.min(bar.len()) <= table.offset && table.end() <= bar.len();
        if self.bar_of(table).is_some_and(fits) {
            self.table = Some(table);
        } else {
            log::warn!("the table of MSI-X cannot be guarded; the guest finds no MSI-X");
            message::disable_msi_x(device, capability);
        }
    }

    fn bar_of(&self, table: Table) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.block.bar == table.bar)
    }

    /// What the guest may find elsewhere, for [`mediator::pci::Attached`].
    pub fn windows(&self) -> Vec<Window> {
        self.bars.iter().map(Bar::window).collect()
    }

    /// Where the registers lie, no block longer than what its base address register places; then the table of MSI-X, if there is one.
    pub fn regions(&self) -> Vec<Region> {
        let blocks = self.bars.iter().filter(|bar| bar.block.max_len > 0).map(|bar| {
            let [low, _] = bar.home;
            region(bar.block, low, bar.block.max_len.min(bar.len()))
        });
        let table = self.table.and_then(|table| {
            let [low, _] = self.bar_of(table)?.home;
            let at = Gpa((low & !ATTRIBUTES).saturating_add(table.offset).into());
            Some(Region { region: table.region, place: Some(Place::Memory(at)), len: table.len, polled: None })
        });
        blocks.chain(table).collect()
    }

    /// An access of the guest to the table of MSI-X; `None`: it is of another region.
    pub fn on_table(&self, cx: &mut Ctx<'_>, access: Access) -> Option<Result<Verdict, Violation>> {
        let table = self.table.filter(|table| table.region == access.region)?;
        Some(table.on_access(cx, access))
    }

    /// An access of the guest. `busy`: a transfer is under way, which ends only while the function decodes memory and may master the
    /// bus.
    ///
    /// # Errors
    /// A [`Violation`]: the write vanishes.
    pub fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess, busy: bool) -> Result<Verdict, Violation> {
        match access.op {
            Op::Read => Ok(self.read(cx.device, access)),
            Op::Write(value) => self.write(cx, access, value as u32, busy),
        }
    }

    /// The machine has slept: the function decodes nothing, and has its registers where they were.
    pub fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        self.switch_off(cx);
        for bar in &self.bars {
            bar.restore(cx.device);
        }
        self.slept = true;
    }

    /// It is not the one that was taken over, as its registers tell: it is switched off, and asked anew each time that the guest has it
    /// switched on ([`MemoryGuard::was_reset`]).
    pub fn distrust(&mut self, cx: &mut Ctx<'_>) {
        self.switch_off(cx);
        self.lost = true;
    }

    /// The function decodes nothing, until the guest has it decode its memory again.
    fn switch_off(&mut self, cx: &mut Ctx<'_>) {
        let off = header::COMMAND_IO | header::COMMAND_MEMORY | header::COMMAND_MASTER;
        let command = cx.device.config_read(header::COMMAND, Width::Word) & !off;
        cx.device.config_write(header::COMMAND, Width::Word, command);
        self.decodes = false;
        self.hide(cx.hooks);
    }

    /// Did the function lose its addresses, and has it got them back, since this was asked last? Then it has forgotten all else too, and
    /// may be another one of the same kind. It decodes memory now.
    pub fn was_reset(&mut self) -> bool {
        core::mem::take(&mut self.was_reset)
    }

    /// The guest finds nothing anywhere.
    fn hide(&self, hooks: &mut dyn Hooks) {
        for window in 0..self.bars.len() {
            // Nowhere is always free.
            let _ = hooks.move_window(window, None);
        }
    }

    /// The guest finds everything where it has placed it, but for what cannot be there. False: that is not all.
    fn show(&self, hooks: &mut dyn Hooks) -> bool {
        // First nowhere: two may have changed places.
        self.hide(hooks);
        let mut all = true;
        for (window, bar) in self.bars.iter().enumerate() {
            all &= hooks.move_window(window, Some(bar.place())).is_ok();
        }
        all
    }

    /// As far as the device tells, the function is of the kind that was taken over, with its registers behind the same base address
    /// registers. It decodes nothing, and has its addresses.
    fn is_as_it_was(&self, device: &mut dyn Device) -> bool {
        let capabilities = Capabilities::read(device);
        let is_same = |bar: &Bar| {
            let now = Bar::new(device, bar.block);
            now.is_ok_and(|now| (now.home, now.mask) == (bar.home, bar.mask))
        };
        self.bars.iter().all(is_same)
            && self.ports == ports(device)
            && Identity::read(device, &capabilities) == self.identity
            && capabilities == self.capabilities
    }

    /// Does the function decode its memory? If not, what is read from it is nobody's answer (all ones, or 0 in QEMU), and what is
    /// written goes nowhere: no access of the guest is one to its registers then.
    pub fn decodes(&self) -> bool {
        self.decodes
    }

    /// Does the function decode its memory, and may it master the bus?
    pub fn can_transfer(device: &mut dyn Device) -> bool {
        let needed = header::COMMAND_MEMORY | header::COMMAND_MASTER;
        device.config_read(header::COMMAND, Width::Word) & needed == needed
    }

    fn read(&self, device: &mut dyn Device, access: ConfigAccess) -> Verdict {
        let dword = access.offset & !3;
        let part = |value: u32| {
            let shift = u32::from(access.offset & 3).wrapping_mul(8);
            Verdict::Value(u64::from(value.wrapping_shr(shift)) & access.width.ones())
        };
        if let Some((bar, half)) = self.bars.iter().find_map(|bar| Some((bar, bar.half(dword)?))) {
            return part(bar.shown.get(half).copied().unwrap_or(u32::MAX));
        }
        if self.ports.contains(&dword) {
            return part(0);
        }
        // No reset that the guest would not get.
        match self.register_of(dword) {
            Some((id::EXPRESS, EXPRESS_CAPABILITIES)) => {
                part(device.config_read(dword, Width::Dword) & !EXPRESS_CAN_RESET)
            }
            // One without meaning in its place (PCI Code and ID Assignment Specification 1.11 s. 2), so that the list goes on.
            Some((id::MSI_X, 0)) if self.table.is_none() => part(device.config_read(dword, Width::Dword) & NEXT),
            Some((id::MSI_X, ..MSI_X_END)) if self.table.is_none() => part(0),
            Some((id::ADVANCED_FEATURES, 0)) => part(device.config_read(dword, Width::Dword) & !ADVANCED_CAN_RESET),
            _ => Verdict::Passthrough,
        }
    }

    /// ID and offset within of the capability that a register may be of.
    fn register_of(&self, dword: u16) -> Option<(u8, u16)> {
        let of = self.capabilities.before(dword)?;
        Some((of.id, dword.saturating_sub(of.offset)))
    }

    fn write(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess, value: u32, busy: bool) -> Result<Verdict, Violation> {
        let dword = access.offset & !3;
        let found = self.bars.iter_mut().find_map(|bar| bar.half(dword).map(|half| (bar, half)));
        if let Some((bar, half)) = found {
            let before = bar.shown.get(half).copied().unwrap_or(0);
            bar.show(half, merge(before, access.offset, access.width, value));
            let (at, sized) = (bar.place(), bar.is_sized());
            let lost = self.decodes && !self.show(cx.hooks) && !sized;
            if lost && !core::mem::replace(&mut self.complained, true) {
                log::warn!(
                    "{} ({:#x}): the guest does not find them; further ones are not logged",
                    ELSEWHERE.what,
                    at.0
                );
            }
            return Ok(Verdict::Done);
        }
        let written = merge(0, access.offset, access.width, value);
        match dword {
            header::COMMAND => self.write_command(cx, access, value, busy),
            header::CACHE_LINE if written & START_TEST == 0 => Ok(Verdict::Passthrough),
            header::BAR0..=header::BAR5 if self.ports.contains(&dword) => Ok(Verdict::Done),
            header::BAR0..=header::BAR5 | header::ROM_BAR | header::INTERRUPT_LINE => Ok(Verdict::Passthrough),
            header::DEVICE_SPECIFIC..=0xff => self.write_capability(cx, access, written),
            _ => Err(Violation {
                what: "configuration: a register that is not the guest's",
                detail: access.offset.into(),
            }),
        }
    }

    fn write_command(
        &mut self,
        cx: &mut Ctx<'_>,
        access: ConfigAccess,
        value: u32,
        busy: bool,
    ) -> Result<Verdict, Violation> {
        let device = &mut *cx.device;
        let old = device.config_read(header::COMMAND, Width::Dword);
        if old == u32::MAX {
            // Nothing is there. What may come between this look and a write would be switched on as it is.
            return Ok(Verdict::Done);
        }
        let new = merge(old, access.offset, access.width, value);
        let refused = |what| Err(Violation { what, detail: new.into() });
        if busy && old & !new & (header::COMMAND_MEMORY | header::COMMAND_MASTER) != 0 {
            return refused("configuration: decoding or mastering switched off in mid-transfer");
        }
        if new & !old & header::COMMAND_MEMORY != 0 {
            for bar in &self.bars {
                self.lost |= bar.restore(device);
            }
            // Switched off by nobody that asked here.
            self.lost |= self.decodes;
            if (self.lost || self.slept) && !self.is_as_it_was(device) {
                self.decodes = false;
                self.hide(cx.hooks);
                return refused(
                    "configuration: another function than the one that was taken over, which is not switched on",
                );
            }
            if !self.show(cx.hooks) {
                self.decodes = false;
                self.hide(cx.hooks);
                return Err(Violation { detail: new.into(), ..ELSEWHERE });
            }
            self.was_reset = core::mem::take(&mut self.lost);
            self.slept = false;
        }
        let ports = header::COMMAND_IO.wrapping_shr(u32::from(access.offset & 3).wrapping_mul(8));
        device.config_write(access.offset, access.width, value & !ports);
        self.decodes = new & header::COMMAND_MEMORY != 0;
        if !self.decodes {
            self.hide(cx.hooks);
        }
        Ok(Verdict::Done)
    }

    /// `written`: in its place in the dword.
    fn write_capability(&self, cx: &mut Ctx<'_>, access: ConfigAccess, written: u32) -> Result<Verdict, Violation> {
        let mut without = |bits: u32| {
            let shift = u32::from(access.offset & 3).wrapping_mul(8);
            cx.device.config_write(access.offset, access.width, (written & !bits).wrapping_shr(shift));
            Ok(Verdict::Done)
        };
        match self.register_of(access.offset & !3) {
            Some((id::MSI, at @ ..MSI_END)) => message::write_msi(cx, access, written, at),
            Some((id::MSI_X, ..MSI_X_END)) if self.table.is_some() => Ok(Verdict::Passthrough),
            Some((id::POWER_MANAGEMENT, PM_CONTROL)) => without(PM_STATE),
            Some((id::EXPRESS, EXPRESS_CONTROL)) => without(EXPRESS_RESET),
            Some((id::EXPRESS, ..EXPRESS_END)) => Ok(Verdict::Passthrough),
            _ => Err(Violation { what: "configuration: a register of the device's own", detail: access.offset.into() }),
        }
    }
}
