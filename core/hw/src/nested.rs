//! Nested page tables: guest-physical is host-physical; all but the VMM's own memory is there.
//!
//! The lowest 4 GiB are mapped at once, but for the VMM's range; what lies higher (RAM, 64-bit BARs) is mapped when the
//! guest first touches it, so that no table is kept for address space that nobody uses.

use crate::paging::{GIB, KIB_4, MIB_2, Tables};
use crate::{Hpa, HpaRange};
use mediator::Gpa;
use x86_64::structures::paging::PageTableFlags as Flags;

const GIB_4: u64 = 4 << 30;
/// Four levels reach 48 bits; no machine of today has guest-physical addresses beyond.
const LEVELS_END: u64 = 1 << 48;

/// What the vendors' entries differ in.
pub trait Format {
    /// Flags of an entry for the page of `size` bytes at `at`, all but `HUGE_PAGE`. `None`: smaller pages are needed. A page
    /// of 4 KiB always has flags.
    fn leaf(&self, at: u64, size: u64) -> Option<Flags>;
}

pub struct Nested<F> {
    tables: Tables,
    vmm: HpaRange,
    gib_pages: bool,
    /// Past the last physical address.
    end: u64,
    format: F,
}

impl<F: Format> Nested<F> {
    /// Tables that leave `vmm` (whole 2 MiB pages) out. `address_bits`: of physical addresses, without bits that choose a
    /// key of encrypted memory, by which the guest would reach `vmm` under another address. `None` when the frames do not
    /// suffice.
    pub fn new(vmm: HpaRange, gib_pages: bool, address_bits: u8, format: F) -> Option<Self> {
        let end = LEVELS_END.min(1 << address_bits);
        let mut nested = Self { tables: Tables::new()?, vmm, gib_pages, end, format };
        nested.map_low()?;
        Some(nested)
    }

    /// The page that the CPU is pointed at. It stays the same.
    pub fn root(&self) -> Hpa {
        self.tables.root()
    }

    pub fn format(&self) -> &F {
        &self.format
    }

    /// Maps everything anew in another format. What the CPU has cached of the old tables must be invalidated afterwards.
    /// `None` when the frames do not suffice: parts are then missing.
    pub fn reformat(&mut self, format: F) -> Option<()> {
        self.tables.clear();
        self.format = format;
        self.map_low()
    }

    /// Maps the page around an address that the guest touched for the first time. False: the address is the VMM's, no
    /// table can be had for it, or it is mapped and faults all the same (a guest would retry for ever); the access must be
    /// refused.
    pub fn map_on_demand(&mut self, at: Gpa) -> bool {
        if !(GIB_4..self.end).contains(&at.0) {
            return false;
        }
        let sizes = if self.gib_pages { &[GIB, MIB_2, KIB_4][..] } else { &[MIB_2, KIB_4] };
        sizes.iter().any(|&size| self.map(at.0 & !(size - 1), size).is_some())
    }

    fn map_low(&mut self) -> Option<()> {
        let vmm = self.vmm;
        for at in (0..GIB_4).step_by(MIB_2 as usize).filter(|&at| !vmm.overlaps(at, at + MIB_2)) {
            if self.format.leaf(at, MIB_2).is_some() {
                self.map(at, MIB_2)?;
            } else {
                (at..at + MIB_2).step_by(KIB_4 as usize).try_for_each(|at| self.map(at, KIB_4))?;
            }
        }
        Some(())
    }

    fn map(&mut self, at: u64, size: u64) -> Option<()> {
        if self.vmm.overlaps(at, at + size) {
            return None;
        }
        let flags = self.format.leaf(at, size)?;
        let huge = if size == KIB_4 { Flags::empty() } else { Flags::HUGE_PAGE };
        self.tables.map(at, at, size, flags | huge)
    }
}
