//! Events on their way into the guest and out of it: VM-entry interruption information (SDM Vol. 3C 25.8.3), VM-exit
//! interruption information (25.9.2) and IDT-vectoring information (25.9.3), which have one format.

/// Vector in bits 7:0, kind in 10:8, error code valid 11, NMI unblocking due to IRET 12, valid 31. The error code has a
/// field of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct InterruptionInfo(pub u32);

/// Kinds of events by their number ("interruption type").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum InterruptionKind {
    ExternalInterrupt = 0,
    Nmi = 2,
    /// Exceptions but those by INT1, INT3 and INTO; injected without instruction length.
    HardwareException = 3,
    /// INT n; injected with its instruction length.
    SoftwareInterrupt = 4,
    /// INT1; injected with its instruction length.
    PrivilegedSoftwareException = 5,
    /// INT3 and INTO; injected with its instruction length.
    SoftwareException = 6,
    /// Injected only; vector 0 is a pending monitor-trap-flag exit.
    Other = 7,
}

impl InterruptionKind {
    /// The instruction length must be given, since RIP is the instruction's and the handler returns behind it.
    pub const fn needs_instruction_length(self) -> bool {
        matches!(self, Self::SoftwareInterrupt | Self::PrivilegedSoftwareException | Self::SoftwareException)
    }
}

impl InterruptionInfo {
    /// No event.
    pub const NONE: Self = Self(0);
    const DELIVER_ERROR_CODE: u32 = 1 << 11;
    const NMI_UNBLOCKING: u32 = 1 << 12;
    const VALID: u32 = 1 << 31;
    /// Must be zero when injected; bit 12 too (27.2.1.3).
    pub const RESERVED: u32 = 0x7FFF_F000;

    /// An event without error code.
    pub const fn new(kind: InterruptionKind, vector: u8) -> Self {
        Self(Self::VALID | (kind as u32) << 8 | vector as u32)
    }

    /// The same event with an error code, whose value goes to a field of its own.
    pub const fn with_error_code(self) -> Self {
        Self(self.0 | Self::DELIVER_ERROR_CODE)
    }

    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Meaningless unless the event is valid.
    pub const fn vector(self) -> u8 {
        self.0 as u8
    }

    /// `None` for the reserved number 1.
    pub const fn kind(self) -> Option<InterruptionKind> {
        match self.0 >> 8 & 7 {
            0 => Some(InterruptionKind::ExternalInterrupt),
            2 => Some(InterruptionKind::Nmi),
            3 => Some(InterruptionKind::HardwareException),
            4 => Some(InterruptionKind::SoftwareInterrupt),
            5 => Some(InterruptionKind::PrivilegedSoftwareException),
            6 => Some(InterruptionKind::SoftwareException),
            7 => Some(InterruptionKind::Other),
            _ => None,
        }
    }

    pub const fn has_error_code(self) -> bool {
        self.0 & Self::DELIVER_ERROR_CODE != 0
    }

    /// In VM-exit interruption information: the event arose in an IRET that had unblocked NMIs already (28.2.3). In
    /// IDT-vectoring information the bit is undefined.
    pub const fn nmi_unblocked_by_iret(self) -> bool {
        self.0 & Self::NMI_UNBLOCKING != 0
    }

    /// IDT-vectoring information as VM-entry interruption information, to deliver the event again.
    pub const fn for_injection(self) -> Self {
        Self(self.0 & !Self::RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InterruptionKind as Kind;

    #[test]
    fn events_are_encoded_as_the_manual_draws_them() {
        assert_eq!(InterruptionInfo::new(Kind::HardwareException, 6).0, 0x8000_0306);
        assert_eq!(InterruptionInfo::new(Kind::Nmi, 2).0, 0x8000_0202);
        assert_eq!(InterruptionInfo::new(Kind::SoftwareException, 3).0, 0x8000_0603);
        assert_eq!(InterruptionInfo::new(Kind::HardwareException, 14).with_error_code().0, 0x8000_0B0E);
    }

    #[test]
    fn events_are_decoded_again() {
        let fault = InterruptionInfo(0x8000_1B0D);
        assert_eq!((fault.is_valid(), fault.vector(), fault.kind()), (true, 13, Some(Kind::HardwareException)));
        assert!(fault.has_error_code() && fault.nmi_unblocked_by_iret());
        assert!(!InterruptionInfo::NONE.is_valid());
        assert_eq!(InterruptionInfo(0x8000_0120).kind(), None, "1 is reserved");
        for (number, kind) in [(0, Kind::ExternalInterrupt), (4, Kind::SoftwareInterrupt), (7, Kind::Other)] {
            assert_eq!(InterruptionInfo(number << 8).kind(), Some(kind));
        }
    }

    #[test]
    fn what_is_injected_again_has_no_reserved_bit() {
        assert_eq!(InterruptionInfo(0x8000_1B0E).for_injection().0, 0x8000_0B0E);
        assert_eq!(InterruptionInfo(u32::MAX).for_injection().0, 0x8000_0FFF);
    }

    #[test]
    fn software_events_need_their_length() {
        assert!(Kind::SoftwareInterrupt.needs_instruction_length());
        assert!(Kind::PrivilegedSoftwareException.needs_instruction_length());
        assert!(!Kind::HardwareException.needs_instruction_length());
        assert!(!Kind::ExternalInterrupt.needs_instruction_length());
    }
}
