//! How the VMM gets the CPU back from a guest that has no exit of its own: at its interrupts, which are taken in the host and queued
//! for it, and at a time, by the timer of its local APIC (APM s. 15.13.1 and 15.21).
//!
//! While the timer is lent physical interrupts are masked by the host's RFLAGS.IF, which is set then: so they exit whatever the guest
//! does. A guest that halts then waits in the host, since an exit ends its HLT.

use crate::vcpu::SvmVcpu;
use crate::{event, nmi, policy};
use exit::{Exit, ExitKind, Recall, Vcpu};
use hw::apic_timer::Borrower;
use hw::lapic::Lapic;
use hw::{apic_timer, cpus, interrupts, lapic};
use mediator::Gpa;
use x86::msr;
use x86::svm::{ExitCode, Misc1, TlbControl, Vmcb, control};

/// The highest class of task priority holds off the VMM's own interrupt too.
const HIGHEST: u64 = 15;

/// What this CPU does to get the guest back.
#[derive(Default)]
pub struct Watch {
    wanted: Recall,
    /// Interrupts exit.
    pub(crate) is_on: bool,
    /// The timer is lent, and physical interrupts are masked by the host.
    lent: bool,
    /// What the real task priority was set to, or found at, the last time.
    task_priority: u64,
    /// It has executed HLT and waits in the host.
    pub(crate) is_halted: bool,
    /// The deadline has been told.
    is_told: bool,
    /// [`crate::nested::Memory::changes`] that the CPU has seen.
    changes: u64,
    /// What is to be answered before the guest runs.
    early: Option<Exit>,
}

/// Interrupts that are pending are taken now, for [`hw::interrupts`]. The instruction behind STI still is in its shadow.
pub fn admit() {
    // SAFETY: interrupts and NMIs find their handlers.
    unsafe { core::arch::asm!("stgi", "sti", "nop", "nop", "cli", "clgi") };
    nmi::send_again();
}

fn real_priority() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, cr8", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

