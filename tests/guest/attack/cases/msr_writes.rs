//! WRMSR to every MSR that can be read: its own value, then values that are wrong in every way (non-canonical, all ones,
//! an address of the hypervisor), then its own value again; and to numbers that cannot be read.
//!
//! Safe: taken, or #GP(0); the machine goes on, and the disk can still be read.

use super::msr_reads::RANGES;
use crate::frame::hypervisor_memory;
use tiny::machine::ata;
use tiny::machine::cpu::{rdmsr, wrmsr};
use tiny::machine::exceptions::{Fault, GP};
use tiny::machine::memory::buffer;

/// Left out, each with its reason.
const SKIPPED: [(core::ops::RangeInclusive<u32>, &str); 8] = [
    (0x1b..=0x1b, "APIC_BASE is the case apic_base"),
    (0x9e..=0x9e, "SMBASE: the next SMI of the firmware would run anything"),
    (0x8b..=0x8b, "a write of BIOS_SIGN_ID is a step of loading microcode"),
    (0x200..=0x2ff, "MTRRs and PAT are the case mtrr_uc; wrong types slow the bare machine to a halt"),
    (0x800..=0x8ff, "x2APIC: the ICR sends INIT"),
    (0xc000_0080..=0xc000_0080, "EFER is the case control_regs"),
    (0xc001_0111..=0xc001_0113, "SMM_BASE and its fellows: as SMBASE"),
    (0xc001_0114..=0xc001_0114, "VM_CR: its lock and R_INIT cannot be undone"),
];

pub fn run() {
    let target = hypervisor_memory().map_or(0x10_0000, |range| range.start);
    // Non-canonical, all ones, an address that is not the guest's.
    let values = [1 << 63, 0x0000_8000_0000_0000, u64::MAX, 0x7fff_ffff_ffff_ffff, 1, target, target | 0xfff, 0];
    let (mut written, mut refused) = (0, 0);
    for msr in RANGES.into_iter().flatten().filter(|msr| !SKIPPED.iter().any(|(skipped, _)| skipped.contains(msr))) {
        let before = rdmsr(msr);
        // Those that cannot be read are mostly not there: one value for each.
        let values = if before.is_ok() { &values[..] } else { &values[..1] };
        for &value in before.iter().chain(values).chain(before.iter()) {
            // SAFETY: this program uses none of them: no SYSCALL, no segment bases, no performance events, no timer.
            match unsafe { wrmsr(msr, value) } {
                Ok(()) => written += 1,
                Err(Fault { vector: GP, error: 0, .. }) => refused += 1,
                Err(f) => tiny::report::fail(format_args!("WRMSR of {value:#x} to {msr:#x}: {f:x?}, not #GP(0)")),
            }
        }
    }
    say!("{written} writes are taken, {refused} raise #GP");
    ata::settle();
    ata::must(ata::read_pio(0, &mut buffer(0)[..512]), "READ SECTORS");
    check_eq!([buffer(0)[510], buffer(0)[511]], [0x55, 0xaa], "the boot sector's mark");
    seen!("the disk is read after all writes");
}
