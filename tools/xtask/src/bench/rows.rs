//! The rows of the table, with what is to be reached.

/// What Shoji's figure is held against.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Target {
    None,
    AtMost(f64),
    /// No exit: what the bare machine takes.
    AsBare,
    /// So many times what the bare machine takes.
    Ratio(f64),
}

pub struct Row {
    /// Of the figure.
    pub key: &'static str,
    pub name: &'static str,
    pub target: Target,
    /// BitVisor on the same QEMU, bare -> under it where both are known.
    pub bitvisor: &'static str,
}

const fn row(key: &'static str, name: &'static str, target: Target, bitvisor: &'static str) -> Row {
    Row { key, name, target, bitvisor }
}

use Target::{AsBare, AtMost, None, Ratio};

/// Of the machine that everything is measured on. Unless the name tells another unit: instructions.
pub const ROWS: &[Row] = &[
    row("entry_to_vmrun", "Shoji's entry to first VMRUN, with log", AtMost(3e6), "1,790 M"),
    row("boot", "power on to guest init", None, "6,580 M -> 8,748 M"),
    row("exits", "exits from first VMRUN to guest init, disk aside", AtMost(2000.0), "4,756"),
    row("exits_disk", "- exits by disk ports (the BIOS reads by PIO)", None, ""),
    row("exits_interrupts", "- exits by interrupts", AtMost(0.0), "297 instructions each"),
    row("exits_needless", "- exits by RDTSC, CR3, syscalls, exceptions, unhooked ports", AtMost(0.0), ""),
    row("exits_per_sector", "exits per sector read by PIO, data port", AtMost(1.0), ""),
    row("cpuid", "CPUID", AtMost(120.0), "5 -> 358"),
    row("in_port_92", "IN of a hooked port: 92h", AtMost(120.0), "3 -> 241"),
    row("in_ata_alt_status", "IN of a hooked port: ATA alternate status", AtMost(120.0), "3 -> 241"),
    row("in_unhooked", "IN of an unhooked port", AsBare, ""),
    row(
        "config_read_unguarded",
        "CF8h/CFCh: address and read, a function that is not guarded",
        AtMost(250.0),
        "7 -> 1,085",
    ),
    row("config_read_guarded", "CF8h/CFCh: address and read, the IDE controller", AtMost(250.0), "7 -> 1,085"),
    row("q35_ecam_read_unguarded", "Q35, configuration space in memory: read, not guarded", AsBare, "3 -> 12,541"),
    row(
        "q35_ecam_read_guarded",
        "Q35, configuration space in memory: read, an IDE controller",
        AtMost(700.0),
        "3 -> 12,541",
    ),
    row("q35_ahci_register_read", "Q35: read of a register of the AHCI controller", AtMost(600.0), "20,226"),
    row("q35_ahci_register_write", "Q35: write of a register of the AHCI controller", AtMost(600.0), "20,226"),
    row("cpus_apic_read", "read of a local APIC register, two CPUs", AsBare, "3 -> 17,900"),
    row("apic_write", "write of a local APIC register, one CPU", AsBare, "3 -> 17,900"),
    row("cpus_apic_write", "write of a local APIC register, two CPUs", AtMost(500.0), "3 -> 17,900"),
    row("vtx_cpus_apic_write", "- by VT-x: Bochs, haswell_4770, two CPUs", AtMost(500.0), ""),
    row("vtx_cpus_x2apic_icr_write", "write of the x2APIC ICR by VT-x: Bochs, haswell_4770, two CPUs", None, ""),
    row("hypercall", "hypercall: the version", AtMost(300.0), ""),
    row("hypercall_parameters", "hypercall with parameters: the number of a name", None, ""),
    row("message_round_trip", "message ring 0 -> ring 3 -> ring 0", AtMost(1000.0), ""),
    row("vtx_message_round_trip", "- by VT-x: Bochs, haswell_4770", AtMost(1000.0), ""),
    row("message_nested", "message to a program that opens and calls another one", None, ""),
    row("vtx_message_nested", "- by VT-x: Bochs, haswell_4770", None, ""),
    row("rdtsc", "RDTSC", AsBare, ""),
    row("mov_from_cr3", "MOV from CR3", AsBare, ""),
    row("linux_write_4k", "Linux writes 4 KiB, IDE DMA, encrypted", AtMost(80e3), "52.4 k -> 263.8 k"),
    row("linux_read_4k", "Linux reads 4 KiB, IDE DMA, encrypted", None, ""),
    row("linux_write_1m", "Linux writes 1 MiB, IDE DMA, encrypted", AtMost(3e6), "0.24 M -> 50.7 M"),
    row("linux_read_1m", "Linux reads 1 MiB, IDE DMA, encrypted", None, ""),
    row("build_plain", "Linux compiles a file of C: plain disk", Ratio(1.01), ""),
    row("build_encrypted", "- encrypted disk", None, ""),
    row("build_cpus", "- plain disk, where there may be two CPUs", Ratio(1.01), ""),
    row("bios_read_per_word_encrypted", "SeaBIOS reads by PIO, a word, encrypted", AtMost(30.0), "about 300"),
    row("bios_read_per_word_plain", "SeaBIOS reads by PIO, a word, plain", AtMost(30.0), "about 300"),
    row("memory_kept", "memory kept while the guest runs, KiB", AtMost(16384.0), "131.9 MiB"),
    row("conventional_kept", "- and of conventional memory, for the 16-bit stub, KiB", None, ""),
    row("image_text", "image: text and read-only data, bytes", None, ""),
    row("image_data", "image: data, bytes", None, ""),
    row("image_bss", "image: bss with heap and stack, bytes", None, ""),
];

