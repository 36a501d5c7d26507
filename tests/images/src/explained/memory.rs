//! Differences around memory of the hypervisor, most of which are not tried on the bare machine.

use super::{ANY, DONE, GOES_ON, GP, HASWELL, QEMU, RESET, UD};
use crate::differences::Difference;

const FETCHED: &str =
    "tried under a hypervisor only: Shoji raises #GP for fetches from its memory; what ends before it ends as always";
const REFUSED: &str = "tried under a hypervisor only: for its memory Shoji raises #UD where an instruction is not emulated, and #GP where \
    none makes the access itself (fetches, page walks, delivery)";
const TASK: &str = "a TSS in Shoji's memory cannot be read and raises an exception; on the bare machine RAM of all ones stands for it, \
    whose state is a triple fault";

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        lines: &["no memory is missing in the map"],
        bare: Some(""),
        why: "the map that the guest gets leaves Shoji's memory out",
        ..ANY
    },
    Difference {
        guest: "string_io",
        lines: &[
            "REP* INS*, port 0x92, the hypervisor's memory",
            "REP* INS*, port 0x92, downwards over its border",
            "REP* INS*, port 0x92, over its border",
            "REP* INS*, port 0xcfc, the hypervisor's memory",
            "REP* INS*, port 0xcfc, downwards over its border",
            "REP* INS*, port 0xcfc, over its border",
            "REP* OUTS*, port 0x3f8, the hypervisor's memory",
            "REP* OUTS*, port 0x3f8, downwards over its border",
            "REP* OUTS*, port 0x3f8, over its border",
            "REP* OUTS*, port 0xcfc, the hypervisor's memory",
            "REP* OUTS*, port 0xcfc, downwards over its border",
            "REP* OUTS*, port 0xcfc, over its border",
        ],
        shoji: Some(": done, 0x0 left"),
        why: "tried under a hypervisor only: of intercepted ports Shoji drops what goes to its memory, and takes all ones from it",
        ..ANY
    },
    Difference {
        guest: "string_io",
        lines: &[
            "REP* *S*, port 0x80, the hypervisor's memory",
            "REP* *S*, port 0x80, downwards over its border",
            "REP* *S*, port 0x80, over its border",
        ],
        shoji: Some(": #UD, 0x* left"),
        why: "tried under a hypervisor only: of a free port the CPU itself reaches for the memory, which INS and OUTS get #UD for",
        ..ANY
    },
    Difference {
        guest: "page_edge",
        lines: &["*, * bytes before memory of the hypervisor"],
        shoji: Some(": #GP at -*"),
        why: FETCHED,
        ..ANY
    },
    Difference {
        guest: "page_edge",
        lines: &["*, * bytes before memory of the hypervisor"],
        shoji: Some(": #GP at 0"),
        why: FETCHED,
        ..ANY
    },
    Difference {
        guest: "page_edge",
        lines: &[
            "VMCALL, 3 bytes before memory of the hypervisor",
            "VMMCALL, 3 bytes before memory of the hypervisor",
            "XSETBV, 3 bytes before memory of the hypervisor",
            "VMRUN, 3 bytes before memory of the hypervisor",
        ],
        shoji: Some(": #UD at -3"),
        why: FETCHED,
        ..ANY
    },
    Difference {
        guest: "vmm_pages",
        lines: &["INSB", "STOSQ", "REP STOSB", "REP INSB", "MOVNTI"],
        shoji: Some(": 0 pages raise an exception, * do not"),
        why: "tried under a hypervisor only: stores that Shoji emulates vanish, as on an empty bus",
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "vmm_pages",
        lines: &["CLFLUSH"],
        shoji: Some(": 0 pages raise an exception, 128 do not"),
        why: "tried under a hypervisor only: QEMU's CLFLUSH reaches for no memory",
        ..ANY
    },
    Difference {
        guest: "vmm_pages",
        lines: &[
            "FXSAVE",
            "MOVSB from it",
            "REP MOVSB onto itself",
            "REP OUTSB",
            "FXRSTOR",
            "SGDT",
            "LOCK INC",
            "CMPXCHG16B",
            "INC",
            "CLFLUSH",
            "CALL through it",
            "execution",
            "a page walk",
            "a descriptor",
            "a stack",
        ],
        shoji: Some(": * pages raise an exception, 0 do not"),
        why: REFUSED,
        ..ANY
    },
    Difference {
        guest: "vmm_pages",
        lines: &["LGDT from it", "LIDT from it", "FXSAVE64 from it"],
        shoji: UD,
        why: REFUSED,
        ..ANY
    },
    Difference {
        guest: "exit_storm",
        lines: &["a read of the hypervisor's memory: #UD at 2", "a write of it: #UD at 2"],
        shoji: Some(""),
        why: "tried under a hypervisor only: reads give all ones and stores vanish; the UD2 is the one that stands behind them",
        ..ANY
    },
    Difference {
        guest: "exit_storm",
        lines: &["a locked write of it: #UD at 0", "FXSAVE to it: #UD at 0", "a jump into it: #GP at -1"],
        shoji: Some(""),
        why: REFUSED,
        ..ANY
    },
    Difference {
        guest: "far_tables",
        lines: &[
            "a selector of an LDT: #UD",
            "a far call: #UD",
            "a far jump to a task: #GP(0x40)",
            "a far jump into it: #GP",
            "IRETQ into it: #GP",
        ],
        shoji: Some(""),
        why: REFUSED,
        ..ANY
    },
    Difference {
        guest: "far_tables",
        lines: &[
            "an LDT",
            "a far call through an LDT",
            "a far jump to the TSS in 64-bit mode",
            "a far jump into it",
            "SYSEXIT and IRETQ into it",
        ],
        shoji: GOES_ON,
        why: REFUSED,
        ..ANY
    },
    Difference {
        guest: "far_tables",
        lines: &["a GDT", "a TSS", "an IDT", "an IDT and #PF", "page tables by CR3", "a page map that leads there"],
        shoji: RESET,
        why: "tried under a hypervisor only: the exception that Shoji raises cannot be delivered either, and a triple fault is a reset",
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "legacy",
        lines: &[
            "a far jump, Kernel: #UD",
            "a far call, Kernel: #UD",
            "a task gate, User: #GP",
            "a task gate, Kernel: #GP",
        ],
        shoji: Some(""),
        why: TASK,
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "legacy",
        lines: &[
            "a far jump to a task there",
            "a far call to a task there",
            "an interrupt's task gate to a task there",
        ],
        bare: RESET,
        shoji: GOES_ON,
        why: TASK,
    },
    Difference {
        on: HASWELL,
        guest: "legacy",
        lines: &["PAE pointers there"],
        bare: GP,
        shoji: UD,
        why: "on the bare machine they are RAM of all ones, whose reserved bits raise #GP; under Shoji MOV to CR0 reads memory that it \
              may not, which is not emulated: #UD",
    },
    Difference {
        guest: "segment_limits",
        lines: &[
            "MOV ECX, [ESI], segment * at 0x*, limit 0x*, offset 0xf*",
            "MOV [ESI], ECX, segment * at 0x*, limit 0x*, offset 0xf*",
            "LODSW, segment * at 0x*, limit 0x*, offset 0xf*",
            "MOV CX, [ESI], segment * at 0x*, limit 0x*, offset 0xf*",
            "MOV to RCX from * bytes before the border",
            "MOV of RCX from * bytes before the border",
        ],
        bare: DONE,
        shoji: GP,
        why: "an operand across two pages, one of them hidden, is not emulated: #GP",
        ..ANY
    },
    Difference {
        guest: "segment_limits",
        lines: &[
            "INC DWORD [ESI], segment * at 0x*, limit 0x*, offset 0x*",
            "FXSAVE [ESI], segment * at 0x*, limit 0x*, offset 0x*",
            "MOVSQ from it from * bytes before the border",
            "PUSH of it from * bytes before the border",
            "INC from * bytes before the border",
            "CMPXCHG16B from * bytes before the border",
            "FXSAVE from * bytes before the border",
            "SGDT from * bytes before the border",
            "BT from * bytes before the border",
        ],
        bare: DONE,
        shoji: UD,
        why: "instructions that no driver uses on a device are not emulated on Shoji's memory: #UD",
        ..ANY
    },
];
