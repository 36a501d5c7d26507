//! Interrupts from CPU to CPU: fixed, lowest priority, NMI; by number, by logical number and by shorthand; each comes once, on the
//! CPUs that it is for. Intel SDM Vol. 3A (325384) 11.6.

use crate::machine::apic::{self, ASSERT, FIXED, LOGICAL, LOWEST, NMI, TO_ALL, TO_OTHERS, TO_SELF};
use crate::machine::area;
use crate::machine::cpu;
use crate::machine::port::in8;
use crate::machine::smp::{self, interrupts};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

const VECTOR: u8 = 0x61;
const OTHER_VECTOR: u8 = 0x81;
const NMI_VECTOR: u8 = 2;
const FLAT: u32 = 0xffff_ffff;

pub fn run() {
    let cpus = smp::start();
    flat(cpus);
    all_kinds(cpus);
}

/// The same in whatever mode the APICs are.
pub fn all_kinds(cpus: usize) {
    for (name, busy) in [("halted", false), ("with exits", true)] {
        with_others(cpus, busy, || {
            for cpu in 1..cpus {
                one_by_one(cpu);
            }
            by_shorthand(cpus);
            smp::counting_nmis(|| nmis(cpus));
        });
        say!("IPIs to CPUs {name}");
    }
    priorities(cpus);
    in_both_directions(cpus);
}

/// All others take interrupts while `code` runs: halted, or executing what exits.
fn with_others(cpus: usize, busy: bool, code: impl FnOnce()) {
    let (stop, ready) = (AtomicBool::new(false), AtomicU32::new(0));
    let live = || {
        cpu::enable_interrupts();
        ready.fetch_add(1, Relaxed);
        while !stop.load(Relaxed) {
            match busy {
                true => {
                    cpu::cpuid(0);
                    in8(0x92);
                }
                false => cpu::wait_for_interrupt(),
            }
            cpu::enable_interrupts();
        }
        cpu::disable_interrupts();
    };
    smp::on_others(&live, || {
        smp::wait_until("the others are ready", || ready.load(Relaxed) as usize == cpus - 1);
        code();
        stop.store(true, Relaxed);
        apic::send(0, TO_OTHERS | FIXED | ASSERT | u32::from(smp::WAKE));
    });
}

/// Each one comes, on that CPU only.
fn one_by_one(cpu: usize) {
    let before: [u32; area::MOST] = core::array::from_fn(|cpu| interrupts(cpu, VECTOR));
    for i in 1..=100 {
        apic::send(smp::destination(cpu), FIXED | ASSERT | u32::from(VECTOR));
        smp::wait_until("an IPI arrives", || interrupts(cpu, VECTOR) - before[cpu] == i);
    }
    for (other, &count) in before.iter().enumerate().filter(|(other, _)| *other != cpu) {
        check_eq!(interrupts(other, VECTOR), count, "IPIs to CPU {cpu} that came to CPU {other}");
    }
}

fn by_shorthand(cpus: usize) {
    for (shorthand, own, others) in [(TO_SELF, 1, 0), (TO_OTHERS, 0, 1), (TO_ALL, 1, 1)] {
        for _ in 0..50 {
            let before: [u32; area::MOST] = core::array::from_fn(|cpu| interrupts(cpu, OTHER_VECTOR));
            apic::send(0, shorthand | FIXED | ASSERT | u32::from(OTHER_VECTOR));
            cpu::enable_interrupts();
            let came = |cpu: usize| interrupts(cpu, OTHER_VECTOR) - before[cpu];
            smp::wait_until("IPIs by shorthand arrive", || came(0) == own && (1..cpus).all(|cpu| came(cpu) == others));
            cpu::disable_interrupts();
        }
    }
}

/// Logical numbers of the flat model: one bit a CPU. (In x2APIC mode they follow from the identifier.)
fn flat(cpus: usize) {
    smp::on_all(&|| {
        apic::write(apic::LOGICAL_FORMAT, FLAT);
        apic::write(apic::LOGICAL_ID, 1 << (24 + smp::number()));
    });
    with_others(cpus, false, || {
        for set in 1u32..1 << cpus {
            let before: [u32; area::MOST] = core::array::from_fn(|cpu| interrupts(cpu, OTHER_VECTOR));
            apic::send(set, LOGICAL | FIXED | ASSERT | u32::from(OTHER_VECTOR));
            cpu::enable_interrupts();
            smp::wait_until("IPIs by logical number arrive", || {
                (0..cpus).all(|cpu| interrupts(cpu, OTHER_VECTOR) - before[cpu] == set >> cpu & 1)
            });
            cpu::disable_interrupts();
            one_of(set, cpus);
        }
    });
    say!("IPIs by logical number");
}

