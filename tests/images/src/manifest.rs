//! Which guests there are, and what each needs.

use crate::ATTACKS;

/// A run of sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sectors {
    pub first: u32,
    pub count: u32,
}

/// What QEMU's machine is built on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// i440FX and PIIX3: `pc`.
    I440fx,
    /// Q35 and ICH9, with PIIX3's IDE controller beside: configuration space lies in memory too.
    Q35,
    /// Q35 and ICH9, the disk at its AHCI controller.
    Ahci,
    /// The same, and an NVMe drive with the same contents, which the rule is for.
    Nvme,
}

/// One guest.
#[derive(Clone, Copy, Debug)]
pub struct TinyGuest {
    /// Which program holds it.
    pub program: &'static str,
    /// As in the program's table; at most 16 bytes.
    pub name: &'static str,
    /// What a pass shows.
    pub purpose: &'static str,
    /// The range of its disk that Shoji's configuration must encrypt (channel 0, unit 0; no key check: it starts as
    /// zeros on disk). `None`: no rule for this disk.
    pub encrypted: Option<Sectors>,
    /// Shoji answers its debug hypercalls.
    pub hypercalls: bool,
    /// It may provoke defects of Shoji.
    pub defects: bool,
    /// It prints what the machine's own device does, to be compared with a golden file.
    pub traces: bool,
    /// All its programs may make all hypercalls with names; the shell's key is [`crate::SHELL_KEY`].
    pub calls: bool,
    /// Sizes of machines to run it on.
    pub memory_mib: &'static [u32],
    /// Numbers of CPUs to run it with. On Bochs there are two at most.
    pub cpus: &'static [u32],
    /// How often it does what it does again and again: with every change, and in long runs.
    pub rounds: [u32; 2],
    pub board: Board,
    /// Further QEMU arguments.
    pub qemu: &'static [&'static str],
    /// Why it cannot run by KVM, if so.
    pub tcg_only: Option<&'static str>,
    /// It enters virtual machines of its own by VT-x: it runs on Bochs' Intel models, without Shoji.
    pub uses_vtx: bool,
    /// A healthy run takes a tenth of it, under Shoji too.
    pub timeout_s: u32,
}

/// The range that all guests with an encrypted range use.
const ENCRYPTED: Sectors = Sectors { first: 8192, count: 32768 };

pub(crate) const PLAIN: TinyGuest = TinyGuest {
    program: "tiny",
    name: "",
    purpose: "",
    encrypted: None,
    hypercalls: false,
    defects: false,
    traces: false,
    calls: false,
    memory_mib: &[512],
    cpus: &[1],
    rounds: [1, 1],
    board: Board::I440fx,
    qemu: &[],
    tcg_only: None,
    uses_vtx: false,
    timeout_s: 60,
};
pub(crate) const PROTECTED: TinyGuest = TinyGuest { encrypted: Some(ENCRYPTED), ..PLAIN };

const BENCH_DISK: TinyGuest = TinyGuest {
    calls: true,
    qemu: &["-icount", "shift=0,sleep=on"],
    tcg_only: Some("it counts instructions"),
    timeout_s: 180,
    ..PROTECTED
};

