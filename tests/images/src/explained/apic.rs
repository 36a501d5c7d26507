//! Differences in the local APIC.

use super::{ANY, DONE, GOES_ON, GP, QEMU, RESET, UD};
use crate::differences::Difference;

const PARKED: &str = "SeaBIOS leaves the other CPU in HLT without an IDT, where an NMI is a triple fault and ends the step; under Shoji it \
    waits for a startup IPI, and an NMI passes it by";

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        guest: "apic_base",
        lines: &["onto each page of the hypervisor"],
        shoji: Some(": 4096 of 4096 raise #GP"),
        why: "tried only where a hypervisor's memory is: the APIC's page stays where it is",
        ..ANY
    },
    Difference {
        guest: "apic_base",
        lines: &["onto RAM", "to address 0", "to the last page below 4 GiB", "to 1 TiB", "to bit 51"],
        bare: DONE,
        shoji: GP,
        why: "Shoji lets nobody move the APIC's page: it would cover memory, or its registers go unwatched",
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "apic_base",
        lines: &["to bit 52", "all ones"],
        bare: DONE,
        shoji: GP,
        why: "Shoji lets nobody move the APIC's page, and CPUs refuse reserved bits; QEMU takes any value",
    },
    Difference {
        guest: "apic_base",
        lines: &["x2APIC without APIC", "reserved bit 9", "not the boot CPU"],
        bare: DONE,
        shoji: GP,
        why: "with several CPUs Shoji guards APIC_BASE: x2APIC mode may be switched on, and nothing else be changed",
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "self_ipi",
        lines: &["what a CPU ignores or takes as an interrupt", "NMI to all"],
        bare: RESET,
        shoji: GOES_ON,
        why: PARKED,
    },
    Difference {
        on: QEMU,
        guest: "self_ipi",
        lines: &[
            "ICR 0x0 0xc0400",
            "ICR 0x0 0xc4500",
            "ICR 0x0 0xc0608",
            "ICR 0x0 0xc0200",
            "ICR 0xe000000 0x2f",
            "ICR 0xe000000 0x12f",
            "ICR 0xe000000 0x3",
            "ICR 0x0 0x608",
            "ICR 0xe000000 0x608",
            "ICR 0x0 0x6ff",
            "ICR 0xe000000 0x6ff",
            "ICR 0x0 0x8500",
            "ICR 0xe000000 0x8500",
            "ICR 0x0 0xc00",
            "ICR 0x0 0x80400",
        ],
        shoji: Some(": done, 0 interrupts"),
        why: PARKED,
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "self_ipi",
        lines: &["ICR 0x0 0x4012f", "ICR 0x0 0x2f", "ICR 0x0 0x12f"],
        shoji: Some(": done, 1 interrupts"),
        why: PARKED,
        ..ANY
    },
    Difference {
        on: QEMU,
        guest: "self_ipi",
        lines: &["ICR 0x0 0x3"],
        shoji: Some(": #BP, 0 interrupts"),
        why: PARKED,
        ..ANY
    },
    Difference {
        guest: "mmio_forms",
        lines: &[
            "LOCK OR [RDI], ECX at 0x*",
            "LOCK XCHG [RDI], ECX at 0x*",
            "INC [RDI] at 0x*",
            "NOT [RDI] at 0x*",
            "NEG [RDI] at 0x*",
            "ADC [RDI], ECX at 0x*",
            "SBB [RDI], ECX at 0x*",
            "SHL [RDI], 1 at 0x*",
            "BTS [RDI], 3 at 0x*",
            "BTS [RDI], RCX at 0x*",
            "CMPXCHG [RDI], ECX at 0x*",
            "CMPXCHG16B [RDI] at 0x*",
            "XADD [RDI], ECX at 0x*",
            "MOVSD at 0x*",
            "REP MOVSB at 0x*",
            "POP [RDI] at 0x*",
            "FXSAVE [RDI] at 0x*",
            "FNSTENV [RDI] at 0x*",
            "SGDT [RDI] at 0x*",
            "STR [RDI] at 0x*",
            "SMSW [RDI] at 0x*",
            "MOV [RDI], DS at 0x*",
            "SETZ [RDI] at 0x*",
        ],
        bare: DONE,
        shoji: UD,
        why: "with several CPUs writes to the APIC's page are emulated, and what no driver uses on a device is not: #UD",
        ..ANY
    },
    Difference {
        guest: "mmio_forms",
        lines: &[
            "MOV [RDI], CX at 0xfff",
            "MOV [RDI], RCX at 0xffc",
            "MOV [RDI], RCX at 0xfff",
            "MOVNTI [RDI], RCX at 0xffc",
            "MOVNTI [RDI], RCX at 0xfff",
            "REP STOSQ at 0xffc",
            "REP STOSQ at 0xfff",
        ],
        bare: DONE,
        shoji: GP,
        why: "an operand that ends in another page than the emulated one is not emulated: #GP",
        ..ANY
    },
];