/// Of what is measured on several machines, in instructions.
pub const VENDOR_ROWS: &[Row] = &[
    row("cpuid", "CPUID", AtMost(140.0), "429"),
    row("rdmsr_intercepted", "RDMSR, intercepted: EFER (AMD-V), FEATURE_CONTROL (VT-x)", AtMost(250.0), "436"),
    row("wrmsr_intercepted", "WRMSR, intercepted: APIC_BASE", None, ""),
    row("in_port_92", "IN of a hooked port: 92h", None, ""),
    row("in_ata_alt_status", "IN of a hooked port: ATA alternate status", None, ""),
    row("in_unhooked", "IN of an unhooked port", AsBare, ""),
    row("out_port_80", "OUT 80h", AsBare, ""),
    row("hypercall", "hypercall: the version", AtMost(300.0), ""),
    row("hypercall_parameters", "hypercall with parameters: the number of a name", None, ""),
    row("rdtsc", "RDTSC", AsBare, ""),
    row("config_read_unguarded", "CF8h/CFCh: address and read, not guarded", AtMost(250.0), ""),
    row("config_read_guarded", "CF8h/CFCh: address and read, the IDE controller", AtMost(250.0), ""),
    row("apic_read", "read of a local APIC register", AsBare, ""),
    row("apic_write", "write of a local APIC register", AsBare, ""),
    row("mov_from_cr3", "MOV from CR3", AsBare, ""),
    row("mov_to_cr3", "MOV to CR3", AsBare, ""),
    row("write_4k_encrypted", "driver alone: write 4 KiB, encrypted", None, ""),
    row("read_4k_encrypted", "driver alone: read 4 KiB, encrypted", None, ""),
    row("write_4k_plain", "driver alone: write 4 KiB, plain", None, ""),
    row("read_4k_plain", "driver alone: read 4 KiB, plain", None, ""),
    row("write_1m_encrypted", "driver alone: write 1 MiB, encrypted", None, ""),
    row("read_1m_encrypted", "driver alone: read 1 MiB, encrypted", None, ""),
    row("write_1m_plain", "driver alone: write 1 MiB, plain", None, ""),
    row("read_1m_plain", "driver alone: read 1 MiB, plain", None, ""),
    row("bios_read_per_word_encrypted", "the BIOS reads by PIO, a word, encrypted", None, ""),
    row("bios_read_per_word_plain", "the BIOS reads by PIO, a word, plain", None, ""),
];
