//! CPU instructions in their plain form.
//! AMD64 Architecture Programmer's Manual Vol. 2 (publication 24593) and Vol. 3 (24594).

use super::exceptions::{Fault, catch};
use core::arch::asm;
pub use core::arch::x86_64::{__cpuid_count as cpuid_count, CpuidResult};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const EFER: u32 = 0xc000_0080;

pub const CR0_MP: u64 = 1 << 1;
pub const CR0_EM: u64 = 1 << 2;
pub const CR0_TS: u64 = 1 << 3;
pub const CR0_NE: u64 = 1 << 5;
pub const CR0_WP: u64 = 1 << 16;
pub const CR4_PGE: u64 = 1 << 7;
pub const CR4_OSFXSR: u64 = 1 << 9;
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
pub const CR4_OSXSAVE: u64 = 1 << 18;

pub fn cpuid(leaf: u32) -> CpuidResult {
    cpuid_count(leaf, 0)
}

/// Made by Intel, else by AMD.
pub fn is_intel() -> bool {
    let vendor = cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes) == [*b"Genu", *b"ineI", *b"ntel"]
}

macro_rules! control_register {
    ($get:ident, $set:ident, $name:literal) => {
        pub fn $get() -> u64 {
            let value;
            // SAFETY: reads a register.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }
        /// # Safety
        /// The program must be able to run on with this value.
        pub unsafe fn $set(value: u64) {
            // SAFETY: the caller's promise.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}

control_register!(cr0, set_cr0, "cr0");
control_register!(cr2, set_cr2, "cr2");
control_register!(cr3, set_cr3, "cr3");
control_register!(cr4, set_cr4, "cr4");
control_register!(cr8, set_cr8, "cr8");

/// RDMSR, or the exception that it ended in.
pub fn rdmsr(msr: u32) -> Result<u64, Fault> {
    let mut value = 0;
    // SAFETY: reading an MSR changes nothing of this program.
    catch(&mut || unsafe {
        let (low, high): (u32, u32);
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        value = u64::from(high) << 32 | u64::from(low);
    })?;
    Ok(value)
}

/// WRMSR, or the exception that it ended in.
///
/// # Safety
/// The program must be able to run on with this value.
pub unsafe fn wrmsr(msr: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller's promise.
    catch(&mut || unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    })
}

pub fn rdtsc() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Waits for an interrupt: STI and HLT together, so that none is lost; interrupts are off again afterwards.
pub fn wait_for_interrupt() {
    // SAFETY: interrupt handlers change their counters only.
    idle(|| unsafe { asm!("sti", "hlt", "cli") });
}

/// What this takes counts as idle time.
pub fn idle(code: impl FnOnce()) {
    let start = rdtsc();
    code();
    IDLE.fetch_add(rdtsc() - start, Relaxed);
}

static IDLE: AtomicU64 = AtomicU64::new(0);

/// Time stamp ticks spent in [`idle`] so far.
pub fn idle_ticks() -> u64 {
    IDLE.load(Relaxed)
}

pub fn enable_interrupts() {
    // SAFETY: as above.
    unsafe { asm!("sti", "nop") }; // the NOP is where a pending interrupt comes, should CLI follow
}

pub fn disable_interrupts() {
    // SAFETY: as above.
    unsafe { asm!("cli") };
}
