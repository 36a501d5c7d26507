//! INIT and startup IPIs to CPUs that already run, from whatever they are doing; the CPU starts anew, and takes NMIs again.
//! Intel SDM Vol. 3A (325384) 9.4, 11.6.1; Vol. 3A 6.7.1 (NMIs are blocked until IRET, or INIT).

use crate::machine::apic::{self, ASSERT, INIT, NMI};
use crate::machine::cpu::{self, rdtsc};
use crate::machine::exceptions::with_entry;
use crate::machine::memory::{peek, poke};
use crate::machine::port::in8;
use crate::machine::smp;
use crate::machine::time::delay_ms;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

const NMI_VECTOR: u8 = 2;
const ROUNDS: u32 = 10;

// An NMI's handler that stays there.
global_asm!(
    ".section .text.smp_restart, \"ax\"",
    ".code64",
    "restart_nmi_entry:",
    "mov dword ptr [restart_in_nmi], 1",
    "2: cli",
    "hlt",
    "jmp 2b",
    ".balign 4",
    "restart_in_nmi: .long 0",
);

unsafe extern "C" {
    fn restart_nmi_entry();
    static restart_in_nmi: u32;
}

/// What a CPU does when INIT comes.
const DOINGS: [(&str, fn()); 6] = [
    ("HLT with interrupts off", || {
        loop {
            // SAFETY: nothing ends it but INIT.
            unsafe { asm!("cli", "hlt") }
        }
    }),
    ("a jump to itself with interrupts off", || {
        loop {
            // SAFETY: as above.
            unsafe { asm!("cli", "2: jmp 2b") }
        }
    }),
    ("CPUID", || {
        loop {
            cpu::cpuid(0);
        }
    }),
    ("reads of a hooked port", || {
        loop {
            in8(0x92);
        }
    }),
    ("writes to its APIC", || {
        loop {
            apic::write(apic::TASK_PRIORITY, 0);
        }
    }),
    ("HLT with interrupts on", || {
        loop {
            cpu::wait_for_interrupt();
        }
    }),
];

pub fn run() {
    let cpus = smp::start();
    for cpu in 1..cpus {
        for (name, doing) in DOINGS {
            (0..ROUNDS).for_each(|_| while_doing(cpu, doing));
            say!("CPU {cpu}, {name}: {ROUNDS} restarts");
        }
        (0..ROUNDS).for_each(|_| within_an_nmi(cpu));
        say!("CPU {cpu}, in its NMI handler: {ROUNDS} restarts");
        (0..ROUNDS).for_each(|_| in_quick_succession(cpu));
        say!("CPU {cpu}, in quick succession");
        random_moments(cpu);
    }
}

fn while_doing(cpu: usize, doing: fn()) {
    let (begun, before) = (AtomicBool::new(false), smp::starts());
    let work = || {
        begun.store(true, Relaxed);
        doing();
    };
    smp::beside_forever(cpu, &work, || {
        smp::wait_until("the CPU begins", || begun.load(Relaxed));
        delay_ms(1);
    });
    works(cpu, before + 1);
}

/// It has started that often, and does what it is asked.
fn works(cpu: usize, starts: u32) {
    let done = AtomicBool::new(false);
    smp::on_cpu(cpu, &|| done.store(smp::number() == cpu, Relaxed));
    check!(done.load(Relaxed), "CPU {cpu} does another's work");
    check_eq!(smp::starts(), starts, "starts, after those of CPU {cpu}");
}

fn within_an_nmi(cpu: usize) {
    let before = smp::starts();
    poke((&raw const restart_in_nmi) as u64, 0u32);
    with_entry(NMI_VECTOR, restart_nmi_entry, || {
        apic::send(smp::destination(cpu), NMI | ASSERT);
        smp::wait_until("an NMI arrives", || peek::<u32>((&raw const restart_in_nmi) as u64) == 1);
        // A further one waits, and INIT drops it.
        apic::send(smp::destination(cpu), NMI | ASSERT);
        smp::restart(cpu);
    });
    works(cpu, before + 1);
    smp::counting_nmis(|| {
        let taken = smp::interrupts(cpu, NMI_VECTOR);
        smp::on_cpu(cpu, &|| ());
        check!(smp::interrupts(cpu, NMI_VECTOR) == taken, "an NMI from before the INIT");
        for i in 1..=3 {
            apic::send(smp::destination(cpu), NMI | ASSERT);
            smp::wait_until("an NMI arrives after INIT", || smp::interrupts(cpu, NMI_VECTOR) == taken + i);
        }
    });
}

/// Without the waiting times of the manual: the last startup IPI has its effect all the same.
fn in_quick_succession(cpu: usize) {
    let before = smp::starts();
    let init = || apic::send(smp::destination(cpu), INIT | ASSERT);
    for sequence in [&[0, 1, 0, 1][..], &[0, 0, 1, 1], &[0, 1, 1, 0, 1, 1], &[0, 0, 0, 1]] {
        let arrivals = smp::arrivals(cpu);
        sequence.iter().for_each(|&step| if step == 0 { init() } else { smp::startup(cpu) });
        delay_ms(30);
        smp::await_arrival(cpu, arrivals);
        let done = AtomicBool::new(false);
        smp::on_cpu(cpu, &|| done.store(true, Relaxed));
        check!(done.load(Relaxed), "CPU {cpu} does not work after {sequence:?}");
    }
    let starts = smp::starts() - before;
    check!((4..=6).contains(&starts), "{starts} starts of CPU {cpu} by 6 sequences of INIT and startup IPI");
}

/// INIT at every moment of a CPU's start.
fn random_moments(cpu: usize) {
    for round in 0..200u64 {
        apic::send(smp::destination(cpu), INIT | ASSERT);
        smp::startup(cpu);
        let start = rdtsc();
        while rdtsc().wrapping_sub(start) < round * 997 {}
    }
    smp::restart(cpu);
    smp::on_cpu(cpu, &|| ());
    say!("CPU {cpu}, at 200 moments of its start");
}
