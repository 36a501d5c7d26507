//! The SVM instructions (APM Vol. 3, "System Instruction Reference"), but for VMRUN, which is a part of the world switch.

use core::arch::asm;
use hw::Hpa;

/// CLGI: from now on no interrupt, NMI included, reaches the host.
///
/// # Safety
/// EFER.SVME is set.
pub unsafe fn clgi() {
    // SAFETY: the caller's promise.
    unsafe { asm!("clgi", options(nostack, preserves_flags)) };
}

/// STGI: what is pending comes now.
///
/// # Safety
/// EFER.SVME is set, and whatever comes finds its handler.
pub unsafe fn stgi() {
    // SAFETY: the caller's promise.
    unsafe { asm!("stgi", options(nostack, preserves_flags)) };
}

/// VMLOAD: FS, GS, TR, LDTR and the SYSCALL and SYSENTER registers of the VMCB at `vmcb` (APM s. 15.5.2).
///
/// # Safety
/// EFER.SVME is set; nothing in the VMM uses these registers.
pub unsafe fn vmload(vmcb: Hpa) {
    // SAFETY: the caller's promise.
    unsafe { asm!("vmload rax", in("rax") vmcb.0, options(nostack, preserves_flags)) };
}

/// VMSAVE: the same registers into the VMCB at `vmcb`.
///
/// # Safety
/// EFER.SVME is set; the frame is a VMCB of our own, to which no reference is held.
pub unsafe fn vmsave(vmcb: Hpa) {
    // SAFETY: the caller's promise.
    unsafe { asm!("vmsave rax", in("rax") vmcb.0, options(nostack, preserves_flags)) };
}
