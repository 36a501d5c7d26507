//! CPUID of AMD's CPUs (APM Vol. 3 appendix E).

use crate::{HiddenBits, bits_in_order};

const NO_SVM: &str = "the guest has no virtualization extension";
const NO_ENCRYPTION: &str = "the C-bit would be a part of guest-physical addresses";
const NO_SAMPLES: &str = "samples the VMM as well, with the addresses that it reads and writes";
const NO_BRANCHES: &str = "records the VMM's branches as well";
const NO_PROFILING: &str = "writes records by linear address";
const NO_ENERGY: &str = "energy used tells of the operands of the VMM's cipher";

/// What the guest does not see.
pub const HIDDEN: &[HiddenBits] = &[
    HiddenBits::ecx(0x8000_0001, None, 1 << 2 | 1 << 12, "SVM, SKINIT", NO_SVM),
    HiddenBits::ecx(0x8000_0001, None, 1 << 10, "IBS", NO_SAMPLES),
    HiddenBits::ecx(0x8000_0001, None, 1 << 15, "LWP", NO_PROFILING),
    HiddenBits::edx(0x8000_0007, None, 1 << 12 | 1 << 14, "ProcPowerReporting, RAPL", NO_ENERGY),
    HiddenBits::ebx(0x8000_0008, None, 1 << 3 | 1 << 21, "INVLPGB, TLBSYNC", "raise #UD unless the VMCB enables them"),
    HiddenBits::ebx(0x8000_0008, None, 1 << 31, "branch sampling", NO_BRANCHES),
    HiddenBits::all(0x8000_000a, None, "SVM revision and features", NO_SVM),
    HiddenBits::all(0x8000_001b, None, "IBS features", NO_SAMPLES),
    HiddenBits::all(0x8000_001c, None, "LWP features", NO_PROFILING),
    HiddenBits::all(0x8000_001f, None, "SME, SEV", NO_ENCRYPTION),
    HiddenBits::eax(0x8000_0021, None, 1 << 22, "workload classes", "their registers are refused"),
    HiddenBits::eax(0x8000_0022, None, 1 << 1 | 1 << 2, "LbrExtV2, LbrAndPmcFreeze", NO_BRANCHES),
    HiddenBits::all(0x8000_0023, None, "multiple encryption keys", NO_ENCRYPTION),
    HiddenBits::all(0x8000_0025, None, "segmented RMP", NO_ENCRYPTION),
];
const _: () = assert!(bits_in_order(HIDDEN));
