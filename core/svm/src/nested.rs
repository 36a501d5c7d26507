//! Nested page tables (APM s. 15.25).

use hw::paging::MIB_2;
use x86_64::structures::paging::PageTableFlags as Flags;

/// Entries as of any page tables.
pub struct Format;

pub type Nested = hw::nested::Nested<Format>;

impl hw::nested::Format for Format {
    /// Nested accesses count as user accesses (APM s. 15.25.5), so the U bit is always set.
    fn leaf(&self, at: u64, size: u64) -> Option<Flags> {
        // Small pages where fixed-range MTRRs give different types within 2 MiB (APM s. 7.7.2).
        let small = at < MIB_2 && size >= MIB_2;
        (!small).then_some(Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE)
    }
}
