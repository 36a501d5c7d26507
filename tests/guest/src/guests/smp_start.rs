//! INIT and startup IPIs: every CPU starts, with the state that a CPU has after INIT; startup IPIs to CPUs that do not wait for
//! one are ignored. Intel SDM Vol. 3A (325384) 9.1.1 (state after INIT), 9.4, 11.6.1; AMD64 APM Vol. 2 (24593) 14.1.3.

use crate::machine::apic::{self, ASSERT, INIT, STARTUP, TO_OTHERS};
use crate::machine::area;
use crate::machine::cpu::{self, rdmsr, wrmsr};
use crate::machine::smp::{self, State};
use crate::machine::time::delay_ms;
use crate::{boot, report};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PAT: u32 = 0x277;
const TSC_AUX: u32 = 0xc000_0103;
/// Another than the firmware's: both write-combining types changed places.
const OTHER_PAT: u64 = 0x0007_0106_0007_0106;

pub fn run() {
    let cpus = smp::start();
    check_eq!(smp::starts() as usize, cpus - 1, "starts by two startup IPIs to each");
    identifiers(cpus);
    for cpu in 1..cpus {
        state(cpu);
        startup_to_a_running_cpu(cpu);
        startup_without_init(cpu);
        what_survives(cpu);
    }
    broadcasts(cpus);
    say!("{cpus} CPUs, {} starts", smp::starts());
}

/// Each CPU's own idea of its identifier is another one, and CPUID and the APIC agree.
fn identifiers(cpus: usize) {
    let mut seen = [u32::MAX; area::MOST];
    let seen_by = AtomicU64::new(0);
    for cpu in 0..cpus {
        let id = AtomicU64::new(0);
        let look = || {
            id.store(apic::id().into(), Relaxed);
            seen_by.fetch_add(1 << (8 * smp::number() as u64 % 64), Relaxed);
            let first = report::must(rdmsr(apic::APIC_BASE), "APIC_BASE") & apic::BASE_FIRST_CPU != 0;
            check_eq!(first, smp::number() == 0, "the first CPU's mark in APIC_BASE of CPU {}", smp::number());
        };
        if cpu == 0 {
            look()
        } else {
            smp::on_cpu(cpu, &look)
        }
        let id = id.load(Relaxed) as u32;
        check_eq!(id, area::of(cpu).apic_id.load(Relaxed), "identifier by the APIC and by CPUID of CPU {cpu}");
        check!(!seen.contains(&id), "two CPUs with identifier {id}");
        seen[cpu] = id;
    }
    check_eq!(seen_by.load(Relaxed).count_ones() as usize, cpus, "CPUs that have looked");
}

/// What a CPU finds after INIT and a startup IPI.
fn state(cpu: usize) {
    // Values that INIT has to take back.
    smp::on_cpu(cpu, &|| {
        // SAFETY: no breakpoint is enabled, and no page fault looks at CR2.
        unsafe {
            cpu::set_cr2(0x1234_5000);
            asm!("mov dr0, {0}", "mov dr7, {1}", in(reg) 0x5678u64, in(reg) 0x500u64);
        }
    });
    let caches = AtomicU64::new(0);
    smp::on_cpu(cpu, &|| caches.store(cpu::cr0() & 0x6000_0000, Relaxed));
    smp::restart(cpu);
    let found = smp::start_state();
    say!("CPU {cpu}: {found:x?}");
    let signature = cpu::cpuid(1).eax;
    // Bochs has 0 there, which no CPU has.
    check!(found.edx == signature || (found.edx == 0 && !super::shoji()), "EDX is {:#x}", { found.edx });
    // CD and NW stay as they were by the manual, and are set by some CPUs.
    let cr0 = found.cr0 & !0x6000_0000;
    check!([0x6000_0000, caches.load(Relaxed) as u32].contains(&(found.cr0 & 0x6000_0000)), "CR0 is {:#x}", {
        found.cr0
    });
    let expected = State {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: found.edx,
        esi: 0,
        edi: 0,
        ebp: 0,
        esp: 0,
        data_segments: [0; 5],
        cs: (smp::start_page() << 8) as u16,
        cr0: 0x10,
        cr2: 0,
        cr3: 0,
        cr4: 0,
        dr6: 0xffff_0ff0,
        dr7: 0x400,
        gdt_limit: 0xffff,
        gdt_base: 0,
        idt_limit: 0xffff,
        idt_base: 0,
        // Direction, interrupts and all else off.
        eflags: 2,
        efer: 0,
    };
    // The flags of arithmetic are the start code's own by then (XOR).
    let found = State { cr0, eflags: found.eflags & !0x8d5, ..found };
    check_eq!(found, expected, "registers of CPU {cpu} after INIT");
}

