//! Why the guest was left (SDM Vol. 3D appendix C; format of the field: Vol. 3C 25.9.1).

use core::fmt;

/// The exit-reason field: [`BasicReason`] in bits 15:0, flags above.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct ExitReason(pub u32);

/// Bits 15:0 of the exit reason.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct BasicReason(pub u16);

impl ExitReason {
    const BUS_LOCK: u32 = 1 << 26;
    const ENCLAVE: u32 = 1 << 27;
    const PENDING_MTF: u32 = 1 << 28;
    const ENTRY_FAILURE: u32 = 1 << 31;

    pub const fn basic(self) -> BasicReason {
        BasicReason(self.0 as u16)
    }

    /// The guest was not entered: its state, its MSRs or a machine check were in the way.
    pub const fn is_entry_failure(self) -> bool {
        self.0 & Self::ENTRY_FAILURE != 0
    }

    /// A bus lock was asserted, with "VMM bus-lock detection".
    pub const fn is_with_bus_lock(self) -> bool {
        self.0 & Self::BUS_LOCK != 0
    }

    /// The CPU was in an SGX enclave.
    pub const fn is_in_enclave(self) -> bool {
        self.0 & Self::ENCLAVE != 0
    }

    /// A monitor-trap-flag exit was pending.
    pub const fn is_with_pending_mtf(self) -> bool {
        self.0 & Self::PENDING_MTF != 0
    }
}

/// Constants and the table of their names from one list.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal $words:literal;)*) => {
        impl BasicReason {
            $($(#[$doc])* pub const $name: Self = Self($number);)*
        }
        /// In ascending order.
        const WORDS: &[(u16, &str)] = &[$(($number, $words),)*];
    };
}

