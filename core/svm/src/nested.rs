//! Nested page tables (APM s. 15.25).

use crate::features::Features;
use hw::nested::{Hook, Nested, OnDemand};
use hw::paging::MIB_2;
use hw::{Hpa, HpaRange};
use mediator::Gpa;
use x86_64::structures::paging::PageTableFlags as Flags;

/// Entries as of any page tables.
struct Format;

impl hw::nested::Format for Format {
    /// Nested accesses count as user accesses (APM s. 15.25.5), so the U bit is always set.
    fn leaf(&self, at: u64, size: u64) -> Option<Flags> {
        // Small pages where fixed-range MTRRs give different types within 2 MiB (APM s. 7.7.2).
        let small = at < MIB_2 && size >= MIB_2;
        (!small).then_some(Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE)
    }
}

/// The guest's memory: the nested tables of all its CPUs.
pub struct Memory(Nested<Format>);

impl Memory {
    /// All memory but `vmm`. `None` when the frames do not suffice.
    pub fn new(features: &Features, vmm: HpaRange) -> Option<Self> {
        Nested::new(vmm, features.gib_pages, features.address_bits, Format).map(Self)
    }

    /// As [`Nested::hook_page`].
    pub fn hook_page(&self, at: Gpa, hook: Hook) -> Option<()> {
        self.0.hook_page(at, hook)
    }

    /// As [`Nested::root_without`].
    pub(crate) fn root_without(&self, at: Gpa) -> Option<Hpa> {
        self.0.root_without(at)
    }

    pub(crate) fn root(&self) -> Hpa {
        self.0.root()
    }

    /// As [`Nested::map_on_demand`]. What is not present is not cached, so that nothing is to be invalidated (APM s. 15.25.7).
    #[inline(always)]
    pub(crate) fn map_on_demand(&self, at: Gpa) -> OnDemand {
        self.0.map_on_demand(at)
    }
}
