//! Nested page tables (APM s. 15.25).

use crate::features::Features;
use core::sync::atomic::{AtomicU64, Ordering};
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
pub struct Memory {
    tables: Nested<Format>,
    /// How often rights were changed that CPUs may have cached.
    changes: AtomicU64,
}

impl Memory {
    /// All memory but `vmm`. `None` when the frames do not suffice.
    pub fn new(features: &Features, vmm: HpaRange) -> Option<Self> {
        let tables = Nested::new(vmm, features.gib_pages, features.address_bits, Format)?;
        Some(Self { tables, changes: AtomicU64::new(0) })
    }

    /// As [`Nested::hook_page`].
    pub fn hook_page(&self, at: Gpa, hook: Hook) -> Option<()> {
        self.tables.hook_page(at, hook)
    }

    /// As [`Nested::hook_for_a_time`]. Each CPU invalidates what it has cached when it next asks what it is to leave the guest for
    /// ([`exit::Vcpu::set_recall`]), which it does after it has stood still.
    pub fn hook_for_a_time(&self, at: Gpa, on: bool) -> Option<()> {
        let done = self.tables.hook_for_a_time(at, on);
        self.changes.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// A number that is another one after each change of rights.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// As [`Nested::root_without`].
    pub(crate) fn root_without(&self, at: Gpa) -> Option<Hpa> {
        self.tables.root_without(at)
    }

    pub(crate) fn root(&self) -> Hpa {
        self.tables.root()
    }

    /// As [`Nested::map_on_demand`]. What is not present is not cached, so that nothing is to be invalidated (APM s. 15.25.7).
    #[inline(always)]
    pub(crate) fn map_on_demand(&self, at: Gpa) -> OnDemand {
        self.tables.map_on_demand(at)
    }
}
