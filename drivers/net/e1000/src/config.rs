//! The card's PCI configuration: `pci`'s guard, and what a card that the VMM drives itself needs besides.
//!
//! The VMM's card decodes its registers and masters the bus whatever the guest has written; the guest reads what it wrote. MSI-X is hidden: with
//! it drivers do not read ICR, which is where the guest's causes are told. The card never wakes the machine, and says so (PCI Power Management
//! 1.2 s. 3.2.3).
//!
//! The ports of the 82540 and 82545 (IOADDR, IODATA; SDM s. 13.2.2) are a second way to the registers, by which Linux resets the card. The card
//! itself never decodes them: they lead to the model, stay where firmware has placed them, and can be sized. Those of the 82574, which
//! nobody uses, the guard hides.

use crate::regs::REGISTERS;
use crate::spec::{Kind, REGISTERS_BYTES};
use alloc::vec::Vec;
use mediator::pci::{AttachError, Place, Region};
use mediator::{Access, ConfigAccess, Ctx, Device, Op, RegionId, Verdict, Violation, Width};
use pci::{Block, Capabilities, MemoryGuard, header, id, merge};

/// The 82574's flash, behind BAR1: nothing of it is the guest's.
pub const FLASH: RegionId = RegionId(1);
/// IOADDR and IODATA of the 82540 and 82545.
pub const IOADDR: u32 = 0;
pub const IODATA: u32 = 4;
const PORTS_BYTES: u32 = 8;
/// What a base address register of ports can place, as the guest sees it: 64 of them, below 64 Ki.
const PORT_BITS: u32 = 0xffc0;

const REGISTER_BLOCK: Block = Block { region: REGISTERS, bar: 0, max_len: REGISTERS_BYTES };
const FLASH_BLOCK: Block = Block { region: FLASH, bar: 1, max_len: 0x2_0000 };

/// What the VMM needs switched on.
const NEEDED: u32 = header::COMMAND_MEMORY | header::COMMAND_MASTER;
/// Place of the next capability, in the dword of the ID.
const NEXT: u32 = 0xff00;
const MSI_X_END: u16 = 12;
/// Power management: states in which the card could wake the machine, and the switch for it.
const PM_WAKES: u32 = 0xf800_0000;
const PM_CONTROL: u16 = 4;
const PM_WAKE: u32 = 1 << 8;

/// A base address register of ports: its place, and its value at first and as the guest has written it.
struct Ports {
    /// Behind those in memory.
    region: RegionId,
    bar: u16,
    home: u32,
    shown: u32,
}

impl Ports {
    /// `None`: it has none, or firmware has placed them nowhere.
    fn find(device: &mut dyn Device, kind: Kind, region: RegionId) -> Option<Self> {
        if kind.is_82574() {
            return None;
        }
        // BAR0 may be wide; an upper half of 0 is no base address register of ports.
        (header::BAR0..=header::BAR5).step_by(4).skip(1).find_map(|bar| {
            let home = device.config_read(bar, Width::Dword);
            (pci::is_io(home) && home & PORT_BITS != 0).then_some(Self { region, bar, home, shown: home })
        })
    }

    fn region(&self) -> Option<Region> {
        let place = Place::Port(u16::try_from(self.home & PORT_BITS).ok()?);
        Some(Region { region: self.region, place: Some(place), len: PORTS_BYTES, polled: None })
    }
}

/// See the module.
pub struct Config {
    pub guard: MemoryGuard,
    /// Of [`NEEDED`], what the guest has switched on.
    shown: u32,
    power: Option<u16>,
    msi_x: Option<u16>,
    ports: Option<Ports>,
    /// The guest has its ports decoded.
    ports_on: bool,
}

/// Before the guard is there.
pub fn regions(device: &mut dyn Device) -> Vec<Region> {
    pci::memory_regions(device, &[REGISTER_BLOCK])
}

fn command(device: &mut dyn Device) -> u32 {
    device.config_read(header::COMMAND, Width::Word)
}

fn switch(device: &mut dyn Device, bits: u32) {
    let now = command(device);
    if now & NEEDED != bits {
        device.config_write(header::COMMAND, Width::Word, now & !NEEDED | bits);
    }
}

impl Config {
    /// The card decodes its registers and masters the bus afterwards.
    ///
    /// # Errors
    /// Those of the guard.
    pub fn attach(device: &mut dyn Device, kind: Kind) -> Result<Self, AttachError> {
        // The guard begins with a card that decodes its memory.
        let shown = command(device) & NEEDED | header::COMMAND_MEMORY;
        let ports_on = command(device) & header::COMMAND_IO != 0;
        let has_flash = kind.is_82574() && !pci::memory_regions(device, &[FLASH_BLOCK]).is_empty();
        let blocks: &[Block] = if has_flash { &[REGISTER_BLOCK, FLASH_BLOCK] } else { &[REGISTER_BLOCK] };
        let guard = MemoryGuard::attach(device, blocks)?;
        if guard.regions().first().is_none_or(|region| region.len < REGISTERS_BYTES) {
            return Err(AttachError("its registers are fewer than such a card has"));
        }
        let behind = u8::try_from(guard.regions().len()).map_or(RegionId(u8::MAX), RegionId);
        let ports = Ports::find(device, kind, behind);
        let capabilities = Capabilities::read(device);
        let place = |id| capabilities.find(id).map(|it| it.offset);
        if let Some(found) = capabilities.find(id::MSI_X) {
            pci::message::disable_msi_x(device, found);
        }
        switch(device, NEEDED);
        Ok(Self { guard, shown, power: place(id::POWER_MANAGEMENT), msi_x: place(id::MSI_X), ports, ports_on })
    }