/// Lowest priority: one CPU of the set takes it.
fn one_of(set: u32, cpus: usize) {
    let taken = || (0..cpus).map(|cpu| interrupts(cpu, VECTOR)).sum::<u32>();
    let before = taken();
    apic::send(set, LOGICAL | LOWEST | ASSERT | u32::from(VECTOR));
    cpu::enable_interrupts();
    smp::wait_until("an IPI of lowest priority arrives", || taken() > before);
    cpu::disable_interrupts();
    check_eq!(taken(), before + 1, "CPUs that take an IPI of lowest priority");
}

fn nmis(cpus: usize) {
    for i in 0..100 {
        let cpu = 1 + i % (cpus - 1);
        let before = interrupts(cpu, NMI_VECTOR);
        apic::send(smp::destination(cpu), NMI | ASSERT);
        smp::wait_until("an NMI arrives", || interrupts(cpu, NMI_VECTOR) == before + 1);
    }
    for _ in 0..50 {
        let before: [u32; area::MOST] = core::array::from_fn(|cpu| interrupts(cpu, NMI_VECTOR));
        apic::send(0, TO_OTHERS | NMI | ASSERT);
        smp::wait_until("NMIs to all others arrive", || {
            (1..cpus).all(|cpu| interrupts(cpu, NMI_VECTOR) == before[cpu] + 1)
        });
        check_eq!(interrupts(0, NMI_VECTOR), before[0], "NMIs to the others that came to their sender");
    }
    let before = interrupts(0, NMI_VECTOR);
    for i in 1..=20 {
        apic::send(smp::destination(0), NMI | ASSERT);
        smp::wait_until("an NMI to oneself arrives", || interrupts(0, NMI_VECTOR) == before + i);
    }
}

/// An interrupt below the task priority waits; so does one while IF is off; each comes once afterwards.
fn priorities(cpus: usize) {
    for cpu in 1..cpus {
        let before = interrupts(cpu, VECTOR);
        let phase = AtomicU32::new(0);
        let theirs = || {
            apic::write(apic::TASK_PRIORITY, 0x90);
            phase.store(1, Relaxed);
            cpu::enable_interrupts();
            while phase.load(Relaxed) == 1 {
                cpu::cpuid(0);
            }
            check!(apic::bit(apic::REQUEST, VECTOR), "the IPI does not wait in the APIC");
            check_eq!(interrupts(cpu, VECTOR), before, "IPIs below the task priority");
            apic::write(apic::TASK_PRIORITY, 0);
            cpu::enable_interrupts();
            cpu::cpuid(0);
            cpu::disable_interrupts();
            check_eq!(interrupts(cpu, VECTOR), before + 1, "IPIs after the task priority went down");
            phase.store(3, Relaxed);
        };
        smp::beside(cpu, &theirs, || {
            smp::wait_until("the CPU is ready", || phase.load(Relaxed) == 1);
            apic::send(smp::destination(cpu), FIXED | ASSERT | u32::from(VECTOR));
            phase.store(2, Relaxed);
        });
        check_eq!(phase.load(Relaxed), 3, "the end of CPU {cpu}'s part");
    }
}

/// Every CPU sends to the next at once; none is lost that has been waited for.
fn in_both_directions(cpus: usize) {
    const ROUNDS: u32 = 300;
    let before: [u32; area::MOST] = core::array::from_fn(|cpu| interrupts(cpu, VECTOR));
    let done = AtomicU32::new(0);
    smp::on_all(&|| {
        let next = (smp::number() + 1) % cpus;
        cpu::enable_interrupts();
        for i in 1..=ROUNDS {
            apic::send(smp::destination(next), FIXED | ASSERT | u32::from(VECTOR));
            while interrupts(next, VECTOR) - before[next] < i {
                core::hint::spin_loop();
            }
        }
        done.fetch_add(1, Relaxed);
        while (done.load(Relaxed) as usize) < cpus {
            core::hint::spin_loop();
        }
        cpu::disable_interrupts();
    });
    for (cpu, &before) in before.iter().enumerate().take(cpus) {
        check_eq!(interrupts(cpu, VECTOR) - before, ROUNDS, "IPIs that CPU {cpu} took of its neighbour");
    }
    say!("{ROUNDS} IPIs from each CPU to the next, at once");
}
