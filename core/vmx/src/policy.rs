//! What a guest under VT-x neither reaches nor sees, each with its reason.
//!
//! EFER and PAT are not here: VM entry and exit switch them. DEBUGCTL is saved and cleared by each exit.
//!
//! Further manual: SDM Vol. 4 (335592), chapter 2, for the registers; SDM Vol. 2A, CPUID, for the features.

use crate::features::Features;
use exit::{CpuidLeaf, HiddenBits, MsrIntercept, Policy, Rule};
use x86::msr::{BIOS_UPDT_TRIG, FEATURE_CONTROL, SMM_MONITOR_CTL};
use x86::vmx::capability::msr::{VMX_BASIC, VMX_EXIT_CTLS2};
use x86::vmx::{SecondaryControls, cpuid};

const TEST_CTRL: u32 = 0x33;
const IO_CAPTURE_BASE: u32 = 0xe4;
const FEATURE_CONFIG: u32 = 0x13c;
const OVERCLOCKING_MAILBOX: u32 = 0x150;
const MISC_ENABLE: u32 = 0x1a0;
const SMRR_PHYSBASE: u32 = 0x1f2;
const PRMRR_PHYSMASK: u32 = 0x1f5;
const MTRR_PHYSBASE_0: u32 = 0x200;
const MTRR_PHYSMASK_15: u32 = 0x21f;
const MTRR_FIX_64K: u32 = 0x250;
const MTRR_FIX_16K_80000: u32 = 0x258;
const MTRR_FIX_16K_A0000: u32 = 0x259;
const MTRR_FIX_4K_C0000: u32 = 0x268;
const MTRR_FIX_4K_F8000: u32 = 0x26f;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const PEBS_ENABLE: u32 = 0x3f1;
const PEBS_BASE: u32 = 0x3f4;
const PEBS_INDEX: u32 = 0x3f5;
const RTIT_OUTPUT_BASE: u32 = 0x560;
const RTIT_OUTPUT_MASK_PTRS: u32 = 0x561;
const RTIT_CTL: u32 = 0x570;
const RTIT_CR3_MATCH: u32 = 0x572;
const RTIT_ADDR0_A: u32 = 0x580;
const RTIT_ADDR3_B: u32 = 0x587;
const TME_EXCLUDE_BASE: u32 = 0x984;
const DEBUG_INTERFACE: u32 = 0xc80;
const XSS: u32 = 0xda0;
const HW_FEEDBACK_PTR: u32 = 0x17d0;
const HW_FEEDBACK_CONFIG: u32 = 0x17d1;

/// FEATURE_CONTROL as firmware leaves it that allows neither VMX (bits 1 and 2) nor SENTER (bits 15:8), and locks it
/// (bit 0). What it tells of SGX and of local machine checks holds for the guest.
const WITHOUT_VMX: Rule = Rule::Locked { native: !0xff06, set: 1 << 0, ignored: None };
/// TEST_CTRL: all but UC-lock Disable.
const TEST_CTRL_FREE: u64 = !(1 << 28);
/// MISC_ENABLE: all but XD Bit Disable.
const MISC_ENABLE_FREE: u64 = !(1 << 34);
/// XSS: all but PT, the state of Processor Trace.
const XSS_FREE: u64 = !(1 << 8);
const TYPES: &str = "VT-x ignores MTRRs under nested paging; the tables tell the types instead and follow";
const TRACE: &str = "a trace is written by host-physical address, past the nested tables";

/// Every other MSR that the bitmaps cover passes.
pub const MSR_INTERCEPTS: &[MsrIntercept] = &[
    MsrIntercept::APIC_BASE,
    MsrIntercept::new(
        TEST_CTRL,
        Rule::Frozen { free: TEST_CTRL_FREE },
        "locked accesses of the VMM to uncacheable memory would fault",
    ),
    MsrIntercept::new(FEATURE_CONTROL, WITHOUT_VMX, "the guest has neither VMX nor SMX"),
    MsrIntercept::new(BIOS_UPDT_TRIG, Rule::MicrocodeUpdate, "takes a linear address, of the VMM by then"),
    MsrIntercept::new(SMM_MONITOR_CTL, Rule::Absent, "a monitor of SMM is a part of VMX, and the VMM's affair"),
    MsrIntercept::new(IO_CAPTURE_BASE, Rule::FROZEN, "makes the VMM's IN of a port wait as MWAIT does"),
    MsrIntercept::new(FEATURE_CONFIG, Rule::FROZEN, "switches AES-NI off, which the VMM encrypts with"),
    MsrIntercept::new(OVERCLOCKING_MAILBOX, Rule::FROZEN, "lowers the voltage until the VMM's cipher errs"),
    MsrIntercept::new(
        MISC_ENABLE,
        Rule::Frozen { free: MISC_ENABLE_FREE },
        "without execute disable the VMM's own page tables are invalid",
    ),
    MsrIntercept::range(SMRR_PHYSBASE..=PRMRR_PHYSMASK, Rule::FROZEN, "hide a range of memory from the VMM too"),
    MsrIntercept::range(MTRR_PHYSBASE_0..=MTRR_PHYSMASK_15, Rule::MemoryType, TYPES),
    MsrIntercept::new(MTRR_FIX_64K, Rule::MemoryType, TYPES),
    MsrIntercept::range(MTRR_FIX_16K_80000..=MTRR_FIX_16K_A0000, Rule::MemoryType, TYPES),
    MsrIntercept::range(MTRR_FIX_4K_C0000..=MTRR_FIX_4K_F8000, Rule::MemoryType, TYPES),
    MsrIntercept::new(MTRR_DEF_TYPE, Rule::MemoryType, TYPES),
    MsrIntercept::new(PEBS_ENABLE, Rule::FROZEN, "counts on in the VMM and writes records to its linear addresses"),
    MsrIntercept::range(PEBS_BASE..=PEBS_INDEX, Rule::FROZEN, "as PEBS_ENABLE, on CPUs of architectural PEBS"),
    MsrIntercept::range(VMX_BASIC..=VMX_EXIT_CTLS2, Rule::Absent, "capabilities of VMX; the guest has none"),
    MsrIntercept::range(RTIT_OUTPUT_BASE..=RTIT_OUTPUT_MASK_PTRS, Rule::Absent, TRACE),
    MsrIntercept::range(RTIT_CTL..=RTIT_CR3_MATCH, Rule::Absent, TRACE),
    MsrIntercept::range(RTIT_ADDR0_A..=RTIT_ADDR3_B, Rule::Absent, TRACE),
    MsrIntercept::INTERRUPT_COMMAND,
    MsrIntercept::range(
        x86::msr::TME_ACTIVATE..=TME_EXCLUDE_BASE,
        Rule::FROZEN,
        "encrypts memory that the VMM has written",
    ),
    MsrIntercept::new(DEBUG_INTERFACE, Rule::FROZEN, "lets a debugger into the VMM"),
    MsrIntercept::new(
        XSS,
        Rule::Frozen { free: XSS_FREE },
        "XRSTORS would load the registers of Processor Trace, see RTIT_CTL",
    ),
    MsrIntercept::range(
        HW_FEEDBACK_PTR..=HW_FEEDBACK_CONFIG,
        Rule::Absent,
        "the CPU writes its table by host-physical address, past the nested tables",
    ),
];
const _: () = assert!(exit::in_order(MSR_INTERCEPTS));

