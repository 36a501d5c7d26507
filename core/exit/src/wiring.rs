//! How a controller's registers are reached: the two ends that a mediator sees as its device and its hooks.

use crate::config_ports::ConfigPorts;
use crate::port_table::{MAX_REGIONS, PortTable, RegionOwner};
use crate::windows::{Moved, Windows};
use crate::{DeviceMemory, Ports};
use alloc::vec::Vec;
use core::cell::Cell;
use mediator::pci::{self, Bdf, Place};
use mediator::{Device, Gpa, HookConflict, Hooks, Op, RegionId, Width};

/// All that there are.
const PORTS: u32 = 1 << 16;

/// A register block of a controller, in ports or in memory.
#[derive(Default)]
pub(crate) struct Region {
    /// Number of ports, or of bytes.
    pub len: u32,
    /// First port. In a cell, since a mediator may move its regions while it holds its device.
    pub base: Cell<Option<u16>>,
    /// First byte in memory, as the device has it.
    pub memory: Option<Gpa>,
    /// Offset of the polled register.
    pub polled: Option<u16>,
}

impl Region {
    /// Number of ports; none in memory.
    pub fn ports(&self) -> u16 {
        if self.memory.is_some() { 0 } else { u16::try_from(self.len).unwrap_or(u16::MAX) }
    }
}

/// Where a controller's registers lie.
pub(crate) struct Wiring {
    /// Number of the controller.
    pub controller: usize,
    pub function: Bdf,
    /// By number. Unused ones have no ports and lie nowhere.
    regions: [Region; MAX_REGIONS],
}

impl Wiring {
    /// `None`: more than [`MAX_REGIONS`] regions, or their numbers are not 0, 1, 2, ..., or one has more ports than there are.
    pub fn new(controller: usize, function: Bdf, regions: &[pci::Region]) -> Option<Self> {
        let mut wiring = Self { controller, function, regions: Default::default() };
        for (number, &pci::Region { region, place, len, polled }) in (0_u8..).zip(regions) {
            let slot = wiring.regions.get_mut(usize::from(number)).filter(|_| region == RegionId(number))?;
            let (base, memory) = (place.and_then(Place::port), place.and_then(Place::memory));
            if memory.is_none() && len > PORTS {
                return None;
            }
            let polled = polled.map(u16::try_from).transpose().ok()?;
            *slot = Region { len, base: Cell::new(base), memory, polled };
        }
        Some(wiring)
    }

    /// The regions with their owners.
    pub fn regions(&self) -> impl Iterator<Item = (RegionOwner, &Region)> {
        let controller = self.controller;
        self.regions.iter().enumerate().map(move |(region, it)| (RegionOwner { controller, region }, it))
    }

    #[inline]
    pub fn region(&self, number: usize) -> Option<&Region> {
        self.regions.get(number)
    }

    #[inline]
    fn region_with(&self, region: RegionId, offset: u32, width: Width) -> Option<&Region> {
        let end = u64::from(offset).wrapping_add(width.bytes() as u64);
        self.region(region.0.into()).filter(|region| end <= region.len.into())
    }

    /// The port of a register, or `None` while its region lies nowhere, or in memory.
    #[inline]
    fn port(&self, region: RegionId, offset: u32, width: Width) -> Option<u16> {
        self.region_with(region, offset, width)?.base.get()?.checked_add(offset as u16)
    }

    /// Where a register is: a port, or in memory, where the bus makes one access of what is aligned.
    #[inline]
    fn place(&self, region: RegionId, offset: u32, width: Width) -> Option<Place> {
        let region = self.region_with(region, offset, width)?;
        if let Some(base) = region.base.get() {
            return base.checked_add(offset as u16).map(Place::Port);
        }
        let at = region.memory?.checked_add(offset.into())?;
        (at.0 & (width.bytes() as u64).wrapping_sub(1) == 0).then_some(Place::Memory(at))
    }
}

/// The registers of one controller where they lie now.
pub(crate) struct MappedDevice<'a, P, D> {
    pub ports: &'a mut P,
    pub memory: &'a mut D,
    pub config: &'a ConfigPorts,
    pub wiring: &'a Wiring,
}

