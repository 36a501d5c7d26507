//! Nested page tables (APM s. 15.25): guest-physical is host-physical; all but the VMM's own memory is there.
//!
//! The lowest 4 GiB are mapped at once, but for the VMM's range; what lies higher (RAM, 64-bit BARs) is mapped when the
//! guest first touches it, so that no table is kept for address space that nobody uses.

use hw::paging::{GIB, KIB_4, MIB_2, Tables};
use hw::{Hpa, HpaRange};
use mediator::Gpa;
use x86_64::structures::paging::PageTableFlags as Flags;

const GIB_4: u64 = 4 << 30;

/// Nested accesses count as user accesses (APM s. 15.25.5), so the U bit is always set.
const ENTRY: Flags = Flags::PRESENT.union(Flags::WRITABLE).union(Flags::USER_ACCESSIBLE);

pub struct Nested {
    tables: Tables,
    vmm: HpaRange,
    gib_pages: bool,
}

impl Nested {
    /// Tables that leave `vmm` (whole 2 MiB pages) out. `None` when the frames do not suffice.
    pub fn new(vmm: HpaRange, gib_pages: bool) -> Option<Self> {
        let mut nested = Self { tables: Tables::new()?, vmm, gib_pages };
        // Small pages where fixed-range MTRRs give different types within 2 MiB (APM s. 7.7.2).
        for at in (0..MIB_2).step_by(KIB_4 as usize) {
            nested.map(at, KIB_4)?;
        }
        for at in (MIB_2..GIB_4).step_by(MIB_2 as usize) {
            if !vmm.overlaps(at, at + MIB_2) {
                nested.map(at, MIB_2)?;
            }
        }
        Some(nested)
    }

    /// For the VMCB's N_CR3.
    pub fn root(&self) -> Hpa {
        self.tables.root()
    }

    /// Maps the page around an address that the guest touched for the first time. False: the address is the VMM's, no
    /// table can be had for it, or it is mapped and faults all the same (a guest would retry for ever); the access must be
    /// refused.
    pub fn map_on_demand(&mut self, at: Gpa) -> bool {
        let size = if self.gib_pages { GIB } else { MIB_2 };
        let page = at.0 & !(size - 1);
        if at.0 < GIB_4 || self.vmm.overlaps(page, page + size) {
            return false;
        }
        self.map(page, size).is_some()
    }

    fn map(&mut self, at: u64, size: u64) -> Option<()> {
        // Four levels reach 48 bits; no machine of today has guest-physical addresses beyond.
        if at >= 1 << 48 {
            return None;
        }
        let flags = if size == KIB_4 { ENTRY } else { ENTRY | Flags::HUGE_PAGE };
        self.tables.map(at, at, size, flags)
    }
}
