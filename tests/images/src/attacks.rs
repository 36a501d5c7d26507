//! The guests that attack, one case each: what is tried, and the safe result that a pass shows. A case's own file in
//! `tests/guest/attack/cases` tells more.

use crate::manifest::{PLAIN, PROTECTED};
use crate::{Board, TinyGuest};

const ATTACK: TinyGuest = TinyGuest { program: "attack", timeout_s: 120, ..PLAIN };

const PROTECTED_ATTACK: TinyGuest = TinyGuest { program: "attack", timeout_s: 120, ..PROTECTED };

const CHIPSET: &str =
    "the chipset's registers that place power management and memory, by ports and in memory: they stay as they were";

/// All of them.
pub const ATTACKS: &[TinyGuest] = &[
    TinyGuest { name: "msr_reads", purpose: "RDMSR of every number: a value or #GP(0); at CPL 3 #GP", ..ATTACK },
    TinyGuest {
        name: "msr_writes",
        purpose: "wrong values to every MSR: taken or #GP(0), and the disk can still be read",
        ..ATTACK
    },
    TinyGuest {
        name: "control_regs",
        purpose: "illegal CR0, CR3, CR4, CR8, EFER: #GP(0), or as the CPU does; a reset brings the hypervisor back",
        ..ATTACK
    },
    TinyGuest { name: "xcr0", purpose: "illegal XSETBV: #GP(0), or #UD without OSXSAVE", ..ATTACK },
    TinyGuest {
        name: "mov_ss",
        purpose: "MOV SS and traps before instructions that exit; SYSCALL with TF; ICEBP: an exception in the guest",
        ..ATTACK
    },
    TinyGuest { name: "debug_storm", purpose: "storms of #DB and #AC: each arrives, and the guest goes on", ..ATTACK },
    TinyGuest {
        name: "page_edge",
        purpose: "instructions cut by a missing page or the hypervisor's memory: #PF, or an exception; nothing there is executed",
        ..ATTACK
    },
    TinyGuest {
        name: "prefixes",
        purpose: "up to 16 bytes of prefixes before instructions that exit: carried out in whole, or #UD or #GP at the first byte",
        ..ATTACK
    },
    TinyGuest {
        name: "string_io",
        purpose: "INS and OUTS that wrap, run into missing pages, or do nothing: exact progress, and no byte elsewhere",
        ..ATTACK
    },
    TinyGuest {
        name: "vmm_pages",
        purpose: "every page of the hypervisor's memory by every kind of access: nothing is read, written, executed, walked or loaded",
        timeout_s: 400,
        ..ATTACK
    },
    TinyGuest {
        name: "self_ipi",
        purpose: "INIT, STARTUP, NMI, SMI and reserved IPIs to itself: as on the CPU; a reset brings the hypervisor back",
        cpus: &[1, 2],
        ..ATTACK
    },
    TinyGuest {
        name: "apic_base",
        purpose: "the APIC's page onto the hypervisor's memory, and invalid modes: #GP(0), or the guest's own harm",
        cpus: &[1, 2],
        ..ATTACK
    },
    TinyGuest {
        name: "mtrr_uc",
        purpose: "wrong memory types for the hypervisor's memory: taken or #GP(0); exits and disk I/O go on",
        cpus: &[1, 2],
        ..ATTACK
    },
    TinyGuest {
        name: "hypercalls",
        purpose: "hypercalls with random registers at CPL 0 and 3: #UD, #GP or an answer in registers",
        ..ATTACK
    },
    TinyGuest {
        name: "exit_storm",
        purpose: "every kind of exit as often as it can: each ends as the first did",
        ..ATTACK
    },
    TinyGuest {
        name: "syscall_tf",
        purpose: "SYSCALL and SYSRET with TF, IRET to traps, at both privilege levels: #DB in the guest where the CPU raises it",
        ..ATTACK
    },
    TinyGuest {
        name: "segment_limits",
        purpose: "operands at segment limits and across the border of the hypervisor's memory: #GP, #SS or nothing; no byte of it read or written",
        ..ATTACK
    },
    TinyGuest {
        name: "a20_and_resets",
        purpose: "A20 off in every way, every command of the keyboard controller, reset ports: memory does not alias; a reset brings the hypervisor back",
        ..ATTACK
    },
    TinyGuest { name: "chipset", purpose: CHIPSET, ..ATTACK },
    TinyGuest { name: "chipset_q35", purpose: CHIPSET, board: Board::Q35, ..ATTACK },
    TinyGuest {
        name: "far_tables",
        purpose: "IDT, GDT, LDT, TSS and page tables in the hypervisor's memory: an exception, or a reset that brings it back",
        ..ATTACK
    },
    TinyGuest {
        name: "port_sweep",
        purpose: "every port read in every width, every hooked port written: the guest goes on",
        ..ATTACK
    },
    TinyGuest {
        name: "other_modes",
        purpose: "SVM and VMX instructions in real, protected and compatibility mode: #UD or #GP in that mode",
        ..ATTACK
    },
    TinyGuest {
        name: "control_pairs",
        purpose: "pairs of bits and random values of CR0, CR4 and EFER: #GP(0), or the guest goes on in that state",
        ..ATTACK
    },
    TinyGuest {
        name: "debug_calls",
        purpose: "random hypercalls where debug hypercalls are allowed: answers in registers, and queued interrupts that come",
        hypercalls: true,
        ..ATTACK
    },
    TinyGuest {
        name: "legacy",
        purpose: "POP SS and traps in 32-bit and virtual-8086 mode, tasks and PAE pointers in the hypervisor's memory: an exception or a reset",
        ..ATTACK
    },
    TinyGuest {
        name: "address_space",
        purpose: "every GiB of physical addresses, and reserved address bits: read or an exception; the guest goes on",
        ..ATTACK
    },
    TinyGuest {
        name: "cross_ipis",
        purpose: "IPIs of every kind by all CPUs to all at once: CPUs start again under the hypervisor; a reset brings it back",
        cpus: &[2, 4],
        timeout_s: 300,
        ..ATTACK
    },
    TinyGuest {
        name: "rewritten",
        purpose: "instructions and page tables changed by another CPU around the exit: each attempt ends as one that stood there",
        cpus: &[2],
        ..ATTACK
    },
    TinyGuest {
        name: "storms_beside",
        purpose: "storms of #DB and #AC, endless ones too: a CPU beside them lives, and INIT ends them",
        cpus: &[2, 4],
        ..ATTACK
    },
    TinyGuest {
        name: "exit_flood",
        purpose: "every kind of exit at the highest rate for 10 s by all CPUs but one, which never stands still for long",
        cpus: &[2, 4],
        timeout_s: 300,
        ..ATTACK
    },
    TinyGuest {
        name: "disk_race",
        purpose: "the disk's registers by all CPUs without a lock: no plain text in the encrypted range, and the disk works after a reset",
        cpus: &[2, 4],
        ..PROTECTED_ATTACK
    },
    TinyGuest {
        name: "config_race",
        purpose: "CF8 and CFC by all CPUs without a lock: wherever BAR4 has come to, its DMA is mediated",
        cpus: &[2, 4],
        ..PROTECTED_ATTACK
    },
    TinyGuest {
        name: "mmio_forms",
        purpose: "operands, stacks and tables in the local APIC's page, of every size and at every place: as bare, ignored, or an exception",
        cpus: &[1, 2],
        timeout_s: 300,
        ..ATTACK
    },
    TinyGuest {
        name: "ahci_attacks",
        purpose: "an AHCI disk's lists, tables and regions in the hypervisor's memory, over one another, rewritten, reset in mid-flight: nothing reaches it, and the disk works",
        board: Board::Ahci,
        cpus: &[2],
        timeout_s: 300,
        ..PROTECTED_ATTACK
    },
    TinyGuest {
        name: "nvme_attacks",
        purpose: "an NVMe drive's queues, PRPs and messages in the hypervisor's memory, in circles, rewritten, reset in mid-flight: nothing reaches it, and the drive works",
        board: Board::Nvme,
        cpus: &[2],
        timeout_s: 300,
        ..PROTECTED_ATTACK
    },
];