impl<P: Ports, D: DeviceMemory> Device for MappedDevice<'_, P, D> {
    fn read(&mut self, region: RegionId, offset: u32, width: Width) -> u64 {
        match self.wiring.place(region, offset, width) {
            Some(Place::Port(port)) => u64::from(self.ports.read(port, width)),
            Some(Place::Memory(at)) => self.memory.read(at, width),
            None => width.ones(),
        }
    }

    fn write(&mut self, region: RegionId, offset: u32, width: Width, value: u64) {
        match self.wiring.place(region, offset, width) {
            Some(Place::Port(port)) => self.ports.write(port, width, value as u32),
            Some(Place::Memory(at)) => self.memory.write(at, width, value),
            None => {}
        }
    }

    fn read_string(&mut self, region: RegionId, offset: u32, width: Width, data: &mut [u8]) {
        match self.wiring.port(region, offset, width) {
            Some(port) => self.ports.read_string(port, width, data),
            None => data.fill(0xff),
        }
    }

    fn write_string(&mut self, region: RegionId, offset: u32, width: Width, data: &[u8]) {
        if let Some(port) = self.wiring.port(region, offset, width) {
            self.ports.write_string(port, width, data);
        }
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.config.access_function(self.ports, self.wiring.function, offset, width, Op::Read)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        let op = Op::Write(u64::from(value));
        self.config.access_function(self.ports, self.wiring.function, offset, width, op);
    }
}

/// Ports that begin or cease to leave the guest.
#[derive(Clone, Copy)]
pub(crate) struct InterceptChange {
    pub first: u16,
    pub len: u16,
    pub on: bool,
}

/// What the machine is to be told of.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Ports(InterceptChange),
    Window(Moved),
}

/// The hooks of one controller.
pub(crate) struct ControllerHooks<'a> {
    pub table: &'a PortTable,
    pub windows: &'a Windows,
    pub wiring: &'a Wiring,
    /// Otherwise nothing is moved: another CPU could be on its way to a port.
    pub others_stand: bool,
    /// Not yet told to the machine, which the mediator's call keeps borrowed.
    pub changes: &'a mut Vec<Change>,
}

impl ControllerHooks<'_> {
    /// A region of ports, which may go to `place`.
    fn movable(&self, number: usize, place: Option<Place>) -> Option<(&Region, Option<u16>)> {
        let base = match place {
            Some(Place::Memory(_)) => return None,
            Some(Place::Port(port)) => Some(port),
            None => None,
        };
        let region = self.wiring.region(number).filter(|region| region.ports() > 0)?;
        self.others_stand.then_some((region, base))
    }
}

impl Hooks for ControllerHooks<'_> {
    fn move_region(&mut self, region: RegionId, place: Option<Place>) -> Result<(), HookConflict> {
        let number = usize::from(region.0);
        let (region, base) = self.movable(number, place).ok_or(HookConflict)?;
        let owner = RegionOwner { controller: self.wiring.controller, region: number }.encode();
        let (len, polled) = (region.ports(), region.polled);
        if base.is_some_and(|base| !self.table.claim(owner, base, len, polled)) {
            return Err(HookConflict);
        }
        if let Some(old) = region.base.replace(base) {
            self.table.release(owner, old, len);
            self.changes.push(Change::Ports(InterceptChange { first: old, len, on: false }));
        }
        if let Some(base) = base {
            // Again: where the two places overlap, the old one has just been released.
            let _ours = self.table.claim(owner, base, len, polled);
            self.changes.push(Change::Ports(InterceptChange { first: base, len, on: true }));
        }
        Ok(())
    }

    fn move_window(&mut self, window: usize, place: Option<Gpa>) -> Result<(), HookConflict> {
        if !self.others_stand {
            return Err(HookConflict);
        }
        let moved = self.windows.place(self.wiring.controller, window, place)?;
        self.changes.extend(moved.map(Change::Window));
        Ok(())
    }
}

/// Where nothing is to be moved.
pub(crate) struct NoHooks;

impl Hooks for NoHooks {
    fn move_region(&mut self, _: RegionId, _: Option<Place>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }

    fn move_window(&mut self, _: usize, _: Option<Gpa>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }
}