reasons! {
    EXCEPTION_OR_NMI = 0 "exception or NMI";
    EXTERNAL_INTERRUPT = 1 "external interrupt";
    TRIPLE_FAULT = 2 "triple fault";
    INIT_SIGNAL = 3 "INIT signal";
    SIPI = 4 "start-up IPI";
    IO_SMI = 5 "I/O SMI";
    OTHER_SMI = 6 "other SMI";
    INTERRUPT_WINDOW = 7 "interrupt window";
    NMI_WINDOW = 8 "NMI window";
    TASK_SWITCH = 9 "task switch";
    CPUID = 10 "CPUID";
    GETSEC = 11 "GETSEC";
    HLT = 12 "HLT";
    INVD = 13 "INVD";
    INVLPG = 14 "INVLPG";
    RDPMC = 15 "RDPMC";
    RDTSC = 16 "RDTSC";
    RSM = 17 "RSM";
    VMCALL = 18 "VMCALL";
    VMCLEAR = 19 "VMCLEAR";
    VMLAUNCH = 20 "VMLAUNCH";
    VMPTRLD = 21 "VMPTRLD";
    VMPTRST = 22 "VMPTRST";
    VMREAD = 23 "VMREAD";
    VMRESUME = 24 "VMRESUME";
    VMWRITE = 25 "VMWRITE";
    VMXOFF = 26 "VMXOFF";
    VMXON = 27 "VMXON";
    /// See [`super::ControlRegisterAccess`].
    CONTROL_REGISTER_ACCESS = 28 "control-register access";
    /// See [`super::DebugRegisterAccess`].
    MOV_DR = 29 "MOV DR";
    /// See [`super::IoQualification`].
    IO_INSTRUCTION = 30 "I/O instruction";
    RDMSR = 31 "RDMSR";
    WRMSR = 32 "WRMSR";
    /// With [`ExitReason::is_entry_failure`]; the qualification is an [`super::InvalidGuestState`].
    INVALID_GUEST_STATE = 33 "VM-entry failure: invalid guest state";
    /// With [`ExitReason::is_entry_failure`]; the qualification is the number of the entry, from 1.
    MSR_LOADING = 34 "VM-entry failure: MSR loading";
    MWAIT = 36 "MWAIT";
    MONITOR_TRAP_FLAG = 37 "monitor trap flag";
    MONITOR = 39 "MONITOR";
    PAUSE = 40 "PAUSE";
    /// With [`ExitReason::is_entry_failure`].
    MACHINE_CHECK_DURING_ENTRY = 41 "VM-entry failure: machine-check event";
    TPR_BELOW_THRESHOLD = 43 "TPR below threshold";
    APIC_ACCESS = 44 "APIC access";
    VIRTUALIZED_EOI = 45 "virtualized EOI";
    GDTR_OR_IDTR_ACCESS = 46 "access to GDTR or IDTR";
    LDTR_OR_TR_ACCESS = 47 "access to LDTR or TR";
    /// See [`super::EptViolation`].
    EPT_VIOLATION = 48 "EPT violation";
    EPT_MISCONFIGURATION = 49 "EPT misconfiguration";
    INVEPT = 50 "INVEPT";
    RDTSCP = 51 "RDTSCP";
    PREEMPTION_TIMER = 52 "VMX-preemption timer expired";
    INVVPID = 53 "INVVPID";
    /// WBNOINVD too.
    WBINVD = 54 "WBINVD";
    XSETBV = 55 "XSETBV";
    APIC_WRITE = 56 "APIC write";
    RDRAND = 57 "RDRAND";
    INVPCID = 58 "INVPCID";
    VMFUNC = 59 "VMFUNC";
    ENCLS = 60 "ENCLS";
    RDSEED = 61 "RDSEED";
    PML_FULL = 62 "page-modification log full";
    XSAVES = 63 "XSAVES";
    XRSTORS = 64 "XRSTORS";
    PCONFIG = 65 "PCONFIG";
    SPP_EVENT = 66 "SPP-related event";
    UMWAIT = 67 "UMWAIT";
    TPAUSE = 68 "TPAUSE";
    LOADIWKEY = 69 "LOADIWKEY";
    ENCLV = 70 "ENCLV";
    ENQCMD_PASID = 72 "ENQCMD PASID translation failure";
    ENQCMDS_PASID = 73 "ENQCMDS PASID translation failure";
    BUS_LOCK = 74 "bus lock";
    INSTRUCTION_TIMEOUT = 75 "instruction timeout";
    SEAMCALL = 76 "SEAMCALL";
    TDCALL = 77 "TDCALL";
}

impl BasicReason {
    /// The reason in words, for logs.
    pub fn words(self) -> Option<&'static str> {
        let at = WORDS.binary_search_by_key(&self.0, |(number, _)| *number).ok()?;
        WORDS.get(at).map(|(_, words)| *words)
    }
}

impl fmt::Debug for BasicReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words().unwrap_or("unknown"), self.0)
    }
}

impl fmt::Debug for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x})", self.basic().words().unwrap_or("unknown"), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn the_list_is_in_ascending_order() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_failed_entry_is_told_from_an_exit() {
        let reason = ExitReason(0x8000_0021);
        assert!(reason.is_entry_failure());
        assert_eq!(reason.basic(), BasicReason::INVALID_GUEST_STATE);
        assert_eq!(std::format!("{reason:?}"), "VM-entry failure: invalid guest state (0x80000021)");
        assert!(!ExitReason(10).is_entry_failure());
    }

    #[test]
    fn reasons_have_words_and_gaps_have_none() {
        assert_eq!(BasicReason::CPUID.words(), Some("CPUID"));
        assert_eq!(BasicReason(35).words(), None);
        assert_eq!(BasicReason(78).words(), None);
        assert_eq!(std::format!("{:?} {:?}", BasicReason(12), BasicReason(71)), "HLT (12) unknown (71)");
    }

    #[test]
    fn flags_beside_the_reason_do_not_change_it() {
        let reason = ExitReason(0x1C00_0030);
        assert_eq!(reason.basic(), BasicReason::EPT_VIOLATION);
        assert!(reason.is_with_bus_lock() && reason.is_in_enclave() && reason.is_with_pending_mtf());
    }
}