    /// Everything that leads to the card.
    pub fn regions(&self) -> Vec<Region> {
        self.guard.regions().into_iter().chain(self.ports.as_ref().and_then(Ports::region)).collect()
    }

    /// Is it the ports'?
    pub fn is_ports(&self, region: RegionId) -> bool {
        self.ports.as_ref().is_some_and(|ports| ports.region == region)
    }

    /// Do the ports lead to the card, as the guest has it?
    pub fn decodes_ports(&self) -> bool {
        self.ports_on && self.ports.as_ref().is_some_and(|ports| ports.shown == ports.home)
    }

    /// The machine has slept.
    pub fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        self.guard.on_resume(cx);
        (self.shown, self.ports_on) = (0, false);
        switch(cx.device, NEEDED);
    }

    /// Which dword of a capability this is.
    fn part_of(capability: Option<u16>, len: u16, dword: u16) -> Option<u16> {
        dword.checked_sub(capability?).filter(|at| *at < len)
    }

    /// An access of the guest. `ours`: the VMM drives the card.
    ///
    /// # Errors
    /// A [`Violation`]: the write vanishes.
    pub fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess, ours: bool) -> Result<Verdict, Violation> {
        match access.op {
            Op::Read => self.read(cx, access, ours),
            Op::Write(value) => self.write(cx, access, value, ours),
        }
    }

    fn read(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess, ours: bool) -> Result<Verdict, Violation> {
        let dword = access.offset & !3;
        let now = |cx: &mut Ctx<'_>| cx.device.config_read(dword, Width::Dword);
        let value = match (Self::part_of(self.msi_x, MSI_X_END, dword), Self::part_of(self.power, 4, dword)) {
            (Some(0), _) => now(cx) & NEXT,
            (Some(_), _) => 0,
            (_, Some(0)) => now(cx) & !PM_WAKES,
            _ if dword == header::COMMAND && ours => {
                let io = if self.ports_on && self.ports.is_some() { header::COMMAND_IO } else { 0 };
                now(cx) & !NEEDED | self.shown | io
            }
            _ if self.is_of_ports(dword) => self.ports.as_ref().map_or(0, |ports| ports.shown),
            _ => return self.guard.on_config(cx, access, false),
        };
        let shift = u32::from(access.offset & 3).wrapping_mul(8);
        Ok(Verdict::Value(u64::from(value.wrapping_shr(shift)) & access.width.ones()))
    }

    fn is_of_ports(&self, dword: u16) -> bool {
        self.ports.as_ref().is_some_and(|ports| ports.bar == dword)
    }

    fn write(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess, value: u64, ours: bool) -> Result<Verdict, Violation> {
        let dword = access.offset & !3;
        if Self::part_of(self.msi_x, MSI_X_END, dword).is_some() {
            return Err(Violation { what: "configuration: MSI-X, which is hidden", detail: access.offset.into() });
        }
        if let Some(ports) = self.ports.as_mut().filter(|ports| ports.bar == dword) {
            let new = merge(ports.shown, access.offset, access.width, value as u32);
            ports.shown = new & PORT_BITS | ports.home & !PORT_BITS;
            return Ok(Verdict::Done);
        }
        let mut access = access;
        if Self::part_of(self.power, 8, dword) == Some(PM_CONTROL) {
            let shift = u32::from(access.offset & 3).wrapping_mul(8);
            access.op = Op::Write(value & !u64::from(PM_WAKE.wrapping_shr(shift)));
        }
        let placing = (header::BAR0..=header::BAR5).contains(&dword) || dword == header::COMMAND;
        if !ours || !placing {
            return self.guard.on_config(cx, access, false);
        }
        // The guard sees the card as the guest has it.
        switch(cx.device, self.shown);
        let verdict = match self.guard.on_config(cx, access, false) {
            Ok(Verdict::Passthrough) => {
                // The width of a configuration access is a dword at most.
                cx.device.config_write(access.offset, access.width, value as u32);
                Ok(Verdict::Done)
            }
            other => other,
        };
        if dword == header::COMMAND && verdict.is_ok() {
            let io = if self.ports_on { header::COMMAND_IO } else { 0 };
            let new = merge(self.shown | io, access.offset, access.width, value as u32);
            (self.shown, self.ports_on) = (new & NEEDED, new & header::COMMAND_IO != 0);
        }
        switch(cx.device, NEEDED);
        verdict
    }

    /// An access to what is no register of the card's.
    ///
    /// # Errors
    /// A [`Violation`]: there is nothing.
    pub fn on_other(&self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        match (access.region, access.op) {
            (FLASH, Op::Read) => Ok(Verdict::Value(access.width.ones())),
            (FLASH, Op::Write(_)) => Ok(Verdict::Done),
            _ => {
                let nothing = Violation { what: "e1000: access to no register", detail: access.offset.into() };
                self.guard.on_table(cx, access).unwrap_or(Err(nothing))
            }
        }
    }
}
