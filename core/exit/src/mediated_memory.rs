//! Register blocks of controllers in device memory: their pages are hooked, and accesses lead to the mediator.
//!
//! The device has them where they were when the controller was taken over. Where the guest finds them is [`crate::windows`]' matter:
//! an access that comes here is first translated to one at home.

use crate::ask::RegisterAccess;
use crate::local_apic::MESSAGES;
use crate::mmio::{Parted, Target};
use crate::port_table::RegionOwner;
use crate::wiring::Wiring;
use crate::{Bus, DeviceMemory, Machine};
use alloc::vec::Vec;
use mediator::pci::{AttachError, Place};
use mediator::{Gpa, Op, Width};

const PAGE_BYTES: u64 = 0x1000;
const GIB_4: u64 = 4 << 30;
/// Of first byte and length, so that no aligned access crosses an end.
const GRANULE: u64 = 8;

/// A register block in memory, as the device has it. Never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    pub owner: RegionOwner,
    pub first: u64,
    /// Past the last byte.
    pub end: u64,
}

impl Block {
    fn new(owner: RegionOwner, at: Gpa, len: u32) -> Result<Self, AttachError> {
        let end = at.0.checked_add(len.into()).filter(|&end| end <= GIB_4 && len > 0);
        let end =
            end.ok_or(AttachError("its registers in memory lie above 4 GiB; a firmware setting may move them"))?;
        if (at.0 | end) & GRANULE.wrapping_sub(1) != 0 {
            return Err(AttachError("its registers in memory begin or end within eight bytes"));
        }
        if at.0 < MESSAGES.end && MESSAGES.start < end {
            return Err(AttachError("its registers in memory lie where interrupt messages are sent to"));
        }
        Ok(Self { owner, first: at.0, end })
    }

    /// Those of a controller.
    pub fn all_of(wiring: &Wiring) -> Result<Vec<Self>, AttachError> {
        let in_memory = wiring.regions().filter_map(|(owner, region)| Some((owner, region.memory?, region.len)));
        in_memory.map(|(owner, at, len)| Self::new(owner, at, len)).collect()
    }

    fn contains(&self, at: Gpa) -> bool {
        (self.first..self.end).contains(&at.0)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first < other.end && other.first < self.end
    }

    fn has_page(&self, at: Gpa) -> bool {
        let pages = self.pages();
        at.0 >= pages.start && at.0 & !PAGE_BYTES.wrapping_sub(1) < pages.end
    }

    /// The pages that hold a part of it, by their first bytes.
    fn pages(&self) -> core::ops::Range<u64> {
        self.first & !PAGE_BYTES.wrapping_sub(1)..self.end
    }
}

impl Bus {
    /// # Errors
    /// They lie where they cannot be guarded.
    pub(crate) fn blocks_of<M: Machine>(&self, machine: &M, wiring: &Wiring) -> Result<Vec<Block>, AttachError> {
        let blocks = Block::all_of(wiring)?;
        for (number, block) in blocks.iter().enumerate() {
            let mut others = self.blocks.iter().chain(blocks.iter().take(number));
            if others.any(|other| other.overlaps(block)) {
                return Err(AttachError("its registers in memory lie where another guarded controller's are"));
            }
            if block.pages().step_by(PAGE_BYTES as usize).any(|page| machine.is_vmm_memory(Gpa(page))) {
                return Err(AttachError("its registers in memory lie where Shoji's memory is"));
            }
        }
        Ok(blocks)
    }

    /// All pages at home with registers, and those of the windows that they lie in; some come twice.
    pub(crate) fn register_pages(&self) -> impl Iterator<Item = Gpa> {
        let blocks = self.blocks.iter().flat_map(|block| block.pages().step_by(PAGE_BYTES as usize)).map(Gpa);
        let in_blocks = |page: &Gpa| self.blocks.iter().any(|block| block.has_page(*page));
        blocks.chain(self.windows.home_pages().filter(move |page| !in_blocks(page)))
    }

    /// Does the page of this address hold registers, as the device or as the guest has them?
    #[inline]
    pub(crate) fn has_registers(&self, at: Gpa) -> bool {
        let page = at.0 & !PAGE_BYTES.wrapping_sub(1);
        self.blocks.iter().any(|block| block.has_page(at)) || self.windows.has_page(page)
    }

    /// `at` is aligned to the width. What lies beside the blocks is some other device's, or of no interest, and passes.
    #[inline]
    fn access_memory<M: Machine>(&self, machine: &mut M, at: Gpa, width: Width, op: Op) -> u64 {
        let Some(at) = self.windows.find(at) else { return u64::MAX };
        let Some(block) = self.blocks.iter().find(|block| block.contains(at)) else {
            return beside(machine, at, width, op);
        };
        self.access(machine, RegisterAccess { of: block.owner, place: Place::Memory(at), width, op })
    }
}

/// Homes lie below 4 GiB, and so does all that lies beside them in their pages. What is above has led here because a window is in
/// the page, or has been there when the CPU looked last.
fn beside<M: Machine>(machine: &mut M, at: Gpa, width: Width, op: Op) -> u64 {
    if at.0 >= GIB_4 {
        return u64::MAX;
    }
    let memory = machine.parts().device_memory;
    match op {
        Op::Read => memory.read(at, width),
        Op::Write(value) => {
            memory.write(at, width, value);
            0
        }
    }
}

/// A page with registers, as instructions reach it.
pub(crate) struct Registers<'a, M> {
    bus: &'a Bus,
    machine: &'a mut M,
}

impl<'a, M: Machine> Registers<'a, M> {
    #[inline]
    pub fn operand(bus: &'a Bus, machine: &'a mut M, at: Gpa, width: Width) -> Parted<Self> {
        Parted { target: Self { bus, machine }, at, width, widest: Width::Qword }
    }
}

impl<M: Machine> Target for Registers<'_, M> {
    #[inline]
    fn read(&mut self, at: Gpa, width: Width) -> u64 {
        self.bus.access_memory(self.machine, at, width, Op::Read)
    }

    #[inline]
    fn write(&mut self, at: Gpa, width: Width, value: u64) {
        self.bus.access_memory(self.machine, at, width, Op::Write(value));
    }
}
