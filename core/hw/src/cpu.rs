//! What every CPU needs before the VMM runs on it for good.

use initfunc::initfunc;
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};

/// WBINVD: memory holds what the caches held.
pub fn write_back_caches() {
    // SAFETY: no effect but on time.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}

/// No-execute pages, and the SSE state that the sector transform saves and uses (APM s. 3.1.3 and 3.1.7).
fn init() -> Result<(), &'static str> {
    // SAFETY: every CPU with long mode has these; nothing depends on their being off.
    unsafe {
        Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE));
        Cr4::update(|flags| flags.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE));
    }
    Ok(())
}
initfunc!("pcpu0", init);
