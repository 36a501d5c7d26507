//! MSRs of AMD's CPUs, families 10h to 1Ah.

use crate::Rule::{
    Absent, ApicBase, Efer, Forced, InterruptCommand, Locked, Masked, MemoryType, Pass, Tsc, TscAdjust, TscDeadline,
};
use crate::{MsrRow, Rule, in_order};

const fn row(msrs: core::ops::RangeInclusive<u32>, name: &'static str, rule: Rule, reason: &'static str) -> MsrRow {
    MsrRow::new(msrs, name, rule, reason)
}

/// A performance event select register: GuestOnly is set and HostOnly clear (PPR, PERF_CTL bits 41:40).
const fn event_select(first: u32, last: u32) -> MsrRow {
    let rule = Forced { set: 1 << 40, clear: 1 << 41 };
    row(first..=last, "PERF_CTL", rule, "counts the guest only: the CPU stops counting while the VMM runs")
}

const fn counter(first: u32, last: u32) -> MsrRow {
    row(first..=last, "PERF_CTR", Pass, "counts what PERF_CTL selects, which is the guest alone")
}

/// HWCR: McStatusWrEn, CpbDis, IRPerfEn and CpuidUserDis. Others lock what is the VMM's, or make its own accesses of CF8-CFF fault.
const HWCR: Rule = Masked { free: 1 << 18 | 1 << 25 | 1 << 30 | 1 << 35, set_only: 0 };
/// NB_CFG: EnableCf8ExtCfg.
const NB_CFG: Rule = Masked { free: 1 << 46, set_only: 0 };
/// INT_PENDING: SmiOnCmpHalt and C1eOnCmpHalt.
const INT_PENDING: Rule = Masked { free: 3 << 27, set_only: 0 };
/// VM_CR as firmware disables AMD-V for good: LOCK and SVMDIS are set; what is locked ignores writes (APM s. 15.30.1).
const DISABLED: Rule = Locked { native: 0, set: 1 << 3 | 1 << 4, ignored: Some(0x1f) };
/// LS_CFG: SSBD of families 17h, 16h and 15h; the workaround of erratum 793 of family 16h.
const LS_CFG: Rule = Masked { free: 1 << 10 | 1 << 33 | 1 << 54, set_only: 1 << 15 };
/// DE_CFG: LFENCE serializes, the workaround of the leak of vector registers on Zen 2, erratum 665 of family 12h.
const DE_CFG: Rule = Masked { free: 0, set_only: 1 << 1 | 1 << 9 | 1 << 31 };

const MITIGATION: &str =
    "the guest guards itself from its own programs; see the table of speculation in ARCHITECTURE.md";
const UNUSED: &str = "the VMM uses no SYSCALL, no SYSENTER and no segment base";
const ERRORS: &str = "machine checks are the guest's to report; a write clears a status or switches a report on";
const RESOURCES: &str = "shares of caches and bandwidth: slow the VMM at most as much as the guest slows itself";
const TRAFFIC: &str = "counts traffic of the whole chip, by no address";
const FIXED_RANGES: &str =
    "types of the first MiB, where no memory of the VMM lies; not where its accesses go, while SYSCFG stands";
const ROUTING: &str = "routes the physical addresses of VMM memory between RAM and devices";
const SMRAM: &str = "SMM runs outside nested paging; its memory must not move onto the VMM's";
const VOLTAGE: &str = "frequency and voltage of each P-state: too little lets the VMM's cipher err";
const SMI_TRAP: &str = "makes the VMM's own port accesses SMIs";
const ENERGY: &str = "energy used tells of the operands of the VMM's cipher";
const SAMPLES: &str = "samples the VMM as well, with the addresses that it reads and writes";
const BRANCHES: &str = "records the VMM's branches as well";
const NO_SVM: &str = "the guest has no SVM";
const NO_ENCRYPTION: &str = "encrypted memory is hidden: its C-bit would be a part of guest-physical addresses";
const FEATURES: &str = "what CPUID answers to the VMM too";
const CHICKEN: &str =
    "switches parts of the core off and leaks back on; firmware has set it, the VMM runs on the same core";

