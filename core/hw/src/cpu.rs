//! What every CPU needs before the VMM runs on it for good.

use crate::msr;
use initfunc::initfunc;
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};

/// WBINVD: memory holds what the caches held.
pub fn write_back_caches() {
    // SAFETY: no effect but on time.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}

/// How many logical processors this CPU's package may have, by CPUID leaf 1: for machines whose firmware does not tell.
pub fn logical_processors() -> usize {
    const HTT: u32 = 1 << 28;
    let leaf = core::arch::x86_64::__cpuid(1);
    if leaf.edx & HTT != 0 { (leaf.ebx >> 16 & 0xff) as usize } else { 1 }
}

/// IA32_MISC_ENABLE (SDM Vol. 4 s. 2.1).
const MISC_ENABLE: u32 = 0x1a0;
const XD_BIT_DISABLE: u64 = 1 << 34;

/// Some firmware has a switch for no-execute pages: without the feature EFER.NXE raises #GP.
fn enable_no_execute() {
    if let Some(value) = msr::read(MISC_ENABLE)
        && value & XD_BIT_DISABLE != 0
    {
        // SAFETY: takes a restriction away. A CPU that refuses has no such switch.
        let _ = unsafe { msr::write(MISC_ENABLE, value & !XD_BIT_DISABLE) };
    }
}

/// No-execute pages, and the SSE state that the sector transform saves and uses (APM s. 3.1.3 and 3.1.7).
fn init() -> Result<(), &'static str> {
    enable_no_execute();
    // SAFETY: every CPU with long mode has these; nothing depends on their being off.
    unsafe {
        Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE));
        Cr4::update(|flags| flags.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE));
    }
    Ok(())
}
initfunc!("pcpu0", init);
