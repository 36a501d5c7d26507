//! MSRs of Intel's CPUs, from Nehalem on.

use crate::Rule::{
    Absent, ApicBase, Frozen, InterruptCommand, Locked, Masked, MemoryType, Pass, Tsc, TscAdjust, TscDeadline,
};
use crate::{MsrRow, Rule, in_order};

const fn row(msrs: core::ops::RangeInclusive<u32>, name: &'static str, rule: Rule, reason: &'static str) -> MsrRow {
    MsrRow::new(msrs, name, rule, reason)
}

/// TEST_CTRL: all but UC-lock Disable.
const TEST_CTRL: Rule = Frozen { free: !(1 << 28) };
/// FEATURE_CONTROL as firmware leaves it that allows neither VMX (bits 1 and 2) nor SENTER (bits 15:8), and locks it
/// (bit 0). What it tells of SGX and of local machine checks holds for the guest.
const FEATURE_CONTROL: Rule = Locked { native: !0xff06, set: 1 << 0, ignored: None };
/// CORE_CAPABILITIES: RSM in CPL 0 only, and split locks raise #AC. The others have registers that are refused.
const CORE_CAPABILITIES: Rule = Locked { native: 1 << 1 | 1 << 5, set: 0, ignored: None };
/// MCU_OPT_CTRL: all but FB_CLEAR_DIS and GDS_MITG_DIS.
const MCU_OPT_CTRL: Rule = Masked { free: !(1 << 3 | 1 << 4), set_only: 0 };
/// MISC_ENABLE: all but XD Bit Disable.
const MISC_ENABLE: Rule = Frozen { free: !(1 << 34) };
/// XSS: all but Processor Trace, user interrupts and branch records.
const XSS: Rule = Frozen { free: !(1 << 8 | 1 << 14 | 1 << 15) };

const MITIGATION: &str =
    "the guest guards itself from its own programs; see the table of speculation in ARCHITECTURE.md";
const ERRORS: &str = "machine checks are the guest's to report; a write clears a status or switches a report on";
const IDENTITY: &str = "tells what the machine is";
const RESOURCES: &str = "shares of caches and bandwidth: slow the VMM at most as much as the guest slows itself";
const TYPES: &str =
    "VT-x ignores MTRRs under nested paging: the tables tell the types instead and follow; VMM memory keeps its type";
const POWER: &str = "the guest manages power: performance within what the machine allows, and how deep it sleeps";
const RESIDENCY: &str = "clocks of sleep and work";
const THERMAL: &str = "temperatures; too hot slows the machine by itself";
const LIMITS: &str = "power limits slow the machine at most";
const ENERGY: &str = "energy used tells of the operands of the VMM's cipher";
const VOLTAGE: &str = "frequency and voltage: too little voltage lets the VMM's cipher err";
const HIDES: &str = "hides a range of memory from the VMM too";
const SWITCHED_OFF: &str = "each VM exit clears DEBUGCTL, so that nothing of the VMM is recorded";
const TRACE: &str = "a trace is written by host-physical address, past the nested tables";
const RECORDS: &str = "its records go to linear addresses, and it goes on in the VMM; hidden";
const BRANCHES: &str = "VM exits do not stop it: it would record the VMM's branches; hidden";
const NO_VMX: &str = "the guest has no VMX";

