//! The cases: one file each, whose first lines tell attack and safe result; one line each in [`ALL`].

mod apic_base;
mod control_regs;
mod debug_storm;
mod exit_storm;
mod hypercalls;
mod mov_ss;
mod msr_reads;
mod msr_writes;
mod mtrr_uc;
mod page_edge;
mod prefixes;
mod self_ipi;
mod string_io;
mod vmm_pages;
mod xcr0;

/// Name in the image, and the case; it passes by returning.
pub static ALL: &[(&str, fn())] = &[
    ("msr_reads", msr_reads::run),
    ("msr_writes", msr_writes::run),
    ("control_regs", control_regs::run),
    ("xcr0", xcr0::run),
    ("mov_ss", mov_ss::run),
    ("debug_storm", debug_storm::run),
    ("page_edge", page_edge::run),
    ("prefixes", prefixes::run),
    ("string_io", string_io::run),
    ("vmm_pages", vmm_pages::run),
    ("self_ipi", self_ipi::run),
    ("apic_base", apic_base::run),
    ("mtrr_uc", mtrr_uc::run),
    ("hypercalls", hypercalls::run),
    ("exit_storm", exit_storm::run),
];
