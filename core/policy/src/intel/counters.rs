//! MSRs of the performance counters of Intel's CPUs: the guest's where the CPU switches PERF_GLOBAL_CTRL with it, so that
//! nothing counts while the VMM runs; else it has none.

use crate::Rule::{CounterControl, Frozen, Locked, Pass};
use crate::{MsrRow, in_order};

const COUNTS: &str = "counts while the guest runs";
/// PERF_CAPABILITIES without what tells of PEBS: its format, trap, registers and baseline, timed information, its output to
/// Processor Trace.
const CAPABILITIES: u64 = !(0xfc0 | 1 << 14 | 1 << 16 | 1 << 17);
/// FIXED_CTR_CTRL and the like have no bit that reaches past the counters.
pub const COUNTERS: &[MsrRow] = &[
    MsrRow::new(0xc1..=0xca, "PMC", Pass, COUNTS),
    MsrRow::new(0x186..=0x18f, "PERFEVTSEL", Pass, COUNTS),
    MsrRow::new(0x1a6..=0x1a7, "OFFCORE_RSP", Pass, COUNTS),
    MsrRow::new(0x309..=0x30f, "FIXED_CTR", Pass, COUNTS),
    MsrRow::new(0x329..=0x329, "PERF_METRICS", Pass, COUNTS),
    MsrRow::new(
        0x345..=0x345,
        "PERF_CAPABILITIES",
        Locked { native: CAPABILITIES, set: 0, ignored: None },
        "tells of PEBS, which is hidden",
    ),
    MsrRow::new(0x38d..=0x38e, "FIXED_CTR_CTRL, PERF_GLOBAL_STATUS", Pass, COUNTS),
    MsrRow::new(0x38f..=0x38f, "PERF_GLOBAL_CTRL", CounterControl, "VM entry loads it, VM exit stops all counters"),
    MsrRow::new(0x390..=0x392, "PERF_GLOBAL_OVF_CTRL, _STATUS_SET, _INUSE", Pass, COUNTS),
    MsrRow::new(
        0x3f1..=0x3f2,
        "PEBS_ENABLE, PEBS_DATA_CFG",
        Frozen { free: 0 },
        "PEBS counts on in the VMM and writes records to its linear addresses",
    ),
    MsrRow::new(0x3f4..=0x3f7, "PEBS_BASE, _INDEX, _LD_LAT, _FRONTEND", Frozen { free: 0 }, "as PEBS_ENABLE"),
    MsrRow::new(0x4c1..=0x4ca, "A_PMC", Pass, COUNTS),
];
const _: () = assert!(in_order(COUNTERS));
