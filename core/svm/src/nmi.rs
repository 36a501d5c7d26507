//! NMIs where they leave the guest, because other CPUs of the VMM kick this one by them (APM s. 15.13.2 and 15.20). With one CPU
//! they are the guest's without an exit.
//!
//! An injected NMI does not block further ones, so the VMM does until the guest's next IRET: that exits, and is then stepped over.

use crate::control::EXCEPTIONS;
use crate::instructions;
use core::sync::atomic::Ordering::SeqCst;
use hw::nmi::attention;
use hw::{cpus, lapic};
use x86::svm::{Event, EventKind, ExitCode, Misc1, Vmcb, control};

const RFLAGS_TRAP: u64 = 1 << 8;
const RFLAGS_NESTED_TASK: u64 = 1 << 14;
const CR0_PE: u64 = 1 << 0;
const EFER_LMA: u64 = 1 << 10;
const DEBUG: u8 = 1;
const NMI: u8 = 2;
/// What a #DB tells in DR6: the four breakpoints and the single step (APM s. 13.1.1.4).
const DR6_CAUSES: u64 = 0xf | DR6_SINGLE_STEP;
const DR6_SINGLE_STEP: u64 = 1 << 14;

/// The host's NMI handler, for [`hw::nmi`]: those that come where they are let in are kept for the guest.
pub fn on_host_nmi(kick: bool, rip: u64) -> u64 {
    if !kick {
        cpus::this().nmi.kept.store(1, SeqCst);
        cpus::this().nmi.attention.fetch_or(attention::KEPT, SeqCst);
    }
    rip
}

/// What has been let into the host comes once more when the guest runs, where it belongs: it leaves the guest then, or is taken by it.
/// For where nothing else prepares the next entry. GIF is 0.
pub fn send_again() {
    let cpu = cpus::this();
    if cpu.nmi.attention.fetch_and(!(attention::KICK | attention::KEPT), SeqCst) & attention::KICK != 0 {
        // The exit by it delivers what is kept, too.
        cpu.kick();
    } else if cpu.nmi.kept.swap(0, SeqCst) != 0 {
        lapic::send_nmi(cpu.apic_id());
    }
}

/// NMIs leave the guest from now on.
pub fn intercept(vmcb: &mut Vmcb) {
    vmcb.control.intercept_misc1.insert(Misc1::NMI);
}

/// Takes what is pending in the host. Tells whether it was a kick.
#[cold]
pub fn take() -> bool {
    // SAFETY: NMIs find their handler, and interrupts stay off, which `Lending` may have switched on. The instruction before CLGI ends the shadow of STGI; QEMU 7.2
    // looks for an NMI only where a block of code ends, as after POPF.
    unsafe { core::arch::asm!("cli", "stgi", "pushfq", "popfq", "nop", "clgi") };
    took_kick()
}

/// Calls `wait` with GIF set, so that NMIs find their handler meanwhile. It does no more than wait.
pub fn while_nmis_come<R>(wait: impl FnOnce() -> R) -> R {
    // SAFETY: as in `take`; AMD-V is on.
    unsafe { instructions::stgi() };
    let result = wait();
    // SAFETY: AMD-V is on.
    unsafe { instructions::clgi() };
    result
}

/// Was there a kick since this was asked last?
pub fn took_kick() -> bool {
    cpus::this().nmi.attention.swap(0, SeqCst) & attention::KICK != 0
}

/// Forgets the guest's NMIs, also the one in whose handler it is.
pub fn forget(vmcb: &mut Vmcb) {
    set_blocked(vmcb, false);
    cpus::this().nmi.kept.store(0, SeqCst);
    cpus::this().nmi.attention.store(0, SeqCst);
}

/// The guest is in an NMI's handler.
fn is_blocked(vmcb: &Vmcb) -> bool {
    vmcb.control.intercept_misc1.contains(Misc1::IRET)
}

fn set_blocked(vmcb: &mut Vmcb, blocked: bool) {
    vmcb.control.intercept_misc1.set(Misc1::IRET, blocked);
}

/// Is there an NMI for the guest that only the next entry keeps from it?
pub fn waits(vmcb: &Vmcb) -> bool {
    !is_blocked(vmcb) && cpus::this().nmi.kept.load(SeqCst) != 0
}

/// Just before an entry: an NMI that waits goes with it, if the guest can take it there. Else the guest is in a handler, whose IRET
/// exits.
pub fn deliver(vmcb: &mut Vmcb) {
    if is_blocked(vmcb) || vmcb.control.event_inj.is_valid() || cpus::this().nmi.kept.swap(0, SeqCst) == 0 {
        return;
    }
    vmcb.control.event_inj = Event::new(EventKind::Nmi, NMI);
    // Where the CPU itself would have taken it in the shadow of STI, that ends.
    vmcb.control.interrupt_shadow &= !control::INTERRUPT_SHADOW;
    set_blocked(vmcb, true);
}

/// An IRET that has exited, on its way.
pub struct Step {
    rip: u64,
    own_trap: u64,
    dr6: u64,
}

impl Step {
    /// The next VMRUN executes the IRET and no further instruction: nothing can come before it, and whatever it raises exits. So
    /// the trap flag reaches neither the guest's stack nor its debug registers. `None`: the IRET is to be executed without.
    pub fn begin(vmcb: &mut Vmcb) -> Option<Self> {
        let (control, save) = (&mut vmcb.control, &mut vmcb.save);
        let in_legacy_mode = save.cr0 & CR0_PE != 0 && save.efer & EFER_LMA == 0;
        if in_legacy_mode && save.rflags & RFLAGS_NESTED_TASK != 0 {
            // A task switch would save the flag in the TSS.
            set_blocked(vmcb, false);
            return None;
        }
        let step = Self { rip: save.rip, own_trap: save.rflags & RFLAGS_TRAP, dr6: save.dr6 };
        control.intercept_misc1.remove(Misc1::IRET);
        control.intercept_misc1.insert(Misc1::INTR);
        control.intercept_exceptions = u32::MAX;
        save.dr6 &= !DR6_CAUSES;
        save.rflags |= RFLAGS_TRAP;
        Some(step)
    }

    /// After the exit. True: the IRET is done, and the guest may be entered again. False: the exit has another cause, which is still
    /// to be answered; NMIs stay blocked up to the next IRET.
    pub fn end(self, vmcb: &mut Vmcb) -> bool {
        let (control, save) = (&mut vmcb.control, &mut vmcb.save);
        control.intercept_misc1.insert(Misc1::IRET);
        control.intercept_misc1.remove(Misc1::INTR);
        control.intercept_exceptions = EXCEPTIONS;
        let is_debug = ExitCode(control.exit_code).exception() == Some(DEBUG);
        let met = save.dr6 & DR6_CAUSES;
        let executed = met & DR6_SINGLE_STEP != 0 || save.rip != self.rip;
        if !executed {
            save.rflags = save.rflags & !RFLAGS_TRAP | self.own_trap;
        }
        // What the guest has asked for itself.
        let own = if self.own_trap != 0 { met } else { met & !DR6_SINGLE_STEP };
        save.dr6 = save.dr6 & !DR6_CAUSES | self.dr6 & DR6_CAUSES | own;
        if executed && (!is_debug || own == 0) {
            set_blocked(vmcb, false);
        }
        executed && is_debug && own == 0
    }
}