/// The tiny ones.
pub const GUESTS: &[TinyGuest] = &[
    TinyGuest { name: "cpuid", purpose: "CPUID policy in every mode and encoding", ..PLAIN },
    TinyGuest {
        name: "msr",
        purpose: "intercepted MSRs as on a CPU without SVM and VMX; the others survive exits",
        ..PLAIN
    },
    TinyGuest {
        name: "modes",
        purpose: "control and debug registers, every kind of paging, real mode and back",
        ..PLAIN
    },
    TinyGuest {
        name: "e820",
        purpose: "E820, E801, 88h, 40:13 and INT 12h agree, and what they call usable is RAM",
        memory_mib: &[512, 3072, 6144],
        ..PLAIN
    },
    TinyGuest {
        name: "portio",
        purpose: "IN and OUT of every width on hooked and unhooked ports, and user code",
        ..PLAIN
    },
    TinyGuest {
        name: "stringio",
        purpose: "the disk's data port by every form of string instruction in every mode",
        ..PLAIN
    },
    TinyGuest {
        name: "vmm_memory",
        purpose: "access to VMM memory gives all ones, vanishes, or ends in an exception",
        ..PLAIN
    },
    TinyGuest { name: "ide_bar4", purpose: "DMA follows BAR4, and the old place is dead", ..PLAIN },
    TinyGuest {
        name: "ecam",
        purpose: "configuration space in memory and by ports agree, BAR4 moves by both, and the window does not",
        board: Board::Q35,
        qemu: &["-icount", "shift=0,sleep=on", "-smp", "1,maxcpus=2"],
        tcg_only: Some("it counts instructions"),
        ..PLAIN
    },
    TinyGuest { name: "prd_vmm", purpose: "PRDs in VMM memory move nothing, and the disk goes on", ..PLAIN },
    TinyGuest { name: "a20", purpose: "A20 off and on during disk I/O", ..PLAIN },
    TinyGuest { name: "hlt", purpose: "HLT waits, and every timer interrupt ends it", ..PLAIN },
    TinyGuest { name: "interrupts", purpose: "interrupts arrive where they may, and disturb no port access", ..PLAIN },
    TinyGuest {
        name: "interrupt_window",
        purpose: "interrupts queued by hypercall come once each, as soon as the guest can take them",
        hypercalls: true,
        ..PLAIN
    },
    TinyGuest {
        name: "calls",
        purpose: "hypercalls by name: buffers across pages, and in memory that is none, Shoji's, or not there",
        calls: true,
        ..PLAIN
    },
    TinyGuest {
        name: "domain_calls",
        purpose: "programs in ring 3 answer calls, nested ones too, and leave the guest's registers alone",
        hypercalls: true,
        // From nine on the heap has an added part.
        cpus: &[1, 16],
        ..PLAIN
    },
    TinyGuest {
        name: "domain_faults",
        purpose: "a program that faults or overruns a budget ends, its memory is given back, and it is started anew",
        hypercalls: true,
        cpus: &[1, 2],
        ..PLAIN
    },
    TinyGuest {
        name: "domain_chance",
        purpose: "system calls by chance: nothing but the program that makes them is harmed",
        hypercalls: true,
        rounds: [1000, 10_000],
        timeout_s: 300,
        ..PLAIN
    },
    TinyGuest {
        name: "triple_fault",
        purpose: "a triple fault and all reset ports reset the machine while another CPU is in its exits; it comes back under Shoji",
        cpus: &[1, 2],
        rounds: [1, 50],
        timeout_s: 600,
        ..PLAIN
    },
    TinyGuest {
        name: "vm_entry",
        purpose: "the checker of VM entries and the CPU refuse the same VMCSs",
        uses_vtx: true,
        timeout_s: 300,
        ..PLAIN
    },
    TinyGuest { name: "svm_insns", purpose: "SVM instructions raise #UD at CPL 0, #UD or #GP at CPL 3", ..PLAIN },
    TinyGuest { name: "vmx_insns", purpose: "VMX and SMX: #UD, reserved bits of CR4, no registers", ..PLAIN },
    TinyGuest {
        name: "task_switch",
        purpose: "hardware task switches of every kind, and their faults before and after the switch",
        ..PLAIN
    },
    TinyGuest {
        name: "nmi",
        purpose: "each NMI arrives once: among exits, while halted, in shadows, and none within another's handler",
        ..PLAIN
    },
    TinyGuest {
        name: "debug",
        purpose: "single steps and breakpoints around instructions that exit; STI and MOV SS; alignment checks",
        ..PLAIN
    },
    TinyGuest {
        name: "xsetbv",
        purpose: "XSETBV takes what CPUID allows and refuses the rest; states survive",
        ..PLAIN
    },
    TinyGuest {
        name: "dma",
        purpose: "DMA and PIO of every size, plain, encrypted and across the borders",
        ..PROTECTED
    },
    TinyGuest { name: "fpu", purpose: "FPU registers stay while encrypted I/O runs, in every setting", ..PROTECTED },
    TinyGuest {
        name: "refused_cmds",
        purpose: "refused commands give ABRT and an interrupt; IDENTIFY is edited",
        ..PROTECTED
    },
    TinyGuest {
        name: "defect",
        purpose: "defects of Shoji leave a record over a warm reboot; the case `defect` resets and judges",
        hypercalls: true,
        defects: true,
        calls: true,
        timeout_s: 180,
        ..PLAIN
    },
    TinyGuest {
        name: "stack_overflow",
        purpose: "a full stack of Shoji is told where there is another one; the case `defect` judges",
        hypercalls: true,
        defects: true,
        ..PLAIN
    },
    TinyGuest {
        name: "deadlines",
        purpose: "deadlines of Shoji's are kept while the guest halts or loops; the guest's own timer does not notice",
        hypercalls: true,
        qemu: &["-icount", "shift=0,sleep=off"],
        tcg_only: Some("it compares times"),
        timeout_s: 180,
        ..PLAIN
    },
    TinyGuest {
        name: "smp_start",
        purpose: "every CPU starts by INIT and startup IPIs, with the state of a CPU after INIT; others are ignored",
        cpus: &[2, 4, 8],
        ..PLAIN
    },
    TinyGuest {
        name: "smp_restart",
        purpose: "a CPU starts anew by INIT from whatever it does: halted, looping, in its NMI handler, just started",
        cpus: &[2, 4],
        timeout_s: 180,
        ..PLAIN
    },
    TinyGuest {
        name: "smp_ipis",
        purpose: "interrupts and NMIs from CPU to CPU come once each, on those that they are for",
        cpus: &[2, 4],
        timeout_s: 120,
        ..PLAIN
    },
    TinyGuest {
        name: "apic_forms",
        purpose: "every register of the local APIC by every form of instruction that programs use on devices",
        cpus: &[1, 2],
        ..PLAIN
    },
    TinyGuest {
        name: "smp_memory",
        purpose: "all CPUs touch new memory above 4 GiB at once, and addresses where nothing is",
        memory_mib: &[6144],
        cpus: &[2, 4],
        timeout_s: 180,
        ..PLAIN
    },
    TinyGuest {
        name: "smp_disk",
        purpose: "the disk and its encrypted range used by all CPUs, by DMA and PIO, one after the other",
        cpus: &[2, 4],
        timeout_s: 180,
        ..PROTECTED
    },
    TinyGuest {
        name: "smp_config",
        purpose: "PCI configuration used by all CPUs, one after the other: each reads what it asks for",
        cpus: &[2, 4],
        timeout_s: 120,
        ..PLAIN
    },
    TinyGuest {
        name: "smp_exits",
        purpose: "exits on all CPUs at once: each gets its share (FAIR lines)",
        cpus: &[1, 2, 4],
        timeout_s: 120,
        ..PLAIN
    },
    TinyGuest {
        name: "x2apic",
        purpose: "x2APIC mode where there is one: its registers, IPIs, and starts of CPUs",
        cpus: &[2],
        timeout_s: 120,
        ..PLAIN
    },
    TinyGuest {
        name: "bench",
        purpose: "BENCH lines: costs in instructions",
        calls: true,
        qemu: &["-icount", "shift=0,sleep=on"],
        tcg_only: Some("it counts instructions"),
        timeout_s: 180,
        ..PROTECTED
    },
    TinyGuest {
        name: "bench_cpus",
        purpose: "BENCH lines on a machine with a second CPU, which is not started",
        calls: true,
        cpus: &[2],
        qemu: &["-icount", "shift=0,sleep=on"],
        tcg_only: Some("it counts instructions"),
        ..PLAIN
    },
    TinyGuest {
        name: "bench_q35",
        purpose: "BENCH lines on a machine with configuration space in memory and a guarded function there",
        calls: true,
        board: Board::Ahci,
        qemu: &["-icount", "shift=0,sleep=on", "-device", "piix3-ide"],
        tcg_only: Some("it counts instructions"),
        ..PLAIN
    },
    TinyGuest {
        name: "bench_ahci",
        purpose: "BENCH lines: reads and writes by queued commands of an AHCI controller",
        board: Board::Ahci,
        ..BENCH_DISK
    },
    TinyGuest {
        name: "bench_nvme",
        purpose: "BENCH lines: reads and writes by an NVMe controller",
        board: Board::Nvme,
        ..BENCH_DISK
    },
    TinyGuest {
        name: "bench_ahci_free",
        purpose: "BENCH lines: the same on a disk without a rule",
        board: Board::Ahci,
        encrypted: None,
        ..BENCH_DISK
    },
    TinyGuest {
        name: "bench_nvme_free",
        purpose: "BENCH lines: the same on a drive without a rule",
        board: Board::Nvme,
        encrypted: None,
        ..BENCH_DISK
    },
    TinyGuest {
        name: "bars_ahci",
        purpose: "an AHCI controller works where its BAR says, and where nothing of it may be it is not",
        board: Board::Ahci,
        cpus: &[1, 2],
        ..PLAIN
    },
    TinyGuest {
        name: "bars_nvme",
        purpose: "an NVMe controller works where its BAR says, above 4 GiB too, and where nothing of it may be it is not",
        board: Board::Nvme,
        cpus: &[1, 2],
        ..PLAIN
    },
    TinyGuest {
        name: "trace_ahci",
        purpose: "TRACE lines: what an AHCI controller answers to a script",
        traces: true,
        board: Board::Ahci,
        ..PLAIN
    },
    TinyGuest {
        name: "trace_nvme",
        purpose: "TRACE lines: what an NVMe controller answers to a script",
        traces: true,
        board: Board::Nvme,
        ..PLAIN
    },
    TinyGuest {
        name: "bench_messages",
        purpose: "BENCH lines: messages to programs in ring 3 and back",
        hypercalls: true,
        qemu: &["-icount", "shift=0,sleep=on"],
        tcg_only: Some("it counts instructions"),
        ..PLAIN
    },
];

/// The tiny guests, then those that attack.
pub fn all() -> impl Iterator<Item = &'static TinyGuest> {
    GUESTS.iter().chain(ATTACKS)
}

/// The guest of this name.
pub fn guest(name: &str) -> Option<&'static TinyGuest> {
    all().find(|g| g.name == name)
}

#[cfg(test)]
mod tests {
    use super::{all, guest};

    /// The programs' tables, as they stand in their sources: the programs themselves are not built for the host.
    const PROGRAMS: [(&str, &str); 2] = [
        ("tiny", include_str!("../../guest/src/guests/mod.rs")),
        ("attack", include_str!("../../guest/attack/cases/mod.rs")),
    ];

    #[test]
    fn the_programs_hold_every_guest_of_the_manifest_and_no_other() {
        for (program, source) in PROGRAMS {
            let held: Vec<&str> =
                source.lines().filter_map(|l| l.trim().strip_prefix("(\"")?.split('"').next()).collect();
            assert!(held.len() > 10);
            assert!(held.iter().all(|name| guest(name).is_some_and(|g| g.program == program)), "{held:?}");
            assert_eq!(held.len(), all().filter(|g| g.program == program).count());
        }
    }
}
