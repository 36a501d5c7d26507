//! Layouts in the guest-state area (SDM Vol. 3C 25.4).

use bitflags::bitflags;

bitflags! {
    /// Access rights of a segment register (25.4.1, table 25-2): bits 15:8 and 23:20 of the descriptor's second half at
    /// their places less 8, and one more.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct AccessRights: u32 {
        /// Type: accessed, or busy or 32-bit in a system segment's own way.
        const ACCESSED = 1 << 0;
        /// Type: writable data or readable code.
        const WRITABLE_OR_READABLE = 1 << 1;
        /// Type: data that grows down or conforming code.
        const EXPAND_DOWN_OR_CONFORMING = 1 << 2;
        /// Type: code.
        const CODE = 1 << 3;
        /// Code or data, not a system segment.
        const S = 1 << 4;
        const PRESENT = 1 << 7;
        /// For the operating system's use.
        const AVL = 1 << 12;
        /// 64-bit code.
        const LONG = 1 << 13;
        /// 32-bit operands, addresses or stack.
        const DEFAULT_32 = 1 << 14;
        /// The limit is in 4 KiB units in the descriptor. The VMCS's limit is in bytes either way.
        const GRANULARITY = 1 << 15;
        /// A null selector was loaded: the register cannot be used.
        const UNUSABLE = 1 << 16;

        const _ = !0;
    }

    /// Interruptibility state (table 25-3).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Interruptibility: u32 {
        const BLOCKING_BY_STI = 1 << 0;
        const BLOCKING_BY_MOV_SS = 1 << 1;
        const BLOCKING_BY_SMI = 1 << 2;
        /// With virtual NMIs: the guest's own blocking.
        const BLOCKING_BY_NMI = 1 << 3;
        const ENCLAVE_INTERRUPTION = 1 << 4;

        const _ = !0;
    }

    /// Debug exceptions that wait for an instruction boundary (table 25-4).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct PendingDebug: u64 {
        const B0 = 1 << 0;
        const B1 = 1 << 1;
        const B2 = 1 << 2;
        const B3 = 1 << 3;
        const BUS_LOCK = 1 << 11;
        /// A breakpoint that DR7 enables was met.
        const ENABLED_BREAKPOINT = 1 << 12;
        /// Single step.
        const BS = 1 << 14;
        const RTM = 1 << 16;

        const _ = !0;
    }
}

impl AccessRights {
    /// Reserved bits: 11:8 and 31:17.
    pub const RESERVED: u32 = 0xFFFE_0F00;
    /// After reset: present, writable, accessed data.
    pub const REAL_MODE_DATA: Self = Self::from_bits_retain(0x93);
    /// After reset: present, readable, accessed code.
    pub const REAL_MODE_CODE: Self = Self::from_bits_retain(0x9B);
    /// After reset.
    pub const LDT: Self = Self::from_bits_retain(0x82);
    /// After reset: busy 32-bit task state; in long mode 64-bit.
    pub const BUSY_TSS: Self = Self::from_bits_retain(0x8B);
    /// In virtual-8086 mode: present, writable, accessed data of DPL 3.
    pub const VIRTUAL_8086: Self = Self::from_bits_retain(0xF3);

    /// Of an 8-byte descriptor, for a selector that is not null.
    pub const fn of_descriptor(descriptor: u64) -> Self {
        Self::from_bits_retain((descriptor >> 40) as u32 & 0xF0FF)
    }

    /// Type (bits 3:0).
    pub const fn segment_type(self) -> u8 {
        (self.bits() & 0xF) as u8
    }

    /// Descriptor privilege level (bits 6:5).
    pub const fn dpl(self) -> u8 {
        (self.bits() >> 5 & 3) as u8
    }

    pub const fn is_usable(self) -> bool {
        !self.contains(Self::UNUSABLE)
    }
}

/// What the CPU does when it is in the guest (25.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum ActivityState {
    #[default]
    Active = 0,
    /// Waits in HLT.
    Hlt = 1,
    /// Triple fault.
    Shutdown = 2,
    WaitForSipi = 3,
}

impl ActivityState {
    /// `None`: no such state.
    pub const fn new(field: u32) -> Option<Self> {
        match field {
            0 => Some(Self::Active),
            1 => Some(Self::Hlt),
            2 => Some(Self::Shutdown),
            3 => Some(Self::WaitForSipi),
            _ => None,
        }
    }
}

/// A VMCS link pointer that points nowhere (25.4.2): no VMCS shadowing.
pub const NO_VMCS_LINK: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_descriptors_give_their_access_rights() {
        // Linux' 64-bit kernel code and 32-bit user data.
        assert_eq!(AccessRights::of_descriptor(0x00AF_9B00_0000_FFFF).bits(), 0xA09B);
        assert_eq!(AccessRights::of_descriptor(0x00CF_F300_0000_FFFF).bits(), 0xC0F3);
        // Neither base (FFh in byte 7) nor limit (Fh in byte 6) leaks in.
        assert_eq!(AccessRights::of_descriptor(0xFF0F_00FF_FFFF_FFFF).bits(), 0);
    }

    #[test]
    fn parts_of_access_rights_are_taken_apart() {
        let code = AccessRights::from_bits_retain(0xA0FB);
        assert_eq!((code.segment_type(), code.dpl(), code.is_usable()), (11, 3, true));
        assert!(code.contains(AccessRights::LONG | AccessRights::GRANULARITY | AccessRights::S));
        assert!(!AccessRights::UNUSABLE.is_usable());
    }

    #[test]
    fn activity_states_beyond_the_last_are_none() {
        assert_eq!(ActivityState::new(1), Some(ActivityState::Hlt));
        assert_eq!(ActivityState::new(3), Some(ActivityState::WaitForSipi));
        assert_eq!(ActivityState::new(4), None);
    }
}
