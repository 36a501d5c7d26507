//! NMIs, all of which leave the guest, and kicks by other CPUs of the VMM, which are NMIs too.
//!
//! A CPU keeps no more than one NMI for the guest, and neither does the VMM: that one is kept is told by NMI-window exiting. The
//! window and others are bits of one VMCS field; what it is to hold stands in `NmiState::kept`.

use crate::event::{enter_with, set_window};
use crate::instructions::{read, try_write, write};
use crate::switch;
use core::sync::atomic::Ordering;
use exit::{Exit, ExitKind};
use hw::cpus;
use hw::nmi::attention;
use x86::vmx::{Field, Interruptibility, InterruptionInfo, InterruptionKind, ProcessorControls};

/// NMIs that arrive in the host are the guest's from now on.
pub fn keep(controls: ProcessorControls) {
    cpus::this().nmi.kept.store(controls.bits(), Ordering::Relaxed);
    hw::nmi::set_handler(on_host_nmi);
}

/// The host's NMI handler, for [`hw::nmi`]. A kick keeps an entry that is just being made from the guest; any other NMI waits, and
/// the entry ends at once when the guest can take it.
fn on_host_nmi(kick: bool, rip: u64) -> u64 {
    if kick {
        return switch::abandoned(rip).unwrap_or(rip);
    }
    keep_one();
    rip
}

fn keep_one() {
    let window = ProcessorControls::NMI_WINDOW_EXITING.bits();
    let controls = cpus::this().nmi.kept.fetch_or(window, Ordering::Relaxed) | window;
    try_write(Field::PROCESSOR_CONTROLS, controls.into());
}

/// An NMI has left the guest.
#[cold]
pub fn on_nmi() -> Exit {
    let kick = cpus::this().take_kick();
    if !kick {
        keep_one();
    }
    // After the exit they are blocked (s. 28.5.6), also through the entries in between.
    hw::nmi::unblock();
    if kick { Exit::Signal } else { Exit::Answered(ExitKind::Nmi) }
}

/// The guest was not entered: [`attention`] tells why.
pub fn take_attention() -> u32 {
    cpus::this().nmi.attention.swap(0, Ordering::SeqCst)
}

/// Forgets the guest's NMI, and the kicks before.
pub fn forget() {
    set_window(ProcessorControls::NMI_WINDOW_EXITING, false);
    cpus::this().nmi.attention.fetch_and(!attention::KICK, Ordering::SeqCst);
}

/// The guest can take the NMI that is kept for it. One that comes meanwhile is kept in its place.
pub fn on_window() {
    set_window(ProcessorControls::NMI_WINDOW_EXITING, false);
    enter_with(InterruptionInfo::new(InterruptionKind::Nmi, 2), 0, 0);
}

/// An IRET that ended in an exit had unblocked NMIs already, and will be executed again (s. 28.2.3).
pub fn undo_unblocking(unblocked_by_iret: bool) {
    let delivering = InterruptionInfo(read(Field::IDT_VECTORING_INFORMATION) as u32).is_valid();
    if unblocked_by_iret && !delivering {
        set_blocked(true);
    }
}

pub fn set_blocked(blocked: bool) {
    let mut state = Interruptibility::from_bits_retain(read(Field::GUEST_INTERRUPTIBILITY_STATE) as u32);
    state.set(Interruptibility::BLOCKING_BY_NMI, blocked);
    write(Field::GUEST_INTERRUPTIBILITY_STATE, state.bits().into());
}
