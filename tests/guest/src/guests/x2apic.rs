//! x2APIC mode, where the CPU has it: the way into it, every register as an MSR, IPIs, INIT and startup IPIs.
//! Intel SDM Vol. 3A (325384) 11.12.

use super::smp_ipis;
use crate::machine::apic::{self, APIC_BASE, ASSERT, BASE_ENABLED, BASE_X2APIC, FIXED};
use crate::machine::cpu::{self, rdmsr, wrmsr};
use crate::machine::exceptions::{Fault, GP};
use crate::machine::smp::{self, interrupts};
use crate::machine::time::delay_ms;
use crate::report::must;

const X2APIC: u32 = 1 << 21;
const SELF_IPI: u32 = 0x83f;
const VECTOR: u8 = 0x62;

pub fn run() {
    let cpus = smp::start();
    if cpu::cpuid(1).ecx & X2APIC == 0 {
        let base = must(rdmsr(APIC_BASE), "APIC_BASE");
        // SAFETY: refused.
        let result = unsafe { wrmsr(APIC_BASE, base | BASE_X2APIC) };
        // QEMU 7.2 takes no notice of the bit.
        say!("no x2APIC; the bit in APIC_BASE: {result:x?}");
        check_eq!(must(rdmsr(APIC_BASE), "APIC_BASE"), base, "APIC_BASE");
        return;
    }
    // The others first: this CPU's mode is the one that IPIs are sent in.
    let identifier = apic::id();
    for cpu in 1..cpus {
        smp::on_cpu(cpu, &enter);
    }
    enter();
    apic::use_x2apic(true);
    check_eq!(apic::id(), identifier, "the identifier in x2APIC mode");
    smp::on_all(&|| {
        apic::enable();
        registers();
    });
    self_ipi();
    smp_ipis::all_kinds(cpus);
    for cpu in 1..cpus {
        restarts(cpu);
    }
    say!("{cpus} CPUs in x2APIC mode");
}

fn enter() {
    let base = must(rdmsr(APIC_BASE), "APIC_BASE");
    // SAFETY: the order that the manual allows: xAPIC, then x2APIC.
    must(unsafe { wrmsr(APIC_BASE, base | BASE_X2APIC) }, "x2APIC mode");
    check_eq!(must(rdmsr(APIC_BASE), "APIC_BASE"), base | BASE_X2APIC, "APIC_BASE");
    for (name, value) in [("back to xAPIC mode", base), ("x2APIC without APIC", base & !BASE_ENABLED | BASE_X2APIC)] {
        // SAFETY: refused.
        let result = unsafe { wrmsr(APIC_BASE, value) };
        check!(is_gp(result), "{name}: {result:x?}");
    }
}

fn is_gp(result: Result<(), Fault>) -> bool {
    matches!(result, Err(Fault { vector: GP, error: 0, .. }))
}

/// What can be read, what can be written, and what raises #GP.
fn registers() {
    let readable = |msr: u32| {
        matches!(msr, 0x802 | 0x803 | 0x808 | 0x80a | 0x80d | 0x80f | 0x828 | 0x82f | 0x830 | 0x838 | 0x839 | 0x83e)
            || matches!(msr, 0x810..=0x827 | 0x832..=0x837)
    };
    for msr in 0x800..=0x8ff {
        let result = rdmsr(msr);
        match readable(msr) {
            true => check!(result.is_ok() || msr == 0x82f || msr == 0x833, "RDMSR of {msr:#x}: {result:x?}"),
            false => check!(is_gp(result.map(drop)), "RDMSR of {msr:#x}: {result:x?}"),
        }
    }
    for (msr, value) in [
        (0x802, 0), // identifier
        (0x803, 0), // version
        (0x80d, 0), // logical identifier
        (0x80e, 0), // destination format: not there
        (0x810, 0), // in service
        (0x831, 0), // upper half of the ICR: not there
        (0x839, 0), // current count
        (0x80b, 1), // EOI of something else than 0
        (0x828, 1), // ESR likewise
        (0x808, 0x100),
        (0x80f, 1 << 32),
    ] {
        // SAFETY: refused, or nothing that matters here.
        let result = unsafe { wrmsr(msr, value) };
        check!(is_gp(result), "WRMSR of {value:#x} to {msr:#x}: {result:x?}");
    }
    for value in [0x10, 0xff, 0] {
        apic::write(apic::TASK_PRIORITY, value);
        check_eq!(apic::read(apic::TASK_PRIORITY), value, "task priority");
        check_eq!(cpu::cr8(), u64::from(value >> 4), "CR8");
    }
    let logical = apic::read(apic::LOGICAL_ID);
    let id = apic::id();
    // Bochs 2.7 leaves it 0, without Shoji too.
    check!(logical == 0 || logical == (id >> 4) << 16 | 1 << (id & 0xf), "the logical identifier is {logical:#x}");
}

fn self_ipi() {
    for i in 1..=50 {
        // SAFETY: an interrupt that is counted.
        must(unsafe { wrmsr(SELF_IPI, VECTOR.into()) }, "SELF IPI");
        cpu::enable_interrupts();
        smp::wait_until("a SELF IPI arrives", || interrupts(0, VECTOR) == i);
        cpu::disable_interrupts();
    }
    // By identifier, with all 32 bits of it.
    let before = interrupts(1, VECTOR);
    apic::send(smp::destination(1) | 1 << 24, FIXED | ASSERT | u32::from(VECTOR));
    delay_ms(2);
    check_eq!(interrupts(1, VECTOR), before, "IPIs to an identifier beyond 255");
}

fn restarts(cpu: usize) {
    for _ in 0..5 {
        let (before, arrivals) = (smp::starts(), smp::arrivals(cpu));
        smp::init(cpu);
        smp::startup(cpu);
        smp::startup(cpu);
        smp::await_arrival(cpu, arrivals);
        smp::on_cpu(cpu, &|| {
            let base = must(rdmsr(APIC_BASE), "APIC_BASE");
            check!(base & BASE_X2APIC != 0, "CPU {cpu} is not in x2APIC mode");
        });
        check_eq!(smp::starts(), before + 1, "starts of CPU {cpu} in x2APIC mode");
    }
}
