//! The guests: one file each, one line each in [`ALL`]. What a guest needs of its machine stands in the manifest of
//! the crate `guest-images`.

pub use crate::machine::hypervisor::shoji;

mod a20;
mod apic_forms;
mod bench;
mod bench_disks;
mod calls;
mod cpuid;
mod deadlines;
mod debug;
mod defect;
mod dma;
mod domains;
mod e820;
mod ecam;
mod fpu;
mod hlt;
mod ide_bar4;
mod interrupt_window;
mod interrupts;
mod modes;
mod msr;
mod nmi;
mod portio;
mod prd_vmm;
mod refused_cmds;
mod smp_io;
mod smp_ipis;
mod smp_memory;
mod smp_restart;
mod smp_start;
mod stringio;
mod svm_insns;
mod task_switch;
mod traces;
mod triple_fault;
mod vm_entry;
mod vmm_memory;
mod vmx_insns;
mod x2apic;
mod xsetbv;

/// Name in the image, and the guest; it passes by returning.
pub static ALL: &[(&str, fn())] = &[
    ("a20", a20::run),
    ("apic_forms", apic_forms::run),
    ("bench", bench::run),
    ("bench_ahci", bench_disks::ahci),
    ("bench_cpus", bench::registers),
    ("bench_q35", bench::registers),
    ("bench_messages", domains::bench),
    ("bench_nvme", bench_disks::nvme),
    ("calls", calls::run),
    ("cpuid", cpuid::run),
    ("deadlines", deadlines::run),
    ("debug", debug::run),
    ("defect", defect::run),
    ("dma", dma::run),
    ("domain_calls", domains::calls),
    ("domain_chance", domains::chance),
    ("domain_faults", domains::faults),
    ("e820", e820::run),
    ("ecam", ecam::run),
    ("fpu", fpu::run),
    ("hlt", hlt::run),
    ("ide_bar4", ide_bar4::run),
    ("interrupt_window", interrupt_window::run),
    ("interrupts", interrupts::run),
    ("modes", modes::run),
    ("msr", msr::run),
    ("nmi", nmi::run),
    ("portio", portio::run),
    ("prd_vmm", prd_vmm::run),
    ("refused_cmds", refused_cmds::run),
    ("smp_config", smp_io::config),
    ("smp_disk", smp_io::disk),
    ("smp_exits", smp_io::exits),
    ("smp_ipis", smp_ipis::run),
    ("smp_memory", smp_memory::run),
    ("smp_restart", smp_restart::run),
    ("smp_start", smp_start::run),
    ("stack_overflow", defect::overflow),
    ("stringio", stringio::run),
    ("svm_insns", svm_insns::run),
    ("task_switch", task_switch::run),
    ("trace_ahci", traces::ahci),
    ("trace_nvme", traces::nvme),
    ("triple_fault", triple_fault::run),
    ("vm_entry", vm_entry::run),
    ("vmm_memory", vmm_memory::run),
    ("vmx_insns", vmx_insns::run),
    ("x2apic", x2apic::run),
    ("xsetbv", xsetbv::run),
];
