//! Physical memory as a device sees it, and what a device must never do there.

use crate::{SimArena, SimMemory};

/// A device did, or was about to do, what the mediator has to prevent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaFault {
    /// Data would come from or go to memory of the VMM outside the live buffers of the arena.
    Vmm { at: u64, len_bytes: u64 },
    /// A descriptor table lies outside the live buffers of the arena: the guest could change it.
    TableOutsideArena { at: u64 },
    /// A descriptor's region crosses a 64 KiB border (Bus Master IDE 1.0, s. 1.2).
    RegionCrosses64K { at: u64, len_bytes: u64 },
    /// The bytes of protected sectors go straight to or come straight from guest memory.
    ProtectedWithoutBounce { at: u64 },
}

/// Guest RAM and arena in one address space. Anything else reads all ones and swallows writes.
pub struct Bus<'a> {
    pub ram: &'a mut SimMemory,
    pub arena: &'a mut SimArena,
    /// Each different fault once.
    pub faults: &'a mut Vec<DmaFault>,
    /// Is a mediator responsible for what the device does? Without one a table may lie anywhere.
    pub mediated: bool,
}

impl Bus<'_> {
    /// Notes a fault.
    pub fn fault(&mut self, fault: DmaFault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Fetches a descriptor.
    pub fn fetch(&mut self, at: u64) -> [u8; 8] {
        if self.mediated && !self.arena.holds(at, 8) {
            self.fault(DmaFault::TableOutsideArena { at });
        }
        let mut entry = [0; 8];
        self.read(at, &mut entry);
        entry
    }

    /// The device reads memory.
    pub fn read(&mut self, at: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(bytes) = self.arena.as_device(at, data.len()) {
            data.copy_from_slice(bytes);
        } else if SimMemory::is_ram(at, data.len() as u64) {
            data.copy_from_slice(self.ram.peek(at, data.len()));
        } else {
            self.outside(at, data.len());
        }
    }

    /// The device writes memory.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        if let Some(bytes) = self.arena.as_device(at, data.len()) {
            bytes.copy_from_slice(data);
        } else if SimMemory::is_ram(at, data.len() as u64) {
            self.ram.poke(at, data);
        } else {
            self.outside(at, data.len());
        }
    }

    fn outside(&mut self, at: u64, len_bytes: usize) {
        let len_bytes = len_bytes as u64;
        if SimMemory::touches_vmm(at, len_bytes) {
            self.fault(DmaFault::Vmm { at, len_bytes });
        }
    }
}
