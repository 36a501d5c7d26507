//! IPIs of every delivery mode to itself, to others and to all, by all CPUs at once; INIT to the first CPU, to each other, to
//! oneself. Intel SDM Vol. 3A (325384) 11.6.
//!
//! Safe: CPUs that get INIT start again by a startup IPI, under the hypervisor; INIT of the first CPU resets the machine, and the
//! hypervisor is there again; no other IPI stops a CPU.

use crate::frame::random::Random;
use crate::frame::{qemu, steps};
use tiny::boot;
use tiny::machine::apic::{self, ASSERT, FIXED, INIT, LEVEL, LOGICAL, LOWEST, NMI, SMI, STARTUP};
use tiny::machine::apic::{TO_ALL, TO_OTHERS, TO_SELF};
use tiny::machine::cpu;
use tiny::machine::hypervisor;
use tiny::machine::memory::poke;
use tiny::machine::smp;
use tiny::machine::time::delay_ms;

const ROUNDS: u32 = 4000;
/// Where a CPU goes by an SMI whose firmware has not moved that.
const SMM_ENTRY: u64 = 0x38000;
const RSM: u16 = 0xaa0f;

pub fn run() {
    let cpus = smp::start();
    let calm: &[u32] = &[FIXED, FIXED, LOWEST, NMI, STARTUP, INIT | LEVEL];
    let by_other = |low: u32| {
        move || {
            smp::beside_forever(1, &|| apic::send(smp::destination(0), low), || delay_ms(500));
        }
    };
    steps::run(&[
        ("interrupts, NMIs and startup IPIs by all at once", &|| storm(calm)),
        ("SMIs among them", &|| {
            // Two would share the place where their state is saved.
            if cpus == 2 && smm_entry() {
                storm(&[FIXED, NMI, SMI, SMI]);
            }
        }),
        ("INIT and startup IPIs to CPUs that send IPIs", &|| starts_in_a_storm(calm)),
        ("INIT of CPUs to themselves", &|| own_inits(cpus)),
        ("INIT to the first CPU by another", &by_other(INIT | ASSERT)),
        ("INIT to the others by another", &by_other(TO_OTHERS | INIT | ASSERT)),
        ("INIT to all by another", &by_other(TO_ALL | INIT | ASSERT)),
        ("INIT, level, and a startup IPI to the first CPU by another", &|| {
            let theirs = || {
                apic::send(smp::destination(0), INIT | LEVEL | ASSERT);
                apic::send(smp::destination(0), STARTUP | smp::start_page());
            };
            smp::beside_forever(1, &theirs, || delay_ms(500));
        }),
        ("INIT to each other at once", &|| {
            let theirs = || (0..100).for_each(|_| apic::send(smp::destination(0), INIT | ASSERT));
            smp::beside_forever(1, &theirs, || {
                (0..100).for_each(|_| apic::send(smp::destination(1), INIT | ASSERT));
                delay_ms(500);
            });
            // If this CPU was the faster one, the machine is reset now.
            by_other(INIT | ASSERT)();
        }),
        ("a last look", &all_there),
    ]);
}

/// All CPUs work, under the same hypervisor.
fn all_there() {
    let first = hypervisor::current();
    for cpu in 1..boot::cpus() {
        smp::restart(cpu);
        smp::on_cpu(cpu, &|| check_eq!(hypervisor::current(), first, "the hypervisor of CPU {}", smp::number()));
    }
    seen!("each CPU is under the same hypervisor");
}

/// One random IPI; nobody is stopped by it.
fn random_ipi(random: &mut Random, modes: &[u32]) {
    let mode = modes[random.below(modes.len())];
    let shorthand = [0, 0, TO_SELF, TO_OTHERS, TO_ALL][random.below(5)];
    let vector = match mode {
        STARTUP => smp::start_page(),
        // Also the invalid ones below 16, which QEMU 7.2 delivers.
        _ if !qemu() && random.below(16) == 0 => random.below(16) as u32,
        _ => 0x30 + random.below(0xb0) as u32,
    };
    let logical = if random.below(4) == 0 { LOGICAL } else { 0 };
    let destination = match random.below(4) {
        0 => random.next() as u32 & 0xff,
        _ => smp::destination(random.below(boot::cpus())),
    };
    // The manual's valid combinations, and others.
    apic::send(destination, mode | shorthand | vector | logical | if mode & LEVEL != 0 { 0 } else { ASSERT });
}

/// All CPUs send, and take what comes.
fn storm(modes: &[u32]) {
    smp::counting_nmis(|| {
        smp::on_all(&|| {
            let mut random = Random::new(0x1b1 + smp::number() as u64);
            for _ in 0..ROUNDS {
                random_ipi(&mut random, modes);
                cpu::enable_interrupts();
                cpu::cpuid(0);
                cpu::disable_interrupts();
            }
        });
        // What is still on its way.
        smp::on_all(&|| (0..1000).for_each(|_| settle()));
    });
    all_there();
}

fn settle() {
    cpu::enable_interrupts();
    cpu::disable_interrupts();
}

fn starts_in_a_storm(modes: &[u32]) {
    smp::counting_nmis(|| {
        let mut random = Random::new(0x5157);
        for round in 0..60 {
            let cpu = 1 + round % (boot::cpus() - 1);
            let theirs = || {
                let mut random = Random::new(0xabc + smp::starts() as u64);
                loop {
                    random_ipi(&mut random, modes);
                    settle();
                }
            };
            smp::beside_forever(cpu, &theirs, || {
                for _ in 0..random.below(200) {
                    settle();
                    cpu::cpuid(0);
                }
            });
        }
    });
    all_there();
}

fn own_inits(cpus: usize) {
    for (cpu, low) in (1..cpus).flat_map(|cpu| [TO_SELF | INIT | ASSERT, INIT | ASSERT].map(|low| (cpu, low))) {
        let theirs = || {
            apic::send(smp::destination(smp::number()), low);
            delay();
        };
        smp::beside_forever(cpu, &theirs, || delay_ms(5));
    }
    all_there();
}

fn delay() {
    (0..100_000).for_each(|_| _ = cpu::cpuid(0));
}

/// Puts an RSM where a CPU begins whose firmware has not given it another place. False: this program lies there.
fn smm_entry() -> bool {
    unsafe extern "C" {
        static bss_end: u8;
    }
    let free = (&raw const bss_end) as u64 <= SMM_ENTRY;
    if free {
        poke(SMM_ENTRY, RSM);
    }
    free
}
