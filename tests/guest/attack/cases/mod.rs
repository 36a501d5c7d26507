//! The cases: one file each, whose first lines tell attack and safe result; one line each in [`ALL`].

mod a20_and_resets;
mod apic_base;
mod control_regs;
mod debug_storm;
mod exit_storm;
mod far_tables;
mod hypercalls;
mod mov_ss;
mod msr_reads;
mod msr_writes;
mod mtrr_uc;
mod other_modes;
mod page_edge;
mod port_sweep;
mod prefixes;
mod segment_limits;
mod self_ipi;
mod string_io;
mod syscall_tf;
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
    ("syscall_tf", syscall_tf::run),
    ("segment_limits", segment_limits::run),
    ("a20_and_resets", a20_and_resets::run),
    ("far_tables", far_tables::run),
    ("port_sweep", port_sweep::run),
    ("other_modes", other_modes::run),
];
