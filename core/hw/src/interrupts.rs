//! Interrupts that are taken in the host. They are the guest's: the handler notes the vector, and whoever has let them in hands
//! what was noted to the guest ([`take`]), in whose name the local APIC has them in service until its EOI. The one of the lent timer
//! ([`apic_timer`]) is the VMM's own and is dealt with at once.
//!
//! Interrupts are off in the host but for short: in [`admit`], and where ring 3 runs.

use crate::lapic::Lapic;
use crate::{apic_timer, cpus, msr};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};

/// Vectors of one CPU.
#[derive(Debug)]
pub(crate) struct Noted {
    vectors: [AtomicU64; 4],
    /// Interrupts are let in by code that raises no exception.
    lets_in: AtomicBool,
    /// The lent timer is to interrupt whatever else does.
    puts_off: AtomicBool,
    /// What was put off, by the lower half of the vector.
    put_off: AtomicU32,
}

impl Noted {
    pub const fn new() -> Self {
        Self {
            vectors: [const { AtomicU64::new(0) }; 4],
            lets_in: AtomicBool::new(false),
            puts_off: AtomicBool::new(false),
            put_off: AtomicU32::new(0),
        }
    }
}

/// Of the handler: at any moment when interrupts are let in, on the stack of whatever was interrupted. It takes no lock.
pub(crate) fn on_interrupt(vector: u8) {
    if vector == timer::VECTOR && apic_timer::on_interrupt() {
        return;
    }
    let noted = &cpus::this().interrupts;
    if noted.puts_off.load(Relaxed) && put_off(vector) {
        return;
    }
    noted.vectors[usize::from(vector / 64)].fetch_or(1 << (vector % 64), Relaxed);
}

/// From now on, until [`stop_putting_off`], interrupts of the lent timer's own class are ended at once and sent to this CPU again later:
/// in service until the guest's EOI they would keep the timer's off.
pub(crate) fn put_off_timer_class() {
    cpus::this().interrupts.puts_off.store(true, Relaxed);
}

/// They come again.
pub(crate) fn stop_putting_off(apic: Lapic) {
    let noted = &cpus::this().interrupts;
    noted.puts_off.store(false, Relaxed);
    let vectors = noted.put_off.swap(0, Relaxed);
    (timer::VECTOR..=u8::MAX).filter(|vector| vectors >> (vector % 16) & 1 != 0).for_each(|it| apic.send_to_itself(it));
}

fn put_off(vector: u8) -> bool {
    let apic = Lapic::this();
    // Those of the legacy controller, and spurious ones, are not in service.
    if vector < timer::VECTOR || !apic.is_in_service(vector) {
        return false;
    }
    // SAFETY: it comes again.
    if unsafe { apic.end_early(vector) } {
        cpus::this().interrupts.put_off.fetch_or(1 << (vector % 16), Relaxed);
    }
    true
}

/// The highest vector that was noted on this CPU; it is noted no longer. To be queued for its guest.
pub fn take() -> Option<u8> {
    cpus::this().interrupts.vectors.iter().enumerate().rev().find_map(|(group, noted)| {
        let vectors = noted.load(Relaxed);
        let highest = vectors.checked_ilog2()?;
        noted.fetch_and(!(1 << highest), Relaxed);
        Some((group as u32 * 64 + highest) as u8)
    })
}

/// Lets in what is pending, with interrupts off before and afterwards.
pub type Window = fn();

static WINDOW: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// For a virtualization extension where RFLAGS.IF alone does not let interrupts in.
pub fn set_window(window: Window) {
    WINDOW.store(window as *mut (), SeqCst);
}

/// Calls `let_in`, which lets interrupts in and raises no exception. So whatever comes meanwhile in a vector of an exception is an
/// interrupt: the guest chooses the vectors of the legacy controller.
pub fn while_let_in(let_in: impl FnOnce()) {
    let flag = &cpus::this().interrupts.lets_in;
    flag.store(true, SeqCst);
    let_in();
    flag.store(false, SeqCst);
}

/// MSR MCG_STATUS, bit 2: a machine check is in progress (APM s. 9.3.1.2).
const MCG_STATUS: u32 = 0x17a;
const IN_PROGRESS: u64 = 1 << 2;
const MACHINE_CHECK: u64 = 18;

/// Has an interrupt come in this vector of an exception without an error code? Those with one are told apart by the stack.
pub(crate) fn is_interrupt(vector: u64) -> bool {
    let machine_check = || vector == MACHINE_CHECK && is_machine_check();
    cpus::here().is_some_and(|cpu| cpu.interrupts.lets_in.load(SeqCst)) && !machine_check()
}

/// Is a machine check in progress? If that cannot be told it is.
pub(crate) fn is_machine_check() -> bool {
    msr::read(MCG_STATUS).is_none_or(|status| status & IN_PROGRESS != 0)
}

/// Takes the interrupts that are pending on this CPU: they are noted. What is left to other CPUs' NMIs is done meanwhile, too.
pub fn admit() {
    while_let_in(open_window);
}

fn open_window() {
    let window = WINDOW.load(Relaxed);
    if window.is_null() {
        // SAFETY: interrupts find their handler. STI holds them off for one more instruction.
        return unsafe { core::arch::asm!("sti", "nop", "nop", "cli") };
    }
    // SAFETY: only `set_window` writes it.
    unsafe { core::mem::transmute::<*mut (), Window>(window)() };
}