/// All that a guest gets, and what it is refused for a special reason. The rest is refused because nobody knows it.
pub const MSRS: &[MsrRow] = &[
    row(0x10..=0x10, "TSC", Tsc, "the VMM's clock runs on it"),
    row(
        0x1b..=0x1b,
        "APIC_BASE",
        ApicBase,
        "the APIC's page must not cover VMM memory, nor its registers go unwatched",
    ),
    row(0x3b..=0x3b, "TSC_ADJUST", TscAdjust, "the VMM's clock runs on the TSC"),
    row(0x48..=0x49, "SPEC_CTRL, PRED_CMD", Pass, MITIGATION),
    row(0x8b..=0x8b, "PATCH_LEVEL", Pass, "revision of the microcode"),
    row(0xe7..=0xe8, "MPERF, APERF", Pass, "clocks at constant and at actual frequency"),
    row(0xfe..=0xfe, "MTRRCAP", Pass, "how many MTRRs there are"),
    row(0x10b..=0x10b, "FLUSH_CMD", Pass, MITIGATION),
    row(0x174..=0x176, "SYSENTER_CS, _ESP, _EIP", Pass, UNUSED),
    row(0x179..=0x17b, "MCG_CAP, _STATUS, _CTL", Pass, ERRORS),
    row(0x1d9..=0x1d9, "DEBUGCTL", Pass, "single steps and branch records need flags that the VMM has clear"),
    row(0x1db..=0x1de, "BR_FROM, BR_TO, LASTEXP_FROM, _TO", Pass, "one branch; the VMM's addresses are no secret"),
    row(0x200..=0x21f, "MTRR_PHYSBASE, MTRR_PHYSMASK", MemoryType, "would make VMM memory slow, or write-combining"),
    row(0x250..=0x250, "MTRR_FIX64K", Pass, FIXED_RANGES),
    row(0x258..=0x259, "MTRR_FIX16K", Pass, FIXED_RANGES),
    row(0x268..=0x26f, "MTRR_FIX4K", Pass, FIXED_RANGES),
    row(0x277..=0x277, "PAT", Pass, "switched with the guest, in the VMCB"),
    row(0x2ff..=0x2ff, "MTRR_DEF_TYPE", MemoryType, "as the variable ranges"),
    row(0x400..=0x47f, "MCi_CTL, _STATUS, _ADDR, _MISC", Pass, ERRORS),
    row(
        0x6a0..=0x6a8,
        "U_CET, S_CET, PLi_SSP, ISST_ADDR",
        Pass,
        "shadow stacks are off while CR4.CET is, as in the VMM",
    ),
    row(0x6e0..=0x6e0, "TSC_DEADLINE", TscDeadline, "set at each tick, so no exit while the guest's TSC is the CPU's"),
    row(0x800..=0x82f, "x2APIC", Pass, "the local APIC is the guest's; an EOI must not exit"),
    row(
        0x830..=0x830,
        "x2APIC ICR",
        InterruptCommand,
        "an INIT or a startup IPI would take a CPU out of the virtual machine",
    ),
    row(0x831..=0x8ff, "x2APIC", Pass, "the local APIC is the guest's"),
    row(0xc81..=0xd8f, "L3_QOS_CFG, QM_EVTSEL, QM_CTR, PQR_ASSOC, L3_MASK", Pass, RESOURCES),
    row(0xda0..=0xda0, "XSS", Pass, "state components of CET; the CPU refuses the others"),
    row(0xc000_0080..=0xc000_0080, "EFER", Efer, "SVME is set while the guest runs and must neither show nor change"),
    row(0xc000_0081..=0xc000_0084, "STAR, LSTAR, CSTAR, SFMASK", Pass, UNUSED),
    row(0xc000_00e7..=0xc000_00e9, "MPERF_RO, APERF_RO, IRPERF", Pass, "read-only counts of clocks and instructions"),
    row(0xc000_0100..=0xc000_0103, "FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX", Pass, UNUSED),
    row(0xc000_0104..=0xc000_0104, "TSC_RATIO", Absent, NO_SVM),
    row(
        0xc000_0105..=0xc000_0106,
        "LWP_CFG, LWP_CBADDR",
        Absent,
        "lightweight profiling writes by linear address; hidden",
    ),
    row(0xc000_0108..=0xc000_0108, "PREFETCH_CONTROL", Pass, "hints; a matter of speed"),
    row(0xc000_010e..=0xc000_010f, "LBR_SELECT, DBG_EXTN_CFG", Absent, BRANCHES),
    row(0xc000_0200..=0xc000_02ff, "L3QOS_BW_CONTROL, L3QOS_SLOWBW_CONTROL", Pass, RESOURCES),
    row(0xc000_0300..=0xc000_0303, "PERF_CNTR_GLOBAL_STATUS, _CTL, _STATUS_CLR", Pass, "starts what PERF_CTL selects"),
    row(0xc000_03fd..=0xc000_03ff, "L3_QOS_ABMC_CFG, _DSC, L3_QOS_EXT_CFG", Pass, RESOURCES),
    row(0xc000_0400..=0xc000_0410, "QOS_EVT_CFG; MC4_MISC1-3, MCA_INTR_CFG", Pass, ERRORS),
    row(0xc000_2000..=0xc000_2fff, "MCA_CTL, _STATUS, _ADDR, _MISC, _CONFIG, ...", Pass, ERRORS),
    event_select(0xc001_0000, 0xc001_0003),
    counter(0xc001_0004, 0xc001_0007),
    row(
        0xc001_0010..=0xc001_0010,
        "SYSCFG",
        Rule::FROZEN,
        "memory encryption, SNP, TOP_MEM; MtrrFixDramEn and MtrrFixDramModEn route the first MiB, where the VMM wakes up",
    ),
    row(0xc001_0015..=0xc001_0015, "HWCR", HWCR, "whether the TSC changes its pace, and translations are cached"),
    row(0xc001_0016..=0xc001_0019, "IORR_BASE, IORR_MASK", Rule::FROZEN, ROUTING),
    row(0xc001_001a..=0xc001_001a, "TOP_MEM", Rule::FROZEN, ROUTING),
    row(0xc001_001d..=0xc001_001e, "TOP_MEM2, MANID", Rule::FROZEN, ROUTING),
    row(0xc001_001f..=0xc001_001f, "NB_CFG", NB_CFG, "configures the northbridge; extended CF8 addresses are guarded"),
    row(
        0xc001_0020..=0xc001_0020,
        "PATCH_LOADER",
        Rule::IGNORED,
        "loads microcode by linear address, of the VMM by then; firmware loads it",
    ),
    row(0xc001_0022..=0xc001_0022, "MC_EXCEPT_REDIR", Rule::FROZEN, "makes machine checks of the VMM SMIs"),
    row(0xc001_0030..=0xc001_0035, "processor name", Rule::FROZEN, FEATURES),
    row(0xc001_003e..=0xc001_003f, "HTC, thermal control", Rule::FROZEN, "firmware's; the guest has ACPI for it"),
    row(0xc001_0041..=0xc001_0042, "FIDVID_CTL, FIDVID_STATUS", Rule::FROZEN, VOLTAGE),
    row(0xc001_0044..=0xc001_004a, "MCi_CTL_MASK", Pass, ERRORS),
    row(0xc001_0050..=0xc001_0054, "SMI_ON_IO_TRAP", Rule::FROZEN, SMI_TRAP),
    row(0xc001_0055..=0xc001_0055, "INT_PENDING", INT_PENDING, SMI_TRAP),
    row(0xc001_0056..=0xc001_0056, "SMI_TRIG_IO_CYCLE", Rule::FROZEN, SMI_TRAP),
    row(
        0xc001_0058..=0xc001_0058,
        "MMIO_CONFIG_BASE",
        Rule::FROZEN,
        "a window to PCI configuration past the guarded ports",
    ),
    row(
        0xc001_0061..=0xc001_0063,
        "PSTATE_LIMIT, _CTL, _STATUS",
        Pass,
        "chooses among P-states that the firmware has defined",
    ),
    row(0xc001_0064..=0xc001_006b, "PSTATE_DEF", Rule::FROZEN, VOLTAGE),
    row(0xc001_0070..=0xc001_0071, "COFVID_CTL, COFVID_STATUS", Rule::FROZEN, VOLTAGE),
    row(
        0xc001_0073..=0xc001_0073,
        "CSTATE_BASE_ADDR",
        Rule::FROZEN,
        "makes the VMM's IN of a port wait for an interrupt",
    ),
    row(0xc001_0074..=0xc001_0074, "CPU_WATCHDOG", Rule::FROZEN, "stops a machine whose devices are slow to answer"),
    row(0xc001_007a..=0xc001_007b, "CU_PWR_ACCUMULATOR, CU_MAX_PWR_ACCUMULATOR", Absent, ENERGY),
    row(0xc001_0111..=0xc001_0113, "SMM_BASE, SMM_ADDR, SMM_MASK", Rule::FROZEN, SMRAM),
    row(0xc001_0114..=0xc001_0114, "VM_CR", DISABLED, "the guest has no SVM; R_INIT and DIS_A20M are the VMM's"),
    row(0xc001_0115..=0xc001_0115, "IGNNE", Pass, "x87 errors, of which the VMM makes none"),
    row(0xc001_0116..=0xc001_0116, "SMM_CTL", Absent, "enters and leaves SMM at will"),
    row(0xc001_0117..=0xc001_0117, "VM_HSAVE_PA", Absent, "where the CPU keeps the VMM's state while the guest runs"),
    row(0xc001_0118..=0xc001_0119, "SVM_KEY, SMM_KEY", Absent, "unlock SVM and the registers of SMM"),
    row(0xc001_011a..=0xc001_011a, "LOCAL_SMI_STATUS", Rule::FROZEN, SMI_TRAP),
    row(0xc001_011b..=0xc001_011b, "AVIC_DOORBELL", Absent, NO_SVM),
    row(0xc001_011e..=0xc001_011e, "VM_PAGE_FLUSH", Absent, NO_ENCRYPTION),
    row(0xc001_011f..=0xc001_011f, "VIRT_SPEC_CTRL", Pass, MITIGATION),
    row(0xc001_0130..=0xc001_0138, "GHCB, SEV_STATUS, RMP_BASE, RMP_END, ...", Absent, NO_ENCRYPTION),
    row(0xc001_0140..=0xc001_0141, "OSVW_ID_LENGTH, OSVW_STATUS", Rule::FROZEN, "firmware's list of errata"),
    event_select(0xc001_0200, 0xc001_0200),
    counter(0xc001_0201, 0xc001_0201),
    event_select(0xc001_0202, 0xc001_0202),
    counter(0xc001_0203, 0xc001_0203),
    event_select(0xc001_0204, 0xc001_0204),
    counter(0xc001_0205, 0xc001_0205),
    event_select(0xc001_0206, 0xc001_0206),
    counter(0xc001_0207, 0xc001_0207),
    event_select(0xc001_0208, 0xc001_0208),
    counter(0xc001_0209, 0xc001_0209),
    event_select(0xc001_020a, 0xc001_020a),
    counter(0xc001_020b, 0xc001_020b),
    row(0xc001_0230..=0xc001_025f, "L3 and data fabric PERF_CTL, PERF_CTR", Pass, TRAFFIC),
    row(0xc001_0280..=0xc001_0280, "PTSC", Pass, "a clock"),
    row(
        0xc001_0290..=0xc001_0298,
        "PM state, HWPSTATE_STATUS, CSTATE_POLICY",
        Rule::FROZEN,
        "firmware's; the guest has ACPI for it",
    ),
    row(0xc001_0299..=0xc001_029b, "RAPL_PWR_UNIT, CORE_ENERGY_STAT, PKG_ENERGY_STAT", Absent, ENERGY),
    row(
        0xc001_02b0..=0xc001_02b4,
        "CPPC_CAPABILITY, _ENABLE, _REQUEST, _STATUS",
        Pass,
        "chooses a level of performance",
    ),
    row(0xc001_02f0..=0xc001_02f1, "PPIN_CTL, PPIN", Pass, "serial number"),
    row(0xc001_0300..=0xc001_031f, "LBR stack, branch samples", Absent, BRANCHES),
    row(0xc001_0400..=0xc001_043f, "MCA_CTL_MASK", Pass, ERRORS),
    row(0xc001_0800..=0xc001_08ff, "memory controller PERF_CTL, PERF_CTR", Pass, TRAFFIC),
    row(0xc001_1002..=0xc001_1004, "CPUID features of leaves 7, 6, 1", Rule::IGNORED, FEATURES),
    row(
        0xc001_1005..=0xc001_1005,
        "CPUID features of leaf 8000_0001h",
        Masked { free: 0, set_only: 1 << 54 },
        "Linux shows leaf 8000_001Eh where firmware hides it; the rest is what CPUID answers to the VMM too",
    ),
    row(0xc001_100c..=0xc001_100c, "NODE_ID", Rule::IGNORED, "which node this is"),
    row(0xc001_1019..=0xc001_101b, "DR1-DR3 address masks", Pass, "breakpoints are off while the VMM runs (DR7)"),
    row(0xc001_1020..=0xc001_1020, "LS_CFG", LS_CFG, CHICKEN),
    row(0xc001_1021..=0xc001_1021, "IC_CFG", Masked { free: 0, set_only: 0x1e }, CHICKEN),
    row(0xc001_1022..=0xc001_1023, "DC_CFG, TW_CFG", Rule::IGNORED, CHICKEN),
    row(0xc001_1027..=0xc001_1027, "DR0 address mask", Pass, "as DR1-DR3"),
    row(0xc001_1028..=0xc001_1028, "FP_CFG", Masked { free: 0, set_only: 1 << 9 }, CHICKEN),
    row(0xc001_1029..=0xc001_1029, "DE_CFG", DE_CFG, CHICKEN),
    row(0xc001_102a..=0xc001_102a, "BU_CFG2", Masked { free: 1 << 24, set_only: 0 }, CHICKEN),
    row(0xc001_102b..=0xc001_102d, "BU_CFG3, EX_CFG, LS_CFG2", Rule::IGNORED, CHICKEN),
    row(0xc001_102e..=0xc001_102e, "BP_CFG", Masked { free: 0, set_only: 1 << 4 | 1 << 5 }, CHICKEN),
    row(0xc001_1030..=0xc001_103d, "IBS", Absent, SAMPLES),
    row(0xc001_10e3..=0xc001_10e3, "speculation of Zen 2", Masked { free: 0, set_only: 1 << 1 }, CHICKEN),
];
const _: () = assert!(in_order(MSRS));
