//! How a controller's registers and ports are reached: the two ends that a mediator sees as its device and its hooks.

use crate::port_table::{MAX_REGIONS, PortTable, RegionOwner};
use crate::{Ports, config_ports};
use core::cell::Cell;
use mediator::pci::{Bdf, PortRegion};
use mediator::{Device, HookConflict, Hooks, Op, RegionId, Width};

/// A register block of a controller.
pub(crate) struct Region {
    pub id: RegionId,
    pub len: u16,
    /// In a cell, since a mediator may move its regions while it holds its device.
    pub base: Cell<Option<u16>>,
    /// Offset of the polled register.
    polled: Option<u16>,
}

impl Region {
    /// The port of the polled register, if there is one and it lies anywhere.
    pub fn polled_port(&self) -> Option<u16> {
        self.polled.filter(|&offset| offset < self.len).and_then(|offset| self.base.get()?.checked_add(offset))
    }
}

/// Where a controller's registers lie.
pub(crate) struct Wiring {
    /// Number of the controller.
    pub controller: usize,
    pub function: Bdf,
    /// Unused ones have no ports and lie nowhere.
    regions: [Region; MAX_REGIONS],
}

impl Wiring {
    /// `None`: more than [`MAX_REGIONS`] regions.
    pub fn new(controller: usize, function: Bdf, regions: &[PortRegion]) -> Option<Self> {
        let mut rest = regions.iter();
        let regions = core::array::from_fn(|_| match rest.next() {
            Some(&PortRegion { region, base, len, polled }) => {
                Region { id: region, len, base: Cell::new(base), polled }
            }
            None => Region { id: RegionId(u8::MAX), len: 0, base: Cell::new(None), polled: None },
        });
        rest.next().is_none().then_some(Self { controller, function, regions })
    }

    /// The regions with their owners.
    pub fn regions(&self) -> impl Iterator<Item = (RegionOwner, &Region)> {
        let controller = self.controller;
        let owner = move |region| RegionOwner { controller, region };
        self.regions.iter().enumerate().map(move |(number, region)| (owner(number), region))
    }

    #[inline]
    pub fn region(&self, number: usize) -> Option<&Region> {
        self.regions.get(number)
    }

    /// The port of a register, or `None` while its region lies nowhere.
    #[inline]
    fn port(&self, region: RegionId, offset: u16, width: Width) -> Option<u16> {
        let region = self.regions.iter().find(|candidate| candidate.id == region)?;
        let end = offset.checked_add(width.bytes() as u16)?;
        if end > region.len { None } else { region.base.get()?.checked_add(offset) }
    }
}

/// The registers of one controller where they lie now.
pub(crate) struct MappedDevice<'a, P> {
    pub ports: &'a mut P,
    pub wiring: &'a Wiring,
}

impl<P: Ports> Device for MappedDevice<'_, P> {
    fn read(&mut self, region: RegionId, offset: u16, width: Width) -> u64 {
        match self.wiring.port(region, offset, width) {
            Some(port) => u64::from(self.ports.read(port, width)),
            None => width.ones(),
        }
    }

    fn write(&mut self, region: RegionId, offset: u16, width: Width, value: u64) {
        if let Some(port) = self.wiring.port(region, offset, width) {
            self.ports.write(port, width, value as u32);
        }
    }

    fn read_string(&mut self, region: RegionId, offset: u16, width: Width, data: &mut [u8]) {
        match self.wiring.port(region, offset, width) {
            Some(port) => self.ports.read_string(port, width, data),
            None => data.fill(0xff),
        }
    }

    fn write_string(&mut self, region: RegionId, offset: u16, width: Width, data: &[u8]) {
        if let Some(port) = self.wiring.port(region, offset, width) {
            self.ports.write_string(port, width, data);
        }
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        config_ports::access_function(self.ports, self.wiring.function, offset, width, Op::Read)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        let op = Op::Write(u64::from(value));
        config_ports::access_function(self.ports, self.wiring.function, offset, width, op);
    }
}

/// The hooks of one controller.
pub(crate) struct PortHooks<'a> {
    pub table: &'a mut PortTable,
    pub wiring: &'a Wiring,
}

impl Hooks for PortHooks<'_> {
    fn move_region(&mut self, region: RegionId, base: Option<u16>) -> Result<(), HookConflict> {
        let (owner, region) = self.wiring.regions().find(|(_, it)| it.id == region).ok_or(HookConflict)?;
        let owner = owner.encode();
        if base.is_some_and(|base| !self.table.is_free_for(owner, base, region.len)) {
            return Err(HookConflict);
        }
        if let Some(old) = region.base.replace(base) {
            self.table.release(old, region.len);
        }
        if let Some(base) = base {
            self.table.claim(owner, base, region.len);
        }
        Ok(())
    }
}

/// While a driver takes a controller over, nothing is hooked yet.
pub(crate) struct NoHooks;

impl Hooks for NoHooks {
    fn move_region(&mut self, _: RegionId, _: Option<u16>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }
}
