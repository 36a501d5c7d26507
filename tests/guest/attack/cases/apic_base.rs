//! The local APIC's page moved over memory of the hypervisor, over this program's, past the end of all addresses; invalid
//! changes of its mode. Intel SDM Vol. 3A (325384) 11.4.4, 11.12.5.
//!
//! Safe: #GP(0), or taken where it hurts the guest only; reads of the hypervisor's memory stay what they were.

use crate::frame::{How, hypervisor_memory};
use tiny::machine::cpu::{self, rdmsr, wrmsr};
use tiny::machine::exceptions::{Fault, GP};
use tiny::machine::memory::{buffer_address, peek};

const APIC_BASE: u32 = 0x1b;
const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
const BOOT_CPU: u64 = 1 << 8;

pub fn run() {
    let Ok(before) = rdmsr(APIC_BASE) else { return seen!("no APIC_BASE") };
    if let Some(vmm) = hypervisor_memory() {
        let nothing: u64 = peek(vmm.start);
        let mut refused = 0;
        for page in (vmm.start..vmm.end()).step_by(4096) {
            let result = write(page | ENABLED | BOOT_CPU);
            refused += u32::from(result.is_err());
            check_eq!(peek::<u64>(page), nothing, "memory of the hypervisor under the APIC's page, {result:x?}");
            back(before);
        }
        seen!("onto each page of the hypervisor: {refused} of {} raise #GP", vmm.len / 4096);
    }
    for (name, value) in [
        ("onto RAM", buffer_address(26) | ENABLED | BOOT_CPU),
        ("to address 0", ENABLED | BOOT_CPU),
        ("to the last page below 4 GiB", 0xffff_f000 | ENABLED | BOOT_CPU),
        ("to 1 TiB", 1 << 40 | ENABLED | BOOT_CPU),
        ("to bit 51", 1 << 51 | ENABLED | BOOT_CPU),
        ("to bit 52", 1 << 52 | ENABLED | BOOT_CPU),
        ("all ones", u64::MAX),
        ("x2APIC without APIC", before & !ENABLED | X2APIC),
        ("reserved bit 9", before | 1 << 9),
        ("not the boot CPU", before & !BOOT_CPU),
    ] {
        let result = write(value);
        cpu::cpuid(0);
        back(before);
        seen!("{name}: {}", How(result));
    }
}

fn write(value: u64) -> Result<(), Fault> {
    // SAFETY: the APIC is used by nobody here.
    let result = unsafe { wrmsr(APIC_BASE, value) };
    check!(matches!(result, Ok(()) | Err(Fault { vector: GP, error: 0, .. })), "APIC_BASE = {value:#x}: {result:x?}");
    result
}

fn back(value: u64) {
    // SAFETY: as before.
    let result = unsafe { wrmsr(APIC_BASE, value) };
    check_eq!(result, Ok(()), "APIC_BASE as it was");
}
