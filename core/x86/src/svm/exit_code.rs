//! Why the guest was left (APM Vol. 2 appendix C).

use core::fmt;

/// EXITCODE of a VMCB. Ranges (control registers, debug registers, exceptions) are named by their first code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExitCode(pub u64);

/// Constants and the table of their names from one list.
macro_rules! exit_codes {
    ($($(#[$doc:meta])* $name:ident = $code:expr;)*) => {
        impl ExitCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*
        }
        /// In ascending order.
        const NAMES: &[(u64, &str)] = &[$(($code, stringify!($name)),)*];
    };
}

exit_codes! {
    /// 16 codes.
    CR0_READ = 0x00;
    /// 16 codes.
    CR0_WRITE = 0x10;
    /// 16 codes.
    DR0_READ = 0x20;
    /// 16 codes.
    DR0_WRITE = 0x30;
    /// 32 codes, one a vector.
    EXCP0 = 0x40;
    INTR = 0x60;
    NMI = 0x61;
    SMI = 0x62;
    INIT = 0x63;
    VINTR = 0x64;
    CR0_SEL_WRITE = 0x65;
    IDTR_READ = 0x66;
    GDTR_READ = 0x67;
    LDTR_READ = 0x68;
    TR_READ = 0x69;
    IDTR_WRITE = 0x6A;
    GDTR_WRITE = 0x6B;
    LDTR_WRITE = 0x6C;
    TR_WRITE = 0x6D;
    RDTSC = 0x6E;
    RDPMC = 0x6F;
    PUSHF = 0x70;
    POPF = 0x71;
    CPUID = 0x72;
    RSM = 0x73;
    IRET = 0x74;
    SWINT = 0x75;
    INVD = 0x76;
    PAUSE = 0x77;
    HLT = 0x78;
    INVLPG = 0x79;
    INVLPGA = 0x7A;
    /// EXITINFO1 is an [`super::IoInfo`], EXITINFO2 the RIP of the next instruction.
    IOIO = 0x7B;
    /// EXITINFO1 is 0 for RDMSR, 1 for WRMSR.
    MSR = 0x7C;
    TASK_SWITCH = 0x7D;
    FERR_FREEZE = 0x7E;
    SHUTDOWN = 0x7F;
    VMRUN = 0x80;
    VMMCALL = 0x81;
    VMLOAD = 0x82;
    VMSAVE = 0x83;
    STGI = 0x84;
    CLGI = 0x85;
    SKINIT = 0x86;
    RDTSCP = 0x87;
    ICEBP = 0x88;
    WBINVD = 0x89;
    MONITOR = 0x8A;
    MWAIT = 0x8B;
    MWAIT_CONDITIONAL = 0x8C;
    XSETBV = 0x8D;
    RDPRU = 0x8E;
    EFER_WRITE_TRAP = 0x8F;
    /// 16 codes.
    CR0_WRITE_TRAP = 0x90;
    INVLPGB = 0xA0;
    INVLPGB_ILLEGAL = 0xA1;
    INVPCID = 0xA2;
    MCOMMIT = 0xA3;
    TLBSYNC = 0xA4;
    BUS_LOCK = 0xA5;
    IDLE_HLT = 0xA6;
    /// Nested page fault: EXITINFO1 is a [`super::NestedFaultInfo`], EXITINFO2 the guest-physical address.
    NPF = 0x400;
    AVIC_INCOMPLETE_IPI = 0x401;
    AVIC_NOACCEL = 0x402;
    VMGEXIT = 0x403;
    IDLE_REQUIRED = -3_i64 as u64;
    BUSY = -2_i64 as u64;
    /// The guest state is not consistent (15.5.1).
    INVALID = -1_i64 as u64;
}

impl ExitCode {
    /// The field as the CPU wrote it. Some emulators give the negative codes 32 bits only.
    pub const fn new(field: u64) -> Self {
        if field >> 8 == 0xFF_FFFF { Self(field | 0xFFFF_FFFF << 32) } else { Self(field) }
    }

    /// The vector, if an exception is the cause.
    pub fn exception(self) -> Option<u8> {
        self.0.checked_sub(Self::EXCP0.0).filter(|vector| *vector < 32).map(|vector| vector as u8)
    }

    /// The code's name in appendix C, without `VMEXIT_`; in a range the name of its first code.
    pub fn name(self) -> Option<&'static str> {
        let (first, name) = NAMES.iter().rev().find(|(first, _)| *first <= self.0)?;
        let len = match Self(*first) {
            Self::CR0_READ | Self::CR0_WRITE | Self::DR0_READ | Self::DR0_WRITE | Self::CR0_WRITE_TRAP => 16,
            Self::EXCP0 => 32,
            _ => 1,
        };
        (self.0.wrapping_sub(*first) < len).then_some(*name)
    }
}

impl fmt::Debug for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x})", self.name().unwrap_or("unknown"), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn the_list_is_in_ascending_order() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn codes_have_names_and_gaps_have_none() {
        assert_eq!(ExitCode::NPF.name(), Some("NPF"));
        assert_eq!(ExitCode(0x4E).name(), Some("EXCP0"), "page fault");
        assert_eq!(ExitCode(0x1F).name(), Some("CR0_WRITE"));
        assert_eq!(ExitCode(0xA7).name(), None);
        assert_eq!(ExitCode(0x3FF).name(), None);
        assert_eq!(ExitCode(0x404).name(), None);
        assert_eq!(std::format!("{:?}", ExitCode(0x72)), "CPUID (0x72)");
    }

    #[test]
    fn exceptions_have_their_vector_and_nothing_else_has_one() {
        assert_eq!(ExitCode(0x41).exception(), Some(1));
        assert_eq!([ExitCode(0x40), ExitCode(0x5F)].map(ExitCode::exception), [Some(0), Some(31)]);
        assert_eq!([ExitCode(0x3F), ExitCode::INTR, ExitCode::INVALID].map(ExitCode::exception), [None; 3]);
    }

    #[test]
    fn a_32_bit_invalid_is_invalid() {
        assert_eq!(ExitCode::new(0xFFFF_FFFF), ExitCode::INVALID);
        assert_eq!(ExitCode::new(u64::MAX), ExitCode::INVALID);
        assert_eq!(ExitCode::new(0x400), ExitCode::NPF);
        assert_eq!(ExitCode::INVALID.name(), Some("INVALID"));
    }
}
