//! What CPUID tells about SVM (APM Vol. 3 appendix E).

use bitflags::bitflags;

/// Leaf with the bit SVM in ECX.
pub const EXTENDED_FEATURES: u32 = 0x8000_0001;
/// `EXTENDED_FEATURES` ECX bit: the SVM instructions are there.
pub const SVM: u32 = 1 << 2;
/// `EXTENDED_FEATURES` ECX bit: SKINIT and STGI are there.
pub const SKINIT: u32 = 1 << 12;
/// Leaf of SVM: EAX bits 7:0 revision, EBX number of ASIDs, EDX [`SvmFeatures`].
pub const SVM_LEAF: u32 = 0x8000_000A;

bitflags! {
    /// EDX of [`SVM_LEAF`].
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SvmFeatures: u32 {
        /// Nested paging.
        const NP = 1 << 0;
        const LBR_VIRT = 1 << 1;
        /// SVM lock: SVM_KEY.
        const SVML = 1 << 2;
        /// The next RIP is saved on exits.
        const NRIPS = 1 << 3;
        const TSC_RATE_MSR = 1 << 4;
        const VMCB_CLEAN = 1 << 5;
        const FLUSH_BY_ASID = 1 << 6;
        const DECODE_ASSISTS = 1 << 7;
        const PMC_VIRT = 1 << 8;
        const PAUSE_FILTER = 1 << 10;
        const PAUSE_FILTER_THRESHOLD = 1 << 12;
        const AVIC = 1 << 13;
        /// VMSAVE and VMLOAD in a guest without exit.
        const VMSAVE_VIRT = 1 << 15;
        const VGIF = 1 << 16;
        /// Guest mode execute trap.
        const GMET = 1 << 17;
        const X2AVIC = 1 << 18;
        /// Supervisor shadow stack check.
        const SSS_CHECK = 1 << 19;
        const SPEC_CTRL = 1 << 20;
        /// Read-only guest page tables.
        const ROGPT = 1 << 21;
        const HOST_MCE_OVERRIDE = 1 << 23;
        /// INVLPGB and TLBSYNC in a guest without exit.
        const TLBI_CTL = 1 << 24;
        const VNMI = 1 << 25;
        const IBS_VIRT = 1 << 26;
    }
}
