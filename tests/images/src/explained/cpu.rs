//! Differences in registers and instructions of the CPU.

use super::{ANY, DONE, GOES_ON, GP, HASWELL, QEMU, RESET, TRINITY, UD};
use crate::differences::Difference;

const ILLEGAL_STATE: &str =
    "QEMU takes what a CPU refuses with #GP, and its VMRUN then refuses the guest: Shoji resets the machine";
const RESERVED_BITS: &str = "in a virtual machine QEMU answers reserved bits by an exit for an invalid state, at which Shoji resets \
    the machine; without one QEMU runs wild, so the case leaves them out";
const EFER: &str = "Shoji checks writes of EFER as CPUs do (APM Vol. 2 3.1.7): #GP for bits that the CPU lacks, SVME among them, \
    and for LME under paging; QEMU drops them";
const VMRUN: &str = "EFER.SVME is set while the guest runs, so the CPU's own checks of privilege, mode and address, which raise #GP, \
    come before the intercept, which raises #UD (APM Vol. 3, VMRUN)";
const NOT_CANONICAL: &str = "Shoji carries out what is intercepted, and raises #GP where a part of the operand is not canonical, as CPUs do; \
    QEMU raises #PF";

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        on: QEMU,
        guest: "msr_reads",
        lines: &["MSR 0x21*"],
        bare: Some(" can be read"),
        why: "there are 8 pairs of MTRRs (MTRRCAP), and the numbers behind raise #GP; QEMU takes any number",
        ..ANY
    },
    Difference {
        on: TRINITY,
        guest: "msr_reads",
        lines: &["MSR 0xc0010114 can be read"],
        shoji: Some(""),
        why: "VM_CR says that SVM is switched off and locked, on every CPU; Bochs' lacks it",
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "control_regs",
        lines: &["CR0, PG without PE", "CR0, NW without CD", "CR0, both"],
        bare: DONE,
        why: ILLEGAL_STATE,
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "control_regs",
        lines: &["CR0: PG without PE", "CR0: NW without CD", "CR0: NW without CD and PG without PE"],
        bare: GOES_ON,
        shoji: RESET,
        why: ILLEGAL_STATE,
    },
    Difference {
        on: QEMU,
        guest: "control_regs",
        lines: &["CR4, bit 63", "CR4, VMXE", "CR4, LA57", "CR4, all ones", "CR3, high bits"],
        bare: Some(": left out"),
        why: RESERVED_BITS,
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "control_regs",
        lines: &["CR4: bit 63", "CR4: VMXE", "CR4: LA57 in long mode", "CR4: all ones", "CR3: high bits"],
        bare: GOES_ON,
        shoji: RESET,
        why: RESERVED_BITS,
    },
    Difference {
        on: QEMU,
        guest: "control_regs",
        lines: &["EFER, bit * changed", "EFER, all ones", "EFER, no LME while paging"],
        bare: DONE,
        shoji: GP,
        why: EFER,
    },
    Difference {
        on: HASWELL,
        guest: "control_regs",
        lines: &["CR0, bit 30 changed"],
        bare: GP,
        shoji: DONE,
        why: "Bochs' BIOS leaves CR0.CD and NW set, and NW alone is illegal; Shoji starts the guest with caches on",
    },
    Difference {
        on: HASWELL,
        guest: "control_regs",
        lines: &["CR4, bit 13 changed", "CR4, VMXE"],
        bare: DONE,
        shoji: GP,
        why: "the guest has no VMX, so CR4.VMXE is a reserved bit",
    },
    Difference {
        on: QEMU,
        guest: "control_pairs",
        lines: &["pairs of CR0: 81 are taken, 0 raise #GP", "3000 random states"],
        bare: Some(""),
        why: ILLEGAL_STATE,
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "control_pairs",
        lines: &["pairs of CR0", "random values"],
        bare: GOES_ON,
        shoji: RESET,
        why: ILLEGAL_STATE,
    },
    Difference {
        on: QEMU,
        guest: "mtrr_uc",
        lines: &["8 pairs"],
        bare: Some("; 113 writes are taken, 0 raise #GP"),
        shoji: Some("; 102 writes are taken, 11 raise #GP"),
        why: "Shoji's MTRRs are virtual and refuse types and bits that are reserved, as CPUs do; QEMU takes any value",
    },
    Difference {
        guest: "mov_ss",
        lines: &["VMRUN at CPL 3"],
        bare: Some(": #UD at 0"),
        shoji: Some(": #GP at 0"),
        why: VMRUN,
        ..ANY
    },
    Difference {
        on: TRINITY,
        guest: "mov_ss",
        lines: &["MOV SS, CPUID, Breakpoint", "MOV SS, IN from 92h, Breakpoint"],
        bare: Some(": #DB at 4"),
        shoji: Some(": #UD at 4"),
        why: "AMD-V keeps no #DB that is pending (VT-x does): that of a data breakpoint of MOV SS is lost at the exit of an \
            intercepted instruction behind it",
    },
    Difference {
        on: QEMU,
        guest: "page_edge",
        lines: &["VMRUN, 3 bytes before no page"],
        bare: Some(": #UD at -3"),
        shoji: Some(": #GP at -3"),
        why: VMRUN,
    },
    Difference {
        on: QEMU,
        guest: "legacy",
        lines: &["VMRUN, User, *", "VMRUN, Virtual8086, *"],
        bare: Some(": #UD at *"),
        shoji: Some(": #GP at *"),
        why: VMRUN,
    },
    Difference {
        on: QEMU,
        guest: "prefixes",
        lines: &["* times 0xf0 before CPUID", "* times 0xf0 before INSB"],
        bare: DONE,
        shoji: UD,
        why: "Shoji decodes the instruction and refuses LOCK, as CPUs do; QEMU ignores it",
    },
    Difference {
        on: QEMU,
        guest: "exit_storm",
        lines: &["RDMSR of nothing", "WRMSR of nothing"],
        bare: Some(": #UD at 2"),
        shoji: Some(": #GP at 0"),
        why: "the policy does not list them: #GP, as on a CPU without them; QEMU takes any number",
    },
    Difference {
        guest: "exit_storm",
        lines: &["RDMSR of VM_HSAVE_PA"],
        bare: Some(": #UD at 2"),
        shoji: Some(": #GP at 0"),
        why: "the policy refuses VM_HSAVE_PA: the CPU keeps the VMM's state there",
        ..ANY
    },
    Difference {
        guest: "debug_calls",
        lines: &["VMMCALL", "VMCALL"],
        bare: Some(": 0 of 5000 are answered; at CPL 3 #UD at 0"),
        shoji: Some(": 5000 of 5000 are answered; at CPL 3 #UD at 0"),
        why: "this guest's configuration allows debug hypercalls",
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "string_io",
        lines: &[
            "REP*S*, port 0x92, over the canonical border",
            "REP*S*, port 0xcfc, over the canonical border",
            "REP*S*, port 0x3f8, over the canonical border",
        ],
        bare: Some(": #PF*, 0x4 left"),
        shoji: Some(": #GP, 0x4 left"),
        why: NOT_CANONICAL,
    },
];
