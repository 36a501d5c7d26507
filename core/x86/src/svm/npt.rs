//! Nested page tables in the four-level long-mode format (APM Vol. 2 15.25, 5.3, 5.4).

use bitflags::bitflags;

/// Physical address in an entry; of large pages the low bits are zero but for PAT.
pub const ADDRESS_MASK: u64 = 0x000F_FFFF_FFFF_F000;
/// Entries of a table.
pub const ENTRIES: usize = 512;

bitflags! {
    /// Bits of an entry besides the address.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct NestedEntry: u64 {
        const PRESENT = 1 << 0;
        const WRITABLE = 1 << 1;
        /// Must be set everywhere: nested walks count as user accesses (15.25.5).
        const USER = 1 << 2;
        const PWT = 1 << 3;
        const PCD = 1 << 4;
        const ACCESSED = 1 << 5;
        const DIRTY = 1 << 6;
        /// Of a level 3 or level 2 entry: maps 1 GiB or 2 MiB.
        const LARGE = 1 << 7;
        const NO_EXECUTE = 1 << 63;

        const _ = !0;
    }
}
