//! Which ports lead to the mediator, and its wires to the controller.

use crate::SimIde;
use mediator::pci::{Place, Region};
use mediator::{Device, Gpa, HookConflict, Hooks, RegionId, Width};
use std::cell::RefCell;
use std::rc::Rc;

/// The VMM's table of hooked ports.
#[derive(Clone, Default)]
pub struct SimHooks {
    // Shared with `Wires`: the VMM reaches the device where the hooks say that it is.
    regions: Rc<RefCell<Vec<Region>>>,
    /// Ports that belong to something else that the VMM guards.
    pub forbidden: Option<(u16, u16)>,
}

impl SimHooks {
    /// Replaces the table.
    pub fn install(&mut self, regions: Vec<Region>) {
        *self.regions.borrow_mut() = regions;
    }

    /// Region and offset of a hooked port.
    pub fn find(&self, port: u16) -> Option<(RegionId, u32)> {
        self.regions.borrow().iter().find_map(|r| {
            let offset = u32::from(port.checked_sub(r.place?.port()?)?);
            (offset < r.len).then_some((r.region, offset))
        })
    }

    /// Where a region lies now.
    pub fn base(&self, region: RegionId) -> Option<u16> {
        self.regions.borrow().iter().find(|r| r.region == region)?.place?.port()
    }
}

impl Hooks for SimHooks {
    fn move_region(&mut self, region: RegionId, place: Option<Place>) -> Result<(), HookConflict> {
        let mut regions = self.regions.borrow_mut();
        let at = regions.iter().position(|r| r.region == region).ok_or(HookConflict)?;
        let overlaps = |first: u16, len: u32, new: u16| {
            u32::from(new) < u32::from(first) + len && u32::from(first) < u32::from(new) + regions[at].len
        };
        if let Some(new) = place.and_then(Place::port) {
            let lies = |r: &Region| r.place.and_then(Place::port).is_some_and(|port| overlaps(port, r.len, new));
            let taken = regions.iter().enumerate().any(|(i, r)| i != at && lies(r));
            if taken || self.forbidden.is_some_and(|(first, len)| overlaps(first, len.into(), new)) {
                return Err(HookConflict);
            }
        }
        regions[at].place = place;
        Ok(())
    }

    fn move_window(&mut self, _: usize, _: Option<Gpa>) -> Result<(), HookConflict> {
        Err(HookConflict)
    }
}

/// The controller as the VMM reaches it: through the ports where the hooks say that a region lies. Region numbers
/// are the mediator's, so the simulated controller itself knows only ports.
pub struct Wires<'a> {
    pub ide: &'a mut SimIde,
    pub hooks: SimHooks,
}

impl Wires<'_> {
    fn port(&self, region: RegionId, offset: u32) -> Option<u16> {
        self.hooks.base(region)?.checked_add(offset.try_into().ok()?)
    }
}

impl Device for Wires<'_> {
    fn read(&mut self, region: RegionId, offset: u32, width: Width) -> u64 {
        self.port(region, offset).map_or(width.ones(), |port| self.ide.port_in(port, width))
    }

    fn write(&mut self, region: RegionId, offset: u32, width: Width, value: u64) {
        if let Some(port) = self.port(region, offset) {
            self.ide.port_out(port, width, value);
        }
    }

    fn read_string(&mut self, region: RegionId, offset: u32, width: Width, data: &mut [u8]) {
        for element in data.chunks_exact_mut(width.bytes()) {
            let value = self.read(region, offset, width).to_le_bytes();
            element.copy_from_slice(&value[..width.bytes()]);
        }
    }

    fn write_string(&mut self, region: RegionId, offset: u32, width: Width, data: &[u8]) {
        for element in data.chunks_exact(width.bytes()) {
            self.write(region, offset, width, crate::machine::little_endian(element));
        }
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        self.ide.config_read(offset, width)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) {
        self.ide.config_write(offset, width, value);
    }
}
