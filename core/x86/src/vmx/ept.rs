//! Extended page tables (SDM Vol. 3C 29.3) and the invalidation of what was cached from them (29.4.3, 31.3).

use crate::MemoryType;
use bitflags::bitflags;

/// The EPT pointer (25.6.11): memory type of the tables in bits 2:0, walk length less one in 5:3, flags, address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct EptPointer(pub u64);

impl EptPointer {
    const ACCESSED_DIRTY: u64 = 1 << 6;
    const SUPERVISOR_SHADOW_STACK: u64 = 1 << 7;
    /// Bits 11:8.
    const RESERVED: u64 = 0xF00;

    /// Of a four-level table at a physical address, whose low 12 bits must be zero.
    pub const fn new(top: u64, tables: MemoryType) -> Self {
        Self(top | 3 << 3 | tables as u64)
    }

    /// The CPU keeps accessed and dirty flags in the entries.
    pub const fn with_accessed_dirty(self) -> Self {
        Self(self.0 | Self::ACCESSED_DIRTY)
    }

    /// Number of the memory type that the CPU takes for the tables.
    pub const fn memory_type(self) -> u8 {
        (self.0 & 7) as u8
    }

    /// Levels of the table.
    pub const fn walk_length(self) -> u8 {
        ((self.0 >> 3 & 7) as u8).saturating_add(1)
    }

    pub const fn has_accessed_dirty(self) -> bool {
        self.0 & Self::ACCESSED_DIRTY != 0
    }

    pub const fn has_supervisor_shadow_stack(self) -> bool {
        self.0 & Self::SUPERVISOR_SHADOW_STACK != 0
    }

    /// Bits 11:8 that are set and must not be.
    pub const fn reserved(self) -> u64 {
        self.0 & Self::RESERVED
    }
}

bitflags! {
    /// An entry of any level (tables 29-1 to 29-7); the physical address is in bits 51:12.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct EptEntry: u64 {
        const READ = 1 << 0;
        const WRITE = 1 << 1;
        /// With mode-based execute control: from supervisor-mode linear addresses.
        const EXECUTE = 1 << 2;
        /// In an entry that maps memory: the guest's PAT has no say.
        const IGNORE_PAT = 1 << 6;
        /// The entry maps 1 GiB or 2 MiB; not on the last level.
        const LARGE = 1 << 7;
        const ACCESSED = 1 << 8;
        /// In an entry that maps memory.
        const DIRTY = 1 << 9;
        /// With mode-based execute control.
        const USER_EXECUTE = 1 << 10;
        const VERIFY_GUEST_PAGING = 1 << 57;
        const PAGING_WRITE = 1 << 58;
        const SUPERVISOR_SHADOW_STACK = 1 << 60;
        const SUB_PAGE_WRITE = 1 << 61;
        const SUPPRESS_VE = 1 << 63;

        const _ = !0;
    }
}

impl EptEntry {
    pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    const TYPE_SHIFT: u32 = 3;
    /// Reads, writes and instruction fetches.
    pub const ALL_RIGHTS: Self = Self::from_bits_retain(Self::READ.bits() | Self::WRITE.bits() | Self::EXECUTE.bits());

    /// An entry that points to the table of the next level.
    pub const fn table(at: u64) -> Self {
        Self::from_bits_retain(at & Self::ADDRESS | Self::ALL_RIGHTS.bits())
    }

    /// An entry that maps memory of a type. `LARGE` is up to the caller.
    pub const fn page(at: u64, memory: MemoryType, flags: Self) -> Self {
        Self::from_bits_retain(at & Self::ADDRESS | (memory as u64) << Self::TYPE_SHIFT | flags.bits())
    }

    pub const fn address(self) -> u64 {
        self.bits() & Self::ADDRESS
    }

    /// Some right is given. An entry without is not looked at further. (Without mode-based execute control.)
    pub const fn is_present(self) -> bool {
        self.intersects(Self::ALL_RIGHTS)
    }

    /// Of an entry that maps memory. `None`: a reserved number, an EPT misconfiguration.
    pub const fn memory_type(self) -> Option<MemoryType> {
        MemoryType::new((self.bits() >> Self::TYPE_SHIFT & 7) as u8)
    }
}

/// What INVEPT invalidates (31.3, INVEPT).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum InvEpt {
    /// What was cached from one EPT pointer.
    SingleContext = 1,
    AllContexts = 2,
}

/// What INVVPID invalidates (31.3, INVVPID).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum InvVpid {
    /// One linear address of one VPID.
    IndividualAddress = 0,
    SingleContext = 1,
    /// All VPIDs but 0.
    AllContexts = 2,
    /// One VPID, but for global translations.
    SingleContextRetainingGlobals = 3,
}

/// Memory operand of INVEPT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
pub struct InvEptDescriptor {
    pub pointer: u64,
    reserved: u64,
}

/// Memory operand of INVVPID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
pub struct InvVpidDescriptor {
    vpid: u64,
    /// Must be canonical.
    pub linear_address: u64,
}

impl InvEptDescriptor {
    pub const fn new(pointer: EptPointer) -> Self {
        Self { pointer: pointer.0, reserved: 0 }
    }
}

impl InvVpidDescriptor {
    /// Address 0 where the kind takes none.
    pub const fn new(vpid: u16, linear_address: u64) -> Self {
        Self { vpid: vpid as u64, linear_address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ept_pointer_of_four_levels_in_write_back_memory() {
        let pointer = EptPointer::new(0x1234_5000, MemoryType::WriteBack);
        assert_eq!(pointer.0, 0x1234_501E);
        assert_eq!((pointer.memory_type(), pointer.walk_length(), pointer.has_accessed_dirty()), (6, 4, false));
        assert!(pointer.with_accessed_dirty().has_accessed_dirty());
        assert_eq!((pointer.reserved(), EptPointer(0xF80).reserved()), (0, 0xF00));
        assert_eq!(EptPointer(u64::MAX).walk_length(), 8);
    }

    #[test]
    fn entries_are_encoded_as_the_manual_draws_them() {
        let page = EptEntry::page(0x20_0000, MemoryType::WriteBack, EptEntry::ALL_RIGHTS | EptEntry::LARGE);
        assert_eq!(page.bits(), 0x20_00B7);
        assert_eq!((page.address(), page.memory_type()), (0x20_0000, Some(MemoryType::WriteBack)));
        assert_eq!(EptEntry::table(0x5000).bits(), 0x5007);
        assert_eq!(EptEntry::from_bits_retain(2 << 3).memory_type(), None);
        assert!(EptEntry::EXECUTE.is_present() && !EptEntry::LARGE.is_present());
    }

    #[test]
    fn descriptors_are_16_bytes_with_their_reserved_bits_clear() {
        assert_eq!((size_of::<InvEptDescriptor>(), size_of::<InvVpidDescriptor>()), (16, 16));
        assert_eq!(InvVpidDescriptor::new(0xFFFF, 0).vpid, 0xFFFF);
        assert_eq!(InvEptDescriptor::new(EptPointer(0x1E)).reserved, 0);
    }
}