fn set_real_priority(value: u64) {
    // SAFETY: holds interrupts of the guest's off, or does not, as it wants itself.
    unsafe { core::arch::asm!("mov cr8, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

fn virtual_priority(vmcb: &Vmcb) -> u64 {
    vmcb.control.virtual_interrupt & control::V_TPR
}

fn set_virtual_priority(vmcb: &mut Vmcb, value: u64) {
    let field = &mut vmcb.control.virtual_interrupt;
    *field = *field & !control::V_TPR | value & control::V_TPR;
}

impl SvmVcpu {
    /// As [`Vcpu::set_recall`].
    #[cold]
    pub(crate) fn watch(&mut self, wanted: Recall) {
        let changes = self.memory().changes();
        if core::mem::replace(&mut self.watch.changes, changes) != changes {
            self.vmcb.control.tlb_control = TlbControl::ALL;
            // What was mapped may not be any more, and is to be tried again.
            self.forget_touched();
        }
        if wanted != self.watch.wanted || wanted.at_tsc.is_some() && self.watch.is_told {
            self.watch.wanted = wanted;
            self.resume_watch();
        }
    }

    /// What is wanted is done from now on.
    #[cold]
    pub(crate) fn resume_watch(&mut self) {
        let wanted = self.watch.wanted;
        let lent = wanted.at_tsc.is_some_and(|deadline| self.lend(deadline));
        if !lent {
            self.end_loan();
        }
        self.watch.is_told = false;
        // Without a timer the guest's interrupts must do.
        self.watch.is_on = wanted != Recall::NONE;
        self.vmcb.control.intercept_misc1.set(Misc1::INTR, self.watch.is_on);
        if self.watch.is_on {
            // While interrupts are let in NMIs are, too.
            nmi::intercept(self.vmcb);
        }
        self.make_busy();
    }

    /// The guest's timer and interrupts are its own, until [`SvmVcpu::resume_watch`].
    pub(crate) fn suspend_watch(&mut self) {
        self.end_loan();
        self.watch.is_on = false;
        self.vmcb.control.intercept_misc1.remove(Misc1::INTR);
    }

    /// False: there is no timer, or no way to see what the guest does with it.
    fn lend(&mut self, deadline: u64) -> bool {
        if lapic::legacy_interrupts_come() {
            // With the host's mask they would be taken whatever the guest's says.
            return false;
        }
        if self.watch.lent {
            return apic_timer::lend(Lapic::this(), Borrower::Vcpu, deadline).is_some();
        }
        let Some(root) = self.memory().root_without(Gpa(lapic::base().0)) else { return false };
        if apic_timer::lend(Lapic::this(), Borrower::Vcpu, deadline).is_none() {
            return false;
        }
        self.watch.lent = true;
        let control = &mut self.vmcb.control;
        control.n_cr3 = root.0;
        control.tlb_control = TlbControl::ALL;
        control.virtual_interrupt |= control::V_INTR_MASKING;
        self.intercept_timer();
        self.watch.task_priority = real_priority();
        set_virtual_priority(self.vmcb, self.watch.task_priority);
        true
    }

    fn end_loan(&mut self) {
        if !self.watch.lent {
            return;
        }
        self.watch.lent = false;
        self.follow_priority();
        set_real_priority(virtual_priority(self.vmcb));
        // SAFETY: as it is without a loan.
        unsafe { core::arch::asm!("cli", options(nostack)) };
        apic_timer::give_back(Lapic::this(), Borrower::Vcpu);
        self.queue_noted();
        let root = self.memory().root();
        let control = &mut self.vmcb.control;
        control.n_cr3 = root.0;
        control.tlb_control = TlbControl::ALL;
        control.virtual_interrupt &= !(control::V_INTR_MASKING | control::V_TPR);
        control.intercept_misc1.remove(Misc1::HLT);
        self.intercept_timer();
        self.make_busy();
    }

    /// Which of the timer's MSRs exit.
    pub(crate) fn intercept_timer(&mut self) {
        let lent = self.watch.lent;
        let deadline = lent || self.tsc_offset() != 0;
        let map = self.msr_permissions();
        policy::intercept_timer(map, lent);
        map.intercept(msr::TSC_DEADLINE, deadline, deadline);
    }

    /// The guest changes its task priority by CR8, which is the virtual one, or in its local APIC: either is the other then. But the
    /// highest class is the virtual one's alone.
    fn follow_priority(&mut self) {
        let real = real_priority();
        if real != self.watch.task_priority {
            set_virtual_priority(self.vmcb, real);
        }
        let priority = virtual_priority(self.vmcb).min(HIGHEST - 1);
        if real != priority {
            set_real_priority(priority);
        }
        self.watch.task_priority = priority;
    }

    /// What was taken in the host is the guest's. Was there anything?
    fn queue_noted(&mut self) -> bool {
        let mut any = false;
        while let Some(vector) = interrupts::take() {
            self.queue_interrupt(vector);
            any = true;
        }
        any
    }

    /// The deadline is over, and the VMM has not been told yet.
    fn is_due(&mut self) -> bool {
        let is_new = self.watch.lent && !self.watch.is_told && apic_timer::is_due(Borrower::Vcpu);
        self.watch.is_told |= is_new;
        is_new
    }

    /// Just before an entry. False: the guest waits in the host, and the VMM is wanted for what [`SvmVcpu::on_interrupt`] tells.
    pub(crate) fn before_entry(&mut self) -> bool {
        if self.watch.is_halted
            && let Some(exit) = self.wait()
        {
            self.watch.early = Some(exit);
            self.vmcb.control.exit_code = ExitCode::INTR.0;
            return false;
        }
        if self.watch.lent {
            self.follow_priority();
            // SAFETY: GIF is 0, so that nothing comes before the guest runs.
            unsafe { core::arch::asm!("sti", options(nostack)) };
        }
        true
    }

    /// Until something ends the guest's HLT, or the VMM is wanted.
    fn wait(&mut self) -> Option<Exit> {
        loop {
            if self.queue_noted() {
                // The VMM may have something to do before the guest gets them.
                return Some(Exit::Answered(ExitKind::ExternalInterrupt));
            }
            if nmi::took_kick() {
                return Some(Exit::Signal);
            }
            if self.is_due() {
                return Some(Exit::Answered(ExitKind::Recall));
            }
            if nmi::waits(self.vmcb) || self.has_queued() && event::lets_interrupts_in(self.vmcb) {
                self.watch.is_halted = false;
                return None;
            }
            if self.watch.lent {
                self.follow_priority();
            }
            // SAFETY: interrupts and NMIs find their handlers; the word asks for attention when an NMI has come before HLT.
            interrupts::while_let_in(|| unsafe {
                core::arch::asm!("cli", "stgi", options(nostack));
                cpus::halt_for_interrupts(&cpus::this().nmi.attention);
                core::arch::asm!("clgi", options(nostack));
            });
        }
    }

    /// An interrupt has left the guest, and still is pending; or one has come while that waited in the host.
    #[cold]
    pub(crate) fn on_interrupt(&mut self) -> Exit {
        self.make_busy();
        if let Some(exit) = self.watch.early.take() {
            return exit;
        }
        if !self.watch.is_on {
            // It kept an IRET from being stepped over; the guest takes it first.
            return Exit::Answered(ExitKind::NmiWindow);
        }
        if self.watch.lent && lapic::legacy_interrupts_come() {
            // Since the timer was lent. What is pending waits for the guest's own mask.
            self.end_loan();
            return Exit::Answered(ExitKind::ExternalInterrupt);
        }
        interrupts::admit();
        self.queue_noted();
        if nmi::took_kick() {
            Exit::Signal
        } else if self.is_due() {
            Exit::Answered(ExitKind::Recall)
        } else {
            Exit::Answered(ExitKind::ExternalInterrupt)
        }
    }

    /// As [`Vcpu::halt`].
    pub(crate) fn halt_at(&mut self, len_bytes: u8) {
        if self.watch.lent {
            self.skip_instruction(len_bytes);
            self.watch.is_halted = true;
            self.make_busy();
        } else if event::lets_interrupts_in(self.vmcb) {
            // What is queued ends it at once.
            self.skip_instruction(len_bytes);
        }
    }

    /// Must every entry be prepared?
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.lent || self.watch.is_halted
    }
}
