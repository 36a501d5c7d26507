//! What a guest under AMD-V neither reaches nor sees, each with its reason.
//!
//! Memory types (MTRR, PAT) pass: the CPU applies them to the guest by itself, and they make the VMM slow at most, never
//! wrong.
//!
//! Further manuals: *Processor Programming Reference for family 17h model 01h* (54945) revision 3.03; APM Vol. 3 (24594)
//! revision 3.36, appendix E.

use exit::{CpuidLeaf, HiddenBits, MsrIntercept, Policy, Rule};
use x86::msr::{self, VmCr};

/// SYSCFG: MtrrFixDramEn and MtrrFixDramModEn, which reach the first MiB only.
const SYSCFG_FREE: u64 = 1 << 18 | 1 << 19;
/// As firmware disables AMD-V for good; what is locked ignores writes (APM s. 15.30.1).
const DISABLED: Rule =
    Rule::Locked { native: 0, set: VmCr::LOCK.union(VmCr::SVMDIS).bits(), ignored: Some(VmCr::all().bits()) };
const ROUTING: &str = "routes the physical addresses of VMM memory between RAM and devices";
const SMRAM: &str = "SMM runs outside nested paging; its memory must not move onto the VMM's";

/// Every other MSR that the permission map covers passes.
pub const MSR_INTERCEPTS: &[MsrIntercept] = &[
    MsrIntercept::APIC_BASE,
    MsrIntercept::INTERRUPT_COMMAND,
    MsrIntercept::new(msr::EFER, Rule::Efer, "SVME is set while the guest runs and must neither show nor change"),
    MsrIntercept::new(msr::SYSCFG, Rule::Frozen { free: SYSCFG_FREE }, "memory encryption, SNP, TOP_MEM enables"),
    MsrIntercept::range(msr::IORR_BASE_0..=msr::IORR_MASK_1, Rule::FROZEN, ROUTING),
    MsrIntercept::new(msr::TOP_MEM, Rule::FROZEN, ROUTING),
    MsrIntercept::new(msr::TOP_MEM2, Rule::FROZEN, ROUTING),
    MsrIntercept::new(msr::PATCH_LOADER, Rule::MicrocodeUpdate, "takes a linear address, of the VMM by then"),
    MsrIntercept::new(msr::MMIO_CONFIG_BASE, Rule::FROZEN, "a window to PCI configuration past the guarded ports"),
    MsrIntercept::range(msr::SMM_BASE..=msr::SMM_MASK, Rule::FROZEN, SMRAM),
    MsrIntercept::new(msr::VM_CR, DISABLED, "the guest has no SVM; R_INIT and DIS_A20M are the VMM's"),
    MsrIntercept::new(msr::SMM_CTL, Rule::Absent, "enters and leaves SMM at will"),
    MsrIntercept::new(msr::VM_HSAVE_PA, Rule::Absent, "where the CPU keeps the VMM's state while the guest runs"),
    MsrIntercept::new(msr::SVM_KEY, Rule::Absent, "unlocks SVM; the guest has none"),
    MsrIntercept::new(msr::SMM_KEY, Rule::Absent, "unlocks the SMM registers"),
];
const _: () = assert!(exit::in_order(MSR_INTERCEPTS));

const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];

/// CPUID bits (APM Vol. 3 E.4).
const HIDDEN: [HiddenBits; 3] = [
    // SVM and SKINIT: the guest has no virtualization extension and no secure launch of its own.
    HiddenBits { leaf: 0x8000_0001, subleaf: None, bits: CpuidLeaf { ecx: 1 << 2 | 1 << 12, ..CpuidLeaf::ZEROS } },
    // SVM revision and features.
    HiddenBits { leaf: 0x8000_000a, subleaf: None, bits: CpuidLeaf::ONES },
    // Encrypted memory (SME, SEV): the C-bit would be a part of guest-physical addresses here.
    HiddenBits { leaf: 0x8000_001f, subleaf: None, bits: CpuidLeaf::ONES },
];

/// What a guest on this CPU is held to.
pub fn policy() -> Policy {
    Policy { msrs: MSR_INTERCEPTS, hidden: HIDDEN.into_iter().collect(), hypercall: VMMCALL }
}