/// All that a guest gets, and what it is refused for a special reason. The rest is refused because nobody knows it.
pub const MSRS: &[MsrRow] = &[
    row(0x0..=0x1, "P5_MC_ADDR, P5_MC_TYPE", Pass, ERRORS),
    row(0x6..=0x6, "MONITOR_FILTER_SIZE", Pass, IDENTITY),
    row(0x10..=0x10, "TSC", Tsc, "the VMM's clock runs on it"),
    row(0x17..=0x17, "PLATFORM_ID", Pass, IDENTITY),
    row(
        0x1b..=0x1b,
        "APIC_BASE",
        ApicBase,
        "the APIC's page must not cover VMM memory, nor its registers go unwatched",
    ),
    row(0x1c..=0x1c, "USER_MSR_CTL", Absent, "the CPU reads a bitmap by linear address; hidden"),
    row(0x2a..=0x2c, "EBL_CR_POWERON, EBC_FREQUENCY_ID", Rule::IGNORED, IDENTITY),
    row(0x33..=0x33, "TEST_CTRL", TEST_CTRL, "locked accesses of the VMM to uncacheable memory would fault"),
    row(0x34..=0x35, "SMI_COUNT, CORE_THREAD_COUNT", Pass, IDENTITY),
    row(0x3a..=0x3a, "FEATURE_CONTROL", FEATURE_CONTROL, "the guest has neither VMX nor SMX"),
    row(0x3b..=0x3b, "TSC_ADJUST", TscAdjust, "the VMM's clock runs on the TSC"),
    row(0x40..=0x47, "LASTBRANCH_FROM", Pass, SWITCHED_OFF),
    row(0x48..=0x49, "SPEC_CTRL, PRED_CMD", Pass, MITIGATION),
    row(0x4e..=0x4f, "PPIN_CTL, PPIN", Pass, IDENTITY),
    row(0x60..=0x67, "LASTBRANCH_TO", Pass, SWITCHED_OFF),
    row(
        0x79..=0x79,
        "BIOS_UPDT_TRIG",
        Rule::IGNORED,
        "loads microcode by linear address, of the VMM by then; firmware or the boot loader loads it",
    ),
    row(0x7a..=0x7a, "FEATURE_ACTIVATION", Rule::FROZEN, "firmware's"),
    row(0x87..=0x87, "MKTME_KEYID_PARTITIONING", Rule::FROZEN, IDENTITY),
    row(0x8b..=0x8b, "BIOS_SIGN_ID", Pass, "revision of the microcode; written before CPUID tells it"),
    row(0x8c..=0x8f, "SGXLEPUBKEYHASH", Pass, "whom the guest's enclaves are launched by"),
    row(0x9b..=0x9b, "SMM_MONITOR_CTL", Absent, "a monitor of SMM is a part of VMX, and the VMM's affair"),
    row(0x9e..=0x9e, "SMBASE", Absent, "for SMM alone"),
    row(0xbc..=0xbd, "MISC_PACKAGE_CTLS, XAPIC_DISABLE_STATUS", Rule::FROZEN, ENERGY),
    row(0xcd..=0xcd, "FSB_FREQ", Pass, IDENTITY),
    row(0xce..=0xce, "PLATFORM_INFO", Rule::IGNORED, IDENTITY),
    row(0xcf..=0xcf, "CORE_CAPABILITIES", CORE_CAPABILITIES, "tells of registers that are refused"),
    row(0xe1..=0xe1, "UMWAIT_CONTROL", Pass, "how long the guest's programs may sleep"),
    row(0xe2..=0xe2, "PKG_CST_CONFIG_CONTROL", Pass, POWER),
    row(0xe4..=0xe4, "PMG_IO_CAPTURE_BASE", Rule::FROZEN, "makes the VMM's IN of a port wait as MWAIT does"),
    row(0xe7..=0xe8, "MPERF, APERF", Pass, RESIDENCY),
    row(0xfe..=0xfe, "MTRRCAP", Pass, "how many MTRRs there are"),
    row(0x10a..=0x10a, "ARCH_CAPABILITIES", Pass, IDENTITY),
    row(0x10b..=0x10b, "FLUSH_CMD", Pass, MITIGATION),
    row(0x10f..=0x10f, "TSX_FORCE_ABORT", Pass, MITIGATION),
    row(0x119..=0x11e, "BBL_CR_CTL, BBL_CR_CTL3", Rule::IGNORED, "the second cache; firmware's"),
    row(0x122..=0x122, "TSX_CTRL", Pass, MITIGATION),
    row(0x123..=0x123, "MCU_OPT_CTRL", MCU_OPT_CTRL, "what the VMM leaves in vector registers and buffers would leak"),
    row(0x13a..=0x13a, "BOOT_GUARD_SACM_INFO", Rule::FROZEN, IDENTITY),
    row(0x13c..=0x13c, "FEATURE_CONFIG", Rule::FROZEN, "switches AES-NI off, which the VMM encrypts with"),
    row(0x140..=0x140, "MISC_FEATURES_ENABLES", Pass, "CPUID and MWAIT of the guest's programs"),
    row(0x150..=0x150, "OVERCLOCKING_MAILBOX", Rule::FROZEN, VOLTAGE),
    row(0x174..=0x176, "SYSENTER_CS, _ESP, _EIP", Pass, "VM entry and exit switch them"),
    row(0x179..=0x17b, "MCG_CAP, _STATUS, _CTL", Pass, ERRORS),
    row(0x17d..=0x17d, "SMM_MCA_CAP", Pass, IDENTITY),
    row(0x17f..=0x17f, "ERROR_CONTROL", Pass, ERRORS),
    row(0x195..=0x195, "OVERCLOCKING_STATUS", Rule::FROZEN, VOLTAGE),
    row(0x198..=0x199, "PERF_STATUS, PERF_CTL", Pass, POWER),
    row(0x19a..=0x19d, "CLOCK_MODULATION, THERM_INTERRUPT, THERM_STATUS, THERM2_CTL", Pass, THERMAL),
    row(0x1a0..=0x1a0, "MISC_ENABLE", MISC_ENABLE, "without execute disable the VMM's own page tables are invalid"),
    row(0x1a2..=0x1a2, "TEMPERATURE_TARGET", Pass, THERMAL),
    row(0x1a4..=0x1a4, "MISC_FEATURE_CONTROL", Pass, "prefetchers; a matter of speed"),
    row(0x1aa..=0x1aa, "MISC_PWR_MGMT", Pass, POWER),
    row(0x1ac..=0x1af, "TURBO_POWER_CURRENT_LIMIT, TURBO_RATIO_LIMIT", Rule::IGNORED, VOLTAGE),
    row(0x1b0..=0x1b0, "ENERGY_PERF_BIAS", Pass, POWER),
    row(0x1b1..=0x1b2, "PACKAGE_THERM_STATUS, _INTERRUPT", Pass, THERMAL),
    row(0x1c4..=0x1c5, "XFD, XFD_ERR", Pass, "states that the VMM does not use"),
    row(0x1c8..=0x1c9, "LBR_SELECT, LASTBRANCH_TOS", Pass, SWITCHED_OFF),
    row(0x1cc..=0x1d4, "FRED", Absent, "delivers events otherwise than the VMM injects them; hidden"),
    row(0x1d9..=0x1d9, "DEBUGCTL", Pass, "VM exit saves and clears it, VM entry loads it"),
    row(0x1db..=0x1de, "LASTBRANCH_FROM, _TO, LASTINT_FROM, _TO", Pass, SWITCHED_OFF),
    row(0x1e0..=0x1e0, "LER_INFO", Pass, SWITCHED_OFF),
    row(0x1f2..=0x1f5, "SMRR_PHYSBASE, _PHYSMASK, PRMRR_PHYSBASE, _PHYSMASK", Rule::FROZEN, HIDES),
    row(0x1f8..=0x1fa, "PLATFORM_DCA_CAP, CPU_DCA_CAP, DCA_0_CAP", Pass, "devices may write to caches"),
    row(0x1fb..=0x1fb, "PRMRR_VALID_CONFIG", Rule::FROZEN, HIDES),
    row(0x1fc..=0x1fc, "POWER_CTL", Pass, POWER),
    row(0x200..=0x21f, "MTRR_PHYSBASE, MTRR_PHYSMASK", MemoryType, TYPES),
    row(0x250..=0x250, "MTRR_FIX64K", MemoryType, TYPES),
    row(0x258..=0x259, "MTRR_FIX16K", MemoryType, TYPES),
    row(0x268..=0x26f, "MTRR_FIX4K", MemoryType, TYPES),
    row(0x277..=0x277, "PAT", Pass, "VM entry and exit switch it"),
    row(0x280..=0x29f, "MCi_CTL2", Pass, ERRORS),
    row(0x2a0..=0x2a1, "PRMRR_BASE_0", Rule::FROZEN, HIDES),
    row(
        0x2c2..=0x2d9,
        "SCAN, ARRAY_BIST, INTEGRITY_CAPABILITIES",
        Absent,
        "tests of the core load an image by linear address and stop the core",
    ),
    row(0x2e0..=0x2e0, "NO_EVICT_MODE", Absent, "the cache as RAM: writes of the VMM would be lost"),
    row(0x2f4..=0x2f5, "UNCORE_PRMRR", Rule::FROZEN, HIDES),
    row(0x2ff..=0x2ff, "MTRR_DEF_TYPE", MemoryType, TYPES),
    row(0x3f8..=0x3ff, "PKG_C3_RESIDENCY to CORE_C7_RESIDENCY", Pass, RESIDENCY),
    row(0x400..=0x47f, "MCi_CTL, _STATUS, _ADDR, _MISC", Pass, ERRORS),
    row(0x480..=0x493, "VMX_BASIC to VMX_EXIT_CTLS2", Absent, NO_VMX),
    row(0x4d0..=0x4d0, "MCG_EXT_CTL", Pass, ERRORS),
    row(0x4e0..=0x4e3, "SMM_FEATURE_CONTROL, SMM_DELAYED, SMM_BLOCKED", Rule::FROZEN, "for SMM alone"),
    row(0x500..=0x500, "SGX_SVN_STATUS", Pass, IDENTITY),
    row(0x560..=0x561, "RTIT_OUTPUT_BASE, _MASK_PTRS", Absent, TRACE),
    row(0x570..=0x572, "RTIT_CTL, _STATUS, _CR3_MATCH", Absent, TRACE),
    row(0x580..=0x587, "RTIT_ADDR", Absent, TRACE),
    row(0x600..=0x600, "DS_AREA", Absent, RECORDS),
    row(0x601..=0x601, "VR_CURRENT_CONFIG", Rule::IGNORED, VOLTAGE),
    row(0x603..=0x603, "VR_MISC_CONFIG", Rule::IGNORED, VOLTAGE),
    row(0x606..=0x606, "RAPL_POWER_UNIT", Pass, IDENTITY),
    row(0x60a..=0x60d, "PKGC_IRTL, PKG_C2_RESIDENCY", Pass, POWER),
    row(0x610..=0x610, "PKG_POWER_LIMIT", Pass, LIMITS),
    row(0x611..=0x611, "PKG_ENERGY_STATUS", Absent, ENERGY),
    row(0x613..=0x614, "PKG_PERF_STATUS, PKG_POWER_INFO", Pass, LIMITS),
    row(0x618..=0x618, "DRAM_POWER_LIMIT", Pass, LIMITS),
    row(0x619..=0x619, "DRAM_ENERGY_STATUS", Absent, ENERGY),
    row(0x61b..=0x61c, "DRAM_PERF_STATUS, DRAM_POWER_INFO", Pass, LIMITS),
    row(0x620..=0x621, "UNCORE_RATIO_LIMIT, UNCORE_PERF_STATUS", Pass, POWER),
    row(0x630..=0x635, "PKG_C8-C10_RESIDENCY, PKGC8-C10_IRTL", Pass, RESIDENCY),
    row(0x638..=0x638, "PP0_POWER_LIMIT", Pass, LIMITS),
    row(0x639..=0x639, "PP0_ENERGY_STATUS", Absent, ENERGY),
    row(0x63a..=0x63b, "PP0_POLICY, PP0_PERF_STATUS", Pass, LIMITS),
    row(0x640..=0x640, "PP1_POWER_LIMIT", Pass, LIMITS),
    row(0x641..=0x641, "PP1_ENERGY_STATUS", Absent, ENERGY),
    row(0x642..=0x642, "PP1_POLICY", Pass, LIMITS),
    row(0x648..=0x64c, "CONFIG_TDP, TURBO_ACTIVATION_RATIO", Pass, LIMITS),
    row(0x64d..=0x64d, "PLATFORM_ENERGY_STATUS", Absent, ENERGY),
    row(0x64e..=0x650, "PPERF, PERF_LIMIT_REASONS, SECONDARY_TURBO_RATIO_LIMIT", Pass, RESIDENCY),
    row(0x652..=0x656, "PKG_HDC, CORE_HDC, LONG_HDC residencies", Pass, RESIDENCY),
    row(0x658..=0x65b, "PKG_WEIGHTED_CORE_C0_RES, ANY_CORE_C0, ANY_GFXE_C0, BOTH_C0", Pass, RESIDENCY),
    row(0x65c..=0x65c, "PLATFORM_POWER_LIMIT", Pass, LIMITS),
    row(0x660..=0x66d, "CORE_C1_RES, MODULE_C6_RES, demotion policies, ATOM ratios", Pass, RESIDENCY),
    row(
        0x680..=0x6df,
        "LASTBRANCH_FROM, _TO; U_CET, S_CET, PLi_SSP, SSP_TABLE_ADDR; PERF_LIMIT_REASONS",
        Pass,
        "records stop at VM exits; shadow stacks are off while CR4.CET is, as in the VMM",
    ),
    row(0x6e0..=0x6e0, "TSC_DEADLINE", TscDeadline, "set at each tick, so no exit while the guest's TSC is the CPU's"),
    row(0x6e1..=0x6e1, "PKRS", Pass, "protection keys are off while CR4.PKS is, as in the VMM"),
    row(0x770..=0x777, "HWP", Pass, POWER),
    row(0x800..=0x82f, "x2APIC", Pass, "the local APIC is the guest's; an EOI must not exit"),
    row(
        0x830..=0x830,
        "x2APIC ICR",
        InterruptCommand,
        "an INIT or a startup IPI would take a CPU out of the virtual machine",
    ),
    row(0x831..=0x8ff, "x2APIC", Pass, "the local APIC is the guest's"),
    row(
        0x981..=0x984,
        "TME_CAPABILITY, _ACTIVATE, _EXCLUDE_MASK, _EXCLUDE_BASE",
        Rule::FROZEN,
        "encrypts memory that the VMM has written",
    ),
    row(0x985..=0x98a, "UINTR", Absent, "user interrupts are posted by linear address; hidden"),
    row(0x990..=0x991, "COPY_STATUS, IWKEYBACKUP_STATUS", Pass, "the guest's wrapping key; the VMM has none"),
    row(0xc80..=0xc80, "DEBUG_INTERFACE", Rule::FROZEN, "lets a debugger into the VMM"),
    row(0xc81..=0xd8f, "QOS_CFG, QM_EVTSEL, QM_CTR, PQR_ASSOC, QOS_MASK, MBA_THRTL", Pass, RESOURCES),
    row(0xd90..=0xd90, "BNDCFGS", Rule::FROZEN, "branches of the VMM would clear the guest's bounds"),
    row(
        0xd91..=0xd93,
        "COPY_LOCAL_TO_PLATFORM, COPY_PLATFORM_TO_LOCAL, PASID",
        Pass,
        "the guest's wrapping key; which address space its ENQCMD names",
    ),
    row(0xda0..=0xda0, "XSS", XSS, "XRSTORS would load registers that are refused"),
    row(0xdb0..=0xdb2, "PKG_HDC_CTL, PM_CTL1, THREAD_STALL", Pass, POWER),
    row(0xdc0..=0xddf, "LASTBRANCH_INFO", Pass, SWITCHED_OFF),
    row(0x1200..=0x121f, "LBR_INFO (architectural)", Absent, BRANCHES),
    row(0x1400..=0x1401, "SEAMRR_PHYSBASE, _PHYSMASK", Rule::FROZEN, HIDES),
    row(0x14ce..=0x14cf, "LBR_CTL, LBR_DEPTH", Absent, BRANCHES),
    row(0x1500..=0x151f, "LBR_FROM", Absent, BRANCHES),
    row(0x1600..=0x161f, "LBR_TO", Absent, BRANCHES),
    row(
        0x17d0..=0x17d4,
        "HW_FEEDBACK_PTR, _CONFIG, _CHAR, _THREAD_CONFIG",
        Absent,
        "the CPU writes its table by host-physical address, past the nested tables; hidden",
    ),
    row(0x17da..=0x17da, "HRESET_ENABLE", Pass, "forgets what predictors have learnt"),
    row(0xc000_0080..=0xc000_0080, "EFER", Pass, "VM entry and exit switch it"),
    row(0xc000_0081..=0xc000_0084, "STAR, LSTAR, CSTAR, FMASK", Pass, "the VMM uses no SYSCALL"),
    row(0xc000_0100..=0xc000_0101, "FS_BASE, GS_BASE", Pass, "VM entry and exit switch them"),
    row(0xc000_0102..=0xc000_0103, "KERNEL_GS_BASE, TSC_AUX", Pass, "the VMM uses none"),
];
const _: () = assert!(in_order(MSRS));