/// A CPU that runs, and one that halts, ignore startup IPIs.
fn startup_to_a_running_cpu(cpu: usize) {
    let before = smp::starts();
    smp::beside(cpu, &|| delay_cycles(2_000_000), || {
        for _ in 0..3 {
            smp::startup(cpu);
            cpu::cpuid(0);
        }
    });
    for _ in 0..3 {
        smp::startup(cpu); // it halts now
        delay_ms(1);
    }
    smp::on_cpu(cpu, &|| ());
    check_eq!(smp::starts(), before, "starts of CPU {cpu} by startup IPIs while it ran");
}

fn delay_cycles(cycles: u64) {
    let start = cpu::rdtsc();
    while cpu::rdtsc().wrapping_sub(start) < cycles {
        cpu::cpuid(0);
    }
}

/// INIT alone stops a CPU; one startup IPI starts it, and a further one does nothing.
fn startup_without_init(cpu: usize) {
    let (before, arrivals) = (smp::starts(), smp::arrivals(cpu));
    smp::init(cpu);
    delay_ms(20);
    check_eq!(smp::starts(), before, "starts of CPU {cpu} by INIT alone");
    let interrupts = smp::interrupts(cpu, smp::WAKE);
    apic::send(smp::destination(cpu), u32::from(smp::WAKE));
    delay_ms(2);
    check_eq!(smp::interrupts(cpu, smp::WAKE), interrupts, "interrupts that CPU {cpu} takes after INIT");
    smp::startup(cpu);
    smp::await_arrival(cpu, arrivals);
    check_eq!(smp::starts(), before + 1, "starts of CPU {cpu} by INIT and one startup IPI");
    smp::startup(cpu);
    delay_ms(5);
    smp::on_cpu(cpu, &|| ());
    check_eq!(smp::starts(), before + 1, "starts of CPU {cpu} by a second startup IPI");
}

/// INIT leaves SSE registers, most MSRs and the time stamp counter alone.
fn what_survives(cpu: usize) {
    let before = AtomicU64::new(0);
    let aux = rdmsr(TSC_AUX).is_ok();
    smp::on_cpu(cpu, &|| {
        // SAFETY: nothing here depends on memory types of PAT entries 1 and 5, nor on TSC_AUX.
        unsafe {
            report::must(wrmsr(PAT, OTHER_PAT), "PAT");
            if aux {
                report::must(wrmsr(TSC_AUX, 0x77), "TSC_AUX");
            }
            cpu::set_cr4(cpu::cr4() | cpu::CR4_OSFXSR);
            asm!("movq xmm7, {}", in(reg) 0x0123_4567_89ab_cdefu64);
        }
        before.store(cpu::rdtsc(), Relaxed);
    });
    smp::restart(cpu);
    smp::on_cpu(cpu, &|| {
        check_eq!(rdmsr(PAT), Ok(OTHER_PAT), "PAT of CPU {cpu} after INIT");
        if aux {
            check_eq!(rdmsr(TSC_AUX), Ok(0x77), "TSC_AUX of CPU {cpu} after INIT");
        }
        let now = cpu::rdtsc();
        check!(now > before.load(Relaxed), "the time stamp counter of CPU {cpu} went back: {now}");
        let xmm7: u64;
        // SAFETY: as above; the PAT of the other CPUs comes back.
        unsafe {
            cpu::set_cr4(cpu::cr4() | cpu::CR4_OSFXSR);
            asm!("movq {}, xmm7", out(reg) xmm7);
            report::must(wrmsr(PAT, 0x0007_0406_0007_0406), "PAT");
        }
        check_eq!(xmm7, 0x0123_4567_89ab_cdef, "XMM7 of CPU {cpu} after INIT");
    });
}

/// All at once, again and again.
fn broadcasts(cpus: usize) {
    for round in 0..5 {
        let before = smp::starts();
        let arrivals: [u32; area::MOST] = core::array::from_fn(smp::arrivals);
        apic::send(0, TO_OTHERS | INIT | ASSERT);
        delay_ms(10);
        apic::send(0, TO_OTHERS | STARTUP | smp::start_page());
        apic::send(0, TO_OTHERS | STARTUP | smp::start_page());
        (1..cpus).for_each(|cpu| smp::await_arrival(cpu, arrivals[cpu]));
        smp::on_all(&|| delay_cycles(1000));
        check_eq!(smp::starts() - before, boot::cpus() as u32 - 1, "starts by broadcasts, round {round}");
    }
}
