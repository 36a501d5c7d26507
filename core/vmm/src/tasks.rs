//! The VMM's tasks on the real machine, and a CPU's part in them.

use crate::machine::RealMachine;
use core::sync::atomic::AtomicU64;
use exit::{Recall, Vcpu};
use hw::cpus::{self, Cpu};
use hw::time;
use mediator::Instant;
use task::Plan;

struct Machine;

impl task::Machine for Machine {
    fn cpu(&self) -> usize {
        cpus::here().map_or(0, Cpu::number)
    }

    fn now(&self) -> Instant {
        time::now()
    }

    fn kick(&self, cpu: usize) {
        if let Some(cpu) = cpus::all().get(cpu) {
            cpu.kick();
        }
    }
}

/// Tasks can be spawned from now on. All CPUs are known.
pub fn start() {
    task::start(&Machine, cpus::all().len());
}

/// Of a CPU whose tasks nobody counts.
static NO_WORD: AtomicU64 = AtomicU64::new(0);

/// The tasks of one CPU, looked after between an exit and the next entry.
pub struct Tasks {
    word: &'static AtomicU64,
    plan: Plan,
}

impl Tasks {
    pub fn new(cpu: &Cpu) -> Self {
        Self { word: task::word(cpu.number()).unwrap_or(&NO_WORD), plan: Plan::default() }
    }

    /// Between any exit and entry, without a lock.
    #[inline(always)]
    pub fn look_after<V: Vcpu>(&mut self, vcpu: &mut V, machine: &mut RealMachine, guest_cpu: &mut exit::Cpu<'_>) {
        // A relaxed load and a test, but in one instruction, which no compiler makes of an atomic load: each exit pays for it.
        // SAFETY: reads the word.
        unsafe {
            core::arch::asm!(
                "cmp qword ptr [{word}], 0",
                "jne {serve}",
                word = in(reg) self.word.as_ptr(),
                serve = label { self.serve(vcpu, machine, guest_cpu) },
                options(nostack),
            );
        }
    }

    #[cold]
    fn serve<V: Vcpu>(&mut self, vcpu: &mut V, machine: &mut RealMachine, guest_cpu: &mut exit::Cpu<'_>) {
        if let Some(plan) = task::serve() {
            self.plan = plan;
            self.plan_anew(vcpu, guest_cpu);
        }
        // What came while a program ran in ring 3.
        let mut any = false;
        while let Some(vector) = hw::interrupts::take() {
            vcpu.queue_interrupt(vector);
            any = true;
        }
        if any {
            guest_cpu.before_interrupts(machine);
            // The CPU may have stood still for that.
            self.plan_anew(vcpu, guest_cpu);
        }
    }

    /// As planned, after the CPU has stood still, or time for it.
    #[cold]
    #[inline(never)]
    pub fn plan_anew<V: Vcpu>(&self, vcpu: &mut V, guest_cpu: &mut exit::Cpu<'_>) {
        let Plan { at_interrupt, at } = self.plan;
        vcpu.set_recall(guest_cpu.recall(Recall { at_interrupt, at_tsc: at.map(time::tsc_at) }));
    }
}
