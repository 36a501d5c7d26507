//! CPUID of Intel's CPUs (SDM Vol. 2A, CPUID).

use crate::{HiddenBits, bits_in_order};

const NO_VMX: &str = "the guest has no virtualization extension and no measured launch of its own";
const NO_RECORDS: &str = "records of performance events go to linear addresses, and go on in the VMM";
const NO_TRACE: &str = "a trace is written by host-physical address, past the nested tables";
const NO_BRANCHES: &str = "VM exits do not stop it: it would record the VMM's branches";
const NO_FEEDBACK: &str = "the CPU writes its table by host-physical address, past the nested tables";
const NO_USER_INTERRUPTS: &str = "they are posted by linear address";
const NO_CONTROL: &str = "raises #UD without a control that stays off";

/// What the guest never sees.
pub const HIDDEN: &[HiddenBits] = &[
    HiddenBits::ecx(0x1, None, 1 << 5 | 1 << 6, "VMX, SMX", NO_VMX),
    HiddenBits::edx(0x1, None, 1 << 21, "DS", NO_RECORDS),
    HiddenBits::ecx(0x1, None, 1 << 2 | 1 << 4, "DTES64, DS-CPL", NO_RECORDS),
    HiddenBits::eax(0x6, None, 1 << 19 | 1 << 23, "hardware feedback, Thread Director", NO_FEEDBACK),
    HiddenBits::ebx(0x7, Some(0), 1 << 25, "Processor Trace", NO_TRACE),
    HiddenBits::edx(0x7, Some(0), 1 << 5, "UINTR", NO_USER_INTERRUPTS),
    HiddenBits::edx(0x7, Some(0), 1 << 18, "PCONFIG", "the keys of memory encryption are the machine's"),
    HiddenBits::edx(0x7, Some(0), 1 << 19, "architectural LBR", NO_BRANCHES),
    HiddenBits::eax(0x7, Some(1), 1 << 8, "leaf 23h", NO_RECORDS),
    HiddenBits::eax(0x7, Some(1), 1 << 17, "FRED", "delivers events otherwise than the VMM injects them"),
    HiddenBits::eax(0x7, Some(1), 1 << 27, "RDMSRLIST, WRMSRLIST", NO_CONTROL),
    HiddenBits::ebx(0x7, Some(1), 1 << 1, "PBNDKB", NO_CONTROL),
    HiddenBits::ecx(0x7, Some(1), 1 << 5, "RDMSR and WRMSRNS of an immediate", "exits that the VMM does not know"),
    HiddenBits::edx(0x7, Some(1), 1 << 15, "URDMSR, UWRMSR", "the CPU reads a bitmap by linear address"),
    HiddenBits::edx(0x7, Some(1), 1 << 21, "APX", "exits name registers that the VMM does not know"),
    HiddenBits::ecx(0xd, Some(1), 1 << 8 | 1 << 14 | 1 << 15, "XSS: PT, UINTR, LBR", "as these features"),
    HiddenBits::all(0xd, Some(8), "state of Processor Trace", NO_TRACE),
    HiddenBits::all(0xd, Some(14), "state of UINTR", NO_USER_INTERRUPTS),
    HiddenBits::all(0xd, Some(15), "state of LBR", NO_BRANCHES),
    HiddenBits::all(0x14, None, "Processor Trace", NO_TRACE),
    HiddenBits::all(0x1b, None, "PCONFIG", "the keys of memory encryption are the machine's"),
    HiddenBits::all(0x1c, None, "architectural LBR", NO_BRANCHES),
    HiddenBits::all(0x23, None, "architectural PEBS", NO_RECORDS),
];
const _: () = assert!(bits_in_order(HIDDEN));

/// A control that not every CPU has and that a feature of the guest's depends on (SDM Vol. 3C 25.6, 26.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    EnableRdtscp,
    EnableInvpcid,
    EnableXsavesXrstors,
    EnableUserWaitAndPause,
    /// VM entry and VM exit load PERF_GLOBAL_CTRL.
    CounterSwitch,
}

/// Hidden where the CPU lacks the control.
pub const CONTROLLED: &[(Control, HiddenBits)] = &[
    (Control::CounterSwitch, HiddenBits::ecx(0x1, None, 1 << 15, "PDCM", NO_COUNTERS)),
    (Control::EnableInvpcid, HiddenBits::ebx(0x7, Some(0), 1 << 10, "INVPCID", NO_INSTRUCTION)),
    (Control::EnableUserWaitAndPause, HiddenBits::ecx(0x7, Some(0), 1 << 5, "WAITPKG", NO_INSTRUCTION)),
    (Control::EnableRdtscp, HiddenBits::ecx(0x7, Some(0), 1 << 22, "RDPID", NO_INSTRUCTION)),
    (Control::CounterSwitch, HiddenBits::all(0xa, None, "performance counters", NO_COUNTERS)),
    (Control::EnableXsavesXrstors, HiddenBits::eax(0xd, Some(1), 1 << 3, "XSAVES, XRSTORS", NO_INSTRUCTION)),
    (Control::EnableRdtscp, HiddenBits::edx(0x8000_0001, None, 1 << 27, "RDTSCP", NO_INSTRUCTION)),
];
const NO_INSTRUCTION: &str = "raises #UD without its control";
const NO_COUNTERS: &str = "they would count the VMM as well";