const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];

const fn hidden(leaf: u32, subleaf: Option<u32>, bits: CpuidLeaf) -> HiddenBits {
    HiddenBits { leaf, subleaf, bits }
}

const ZEROS: CpuidLeaf = CpuidLeaf::ZEROS;

/// On every CPU.
const HIDDEN: [HiddenBits; 10] = [
    // VMX and SMX: the guest has no virtualization extension and no measured launch of its own.
    hidden(cpuid::FEATURES, None, CpuidLeaf { ecx: cpuid::VMX | cpuid::SMX, ..ZEROS }),
    // DS, with DTES64 and DS-CPL: its records of performance events, see PEBS_ENABLE.
    hidden(cpuid::FEATURES, None, CpuidLeaf { ecx: 1 << 2 | 1 << 4, edx: 1 << 21, ..ZEROS }),
    // Processor Trace, see RTIT_CTL.
    hidden(0x7, Some(0), CpuidLeaf { ebx: 1 << 25, ..ZEROS }),
    hidden(0x14, None, CpuidLeaf::ONES),
    // Its state, see XSS.
    hidden(0xd, Some(1), CpuidLeaf { ecx: 1 << 8, ..ZEROS }),
    hidden(0xd, Some(8), CpuidLeaf::ONES),
    // Hardware feedback and Thread Director, see HW_FEEDBACK_PTR.
    hidden(0x6, None, CpuidLeaf { eax: 1 << 19 | 1 << 23, ..ZEROS }),
    // Architectural PEBS, with the leaf of its monitoring extension, see PEBS_BASE.
    hidden(0x23, None, CpuidLeaf::ONES),
    // FRED (EAX bit 17), which delivers events otherwise than the VMM injects them; the leaf before (bit 8).
    hidden(0x7, Some(1), CpuidLeaf { eax: 1 << 8 | 1 << 17, ..ZEROS }),
    // PCONFIG: its control stays off, and the keys of memory encryption are the machine's.
    hidden(0x7, Some(0), CpuidLeaf { edx: 1 << 18, ..ZEROS }),
];

/// Instructions that raise #UD unless this control is set (SDM Vol. 3C 26.3).
const CONTROLLED: [(SecondaryControls, HiddenBits); 5] = [
    // RDTSCP, and RDPID with it.
    (SecondaryControls::ENABLE_RDTSCP, hidden(0x8000_0001, None, CpuidLeaf { edx: 1 << 27, ..ZEROS })),
    (SecondaryControls::ENABLE_RDTSCP, hidden(0x7, Some(0), CpuidLeaf { ecx: 1 << 22, ..ZEROS })),
    // INVPCID.
    (SecondaryControls::ENABLE_INVPCID, hidden(0x7, Some(0), CpuidLeaf { ebx: 1 << 10, ..ZEROS })),
    // XSAVES and XRSTORS.
    (SecondaryControls::ENABLE_XSAVES_XRSTORS, hidden(0xd, Some(1), CpuidLeaf { eax: 1 << 3, ..ZEROS })),
    // WAITPKG: TPAUSE, UMONITOR and UMWAIT.
    (SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE, hidden(0x7, Some(0), CpuidLeaf { ecx: 1 << 5, ..ZEROS })),
];

/// What a guest on this CPU is held to.
pub fn policy(features: &Features) -> Policy {
    let set = features.controls.secondary;
    let unusable = CONTROLLED.into_iter().filter(|(control, _)| !set.contains(*control)).map(|(_, bits)| bits);
    let hidden = HIDDEN.into_iter().chain(unusable).collect();
    Policy { msrs: MSR_INTERCEPTS, hidden, hypercall: VMCALL }
}
