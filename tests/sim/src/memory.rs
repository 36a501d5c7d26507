//! The guest's RAM, with holes, and with the VMM's memory in its middle.

use mediator::{BusAddr, Gpa, GuestMemory, NotRam, Width};
use std::ops::Range;

/// Conventional memory.
pub const RAM_LOW: Range<u64> = 0..0xa_0000;
/// RAM up to the VMM's.
pub const RAM_HIGH: Range<u64> = 0x10_0000..0x400_0000;
/// The VMM's memory; its upper half is the DMA arena.
pub const VMM: Range<u64> = 0x400_0000..0x480_0000;
/// The part of the VMM's memory that devices may address.
pub const ARENA: Range<u64> = 0x440_0000..0x480_0000;
/// RAM above the VMM's.
pub const RAM_TOP: Range<u64> = 0x480_0000..0x500_0000;

/// Guest RAM. Gpa and bus address are the same number.
pub struct SimMemory {
    bytes: Vec<u8>,
    /// Every byte that was read through [`GuestMemory`] is changed right after: a copy read twice differs. The only
    /// thing that finds double fetches.
    pub changes_after_read: bool,
}

impl Default for SimMemory {
    fn default() -> Self {
        Self { bytes: vec![0; RAM_TOP.end as usize], changes_after_read: false }
    }
}

impl SimMemory {
    /// Is the whole range RAM of the guest?
    pub fn is_ram(at: u64, len_bytes: u64) -> bool {
        let Some(end) = at.checked_add(len_bytes) else { return false };
        [RAM_LOW, RAM_HIGH, RAM_TOP].iter().any(|ram| ram.start <= at && end <= ram.end)
    }

    /// Does the range touch memory of the VMM, or wrap?
    pub fn touches_vmm(at: u64, len_bytes: u64) -> bool {
        at.checked_add(len_bytes).is_none_or(|end| at < VMM.end && VMM.start < end)
    }

    /// What the guest itself reads there, without any effect.
    ///
    /// # Panics
    /// When the range is not RAM.
    pub fn peek(&self, at: u64, len_bytes: usize) -> &[u8] {
        assert!(Self::is_ram(at, len_bytes as u64), "test reads {at:#x}, which is no RAM");
        &self.bytes[at as usize..at as usize + len_bytes]
    }

    /// What the guest itself writes there.
    ///
    /// # Panics
    /// When the range is not RAM.
    pub fn poke(&mut self, at: u64, data: &[u8]) {
        assert!(Self::is_ram(at, data.len() as u64), "test writes {at:#x}, which is no RAM");
        self.bytes[at as usize..at as usize + data.len()].copy_from_slice(data);
    }
}

impl GuestMemory for SimMemory {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        if !Self::is_ram(from.0, data.len() as u64) {
            return Err(NotRam(from));
        }
        let source = &mut self.bytes[from.0 as usize..from.0 as usize + data.len()];
        data.copy_from_slice(source);
        if self.changes_after_read {
            source.iter_mut().for_each(|byte| *byte = !*byte);
        }
        Ok(())
    }

    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        if !Self::is_ram(to.0, data.len() as u64) {
            return Err(NotRam(to));
        }
        self.poke(to.0, data);
        Ok(())
    }

    fn compare_exchange(&mut self, at: Gpa, width: Width, old: u64, new: u64) -> Result<bool, NotRam> {
        let len = width.bytes();
        if !Self::is_ram(at.0, len as u64) || !at.0.is_multiple_of(len as u64) {
            return Err(NotRam(at));
        }
        let equal = self.bytes[at.0 as usize..at.0 as usize + len] == old.to_le_bytes()[..len];
        if equal {
            self.poke(at.0, &new.to_le_bytes()[..len]);
        }
        Ok(equal)
    }

    fn bus_addr(&self, of: Gpa, len_bytes: u64) -> Result<BusAddr, NotRam> {
        if Self::is_ram(of.0, len_bytes) { Ok(BusAddr(of.0)) } else { Err(NotRam(of)) }
    }
}
