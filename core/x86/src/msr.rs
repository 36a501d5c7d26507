//! Numbers and bits of model-specific registers (APM Vol. 2, revision 3.42, appendix A, and s. 3.1.7, 15.30; those that
//! only Intel's CPUs have: SDM Vol. 4, revision 083). The VMX capability MSRs are in [`crate::vmx::capability`].

use bitflags::bitflags;

pub const TSC: u32 = 0x10;
pub const APIC_BASE: u32 = 0x1B;
/// See [`crate::vmx::FeatureControl`].
pub const FEATURE_CONTROL: u32 = 0x3A;
pub const SPEC_CTRL: u32 = 0x48;
/// A write loads a microcode update (Intel).
pub const BIOS_UPDT_TRIG: u32 = 0x79;
pub const SMM_MONITOR_CTL: u32 = 0x9B;
/// The SMM base address (Intel); readable in SMM.
pub const SMBASE: u32 = 0x9E;
pub const UMWAIT_CONTROL: u32 = 0xE1;
pub const SYSENTER_CS: u32 = 0x174;
pub const SYSENTER_ESP: u32 = 0x175;
pub const SYSENTER_EIP: u32 = 0x176;
pub const DEBUGCTL: u32 = 0x1D9;
pub const PAT: u32 = 0x277;
pub const PERF_GLOBAL_CTRL: u32 = 0x38F;
/// When the local APIC's timer fires, in ticks of the TSC.
pub const TSC_DEADLINE: u32 = 0x6E0;
/// First and last MSR of the x2APIC.
pub const X2APIC_FIRST: u32 = 0x800;
pub const X2APIC_LAST: u32 = 0x8FF;
/// Encryption of memory; bits 35:32: how many bits of a physical address choose the key.
pub const TME_ACTIVATE: u32 = 0x982;
pub const XSS: u32 = 0xDA0;
pub const EFER: u32 = 0xC000_0080;
pub const STAR: u32 = 0xC000_0081;
pub const LSTAR: u32 = 0xC000_0082;
pub const CSTAR: u32 = 0xC000_0083;
pub const SFMASK: u32 = 0xC000_0084;
pub const FS_BASE: u32 = 0xC000_0100;
pub const GS_BASE: u32 = 0xC000_0101;
pub const KERNEL_GS_BASE: u32 = 0xC000_0102;
pub const TSC_AUX: u32 = 0xC000_0103;
/// Ratio of guest TSC to host TSC (s. 15.30.5).
pub const TSC_RATIO: u32 = 0xC000_0104;
/// System configuration: memory encryption, enables of TOP_MEM2 and of the fixed-range MTRRs' extension (s. 7.9, 15.34).
pub const SYSCFG: u32 = 0xC001_0010;
/// First of two pairs, each of base and mask: whether a range is RAM or memory-mapped I/O (s. 7.9.2).
pub const IORR_BASE_0: u32 = 0xC001_0016;
pub const IORR_MASK_1: u32 = 0xC001_0019;
/// End of the RAM below 4 GiB (s. 7.9.4).
pub const TOP_MEM: u32 = 0xC001_001A;
/// End of the RAM above 4 GiB.
pub const TOP_MEM2: u32 = 0xC001_001D;
/// A write loads a microcode update.
pub const PATCH_LOADER: u32 = 0xC001_0020;
/// Where PCI configuration space lies in memory.
pub const MMIO_CONFIG_BASE: u32 = 0xC001_0058;
pub const SMM_BASE: u32 = 0xC001_0111;
pub const SMM_ADDR: u32 = 0xC001_0112;
pub const SMM_MASK: u32 = 0xC001_0113;
/// See [`VmCr`].
pub const VM_CR: u32 = 0xC001_0114;
pub const IGNNE: u32 = 0xC001_0115;
pub const SMM_CTL: u32 = 0xC001_0116;
/// Physical address of the page where VMRUN saves host state (s. 15.30.4).
pub const VM_HSAVE_PA: u32 = 0xC001_0117;
/// Key that unlocks [`VmCr::SVMDIS`] (s. 15.31).
pub const SVM_KEY: u32 = 0xC001_0118;
/// Key that unlocks the SMM registers.
pub const SMM_KEY: u32 = 0xC001_0119;

/// What PAT holds after reset (s. 7.8.2): write-back, write-through, UC-, uncacheable, twice.
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;

bitflags! {
    /// Extended feature enable register (s. 3.1.7).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Efer: u64 {
        /// SYSCALL and SYSRET.
        const SCE = 1 << 0;
        /// Long mode is wanted.
        const LME = 1 << 8;
        /// Long mode is active.
        const LMA = 1 << 10;
        /// Pages can be no-execute.
        const NXE = 1 << 11;
        /// The SVM instructions are there; must be set in a VMCB too.
        const SVME = 1 << 12;
        /// Segment limits in long mode.
        const LMSLE = 1 << 13;
        /// FXSAVE leaves the XMM registers out.
        const FFXSR = 1 << 14;
        /// INVLPG flushes less of the upper page tables.
        const TCE = 1 << 15;
        /// MCOMMIT.
        const MCOMMIT = 1 << 17;
        /// WBINVD can be interrupted.
        const INTWB = 1 << 18;
        /// Upper address ignore.
        const UAIE = 1 << 20;
        /// Automatic IBRS.
        const AIBRSE = 1 << 21;
    }

    /// VM_CR (s. 15.30.1).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmCr: u64 {
        /// No external debug port.
        const DPD = 1 << 0;
        /// INIT becomes the exception #SX.
        const R_INIT = 1 << 1;
        /// A20 masking is off.
        const DIS_A20M = 1 << 2;
        /// LOCK and SVMDIS cannot be written until reset or SVM_KEY.
        const LOCK = 1 << 3;
        /// EFER.SVME must be zero.
        const SVMDIS = 1 << 4;
    }
}
