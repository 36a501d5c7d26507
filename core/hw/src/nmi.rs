//! NMIs that arrive while the VMM runs. They are the guest's, but for those that another CPU of the VMM has sent (kicks).

use crate::cpus;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicPtr, AtomicU32};

/// What a CPU's NMI handler shares with its virtual CPU.
#[derive(Debug)]
pub struct NmiState {
    /// See [`attention`]. While it is not 0 the guest is not entered.
    pub attention: AtomicU32,
    /// The guest's NMI that waits for it, in the terms of the virtualization extension.
    pub kept: AtomicU32,
}

/// Why the guest is not entered.
pub mod attention {
    /// A kick has come.
    pub const KICK: u32 = 1 << 0;
    /// An NMI of the guest's is kept; for a CPU that waits for one.
    pub const KEPT: u32 = 1 << 2;
    /// The nested tables were built anew: what this CPU has cached of the old ones must go first.
    pub const STALE: u32 = 1 << 1;
}

impl NmiState {
    pub const fn new() -> Self {
        Self { attention: AtomicU32::new(0), kept: AtomicU32::new(0) }
    }
}

impl Default for NmiState {
    fn default() -> Self {
        Self::new()
    }
}

/// Is told of each NMI whether it was a kick, which [`NmiState::attention`] has by then, and what it has interrupted (RIP); gives
/// where that goes on. Called at any moment, on the stack of whatever was interrupted. It may take no lock.
pub type Handler = fn(kick: bool, rip: u64) -> u64;

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From now on `handler` is called for NMIs on every CPU. Without a handler, before the guest runs, they are dropped.
pub fn set_handler(handler: Handler) {
    HANDLER.store(handler as *mut (), Relaxed);
}

/// Gives where the code that was interrupted at `rip` goes on.
pub(crate) fn on_nmi(rip: u64) -> u64 {
    let rip = cpus::nmi_return(rip).unwrap_or(rip);
    let handler = HANDLER.load(Relaxed);
    if handler.is_null() {
        return rip;
    }
    let cpu = cpus::this();
    let kick = cpu.take_kick();
    if kick {
        cpu.nmi.attention.fetch_or(attention::KICK, SeqCst);
    }
    // SAFETY: only `set_handler` writes it.
    let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
    handler(kick, rip)
}

/// The CPU blocks NMIs from the one that it has taken on until IRET (APM s. 8.2.3; SDM Vol. 3A s. 7.7.1). For where that one's
/// handler does not end by IRET: they may come again.
pub fn unblock() {
    // SAFETY: IRET to the next instruction, with the stack and flags as they are.
    unsafe {
        core::arch::asm!(
            "mov {rsp}, rsp",
            "mov {selector:e}, ss",
            "push {selector}",
            "push {rsp}",
            "pushfq",
            "mov {selector:e}, cs",
            "push {selector}",
            "lea {rsp}, [rip + 2f]",
            "push {rsp}",
            "iretq",
            "2:",
            rsp = out(reg) _,
            selector = out(reg) _,
        );
    }
}
