//! Extended control registers.

// A #GP at the marked instruction continues at `xcr_failed` (`descriptors`).
core::arch::global_asm!(
    r#"
    .text
    .global xcr_try_write, xcr_write_here, xcr_failed
xcr_try_write:
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
xcr_write_here:
    xsetbv
    mov eax, 1
    ret
xcr_failed:
    xor eax, eax
    ret
    "#
);

unsafe extern "sysv64" {
    fn xcr_try_write(number: u32, value: u64) -> u32;
    static xcr_write_here: [u8; 0];
    static xcr_failed: [u8; 0];
}

/// Where a #GP at `rip` continues, when `rip` is the instruction that may raise it.
pub(crate) fn fault_handler(rip: u64) -> Option<u64> {
    (rip == &raw const xcr_write_here as u64).then_some(&raw const xcr_failed as u64)
}

/// XSETBV; `None` where the CPU raises #GP.
///
/// # Safety
/// CR4.OSXSAVE is set. The VMM itself uses no state that XCR0 enables, or asks for it first.
pub unsafe fn write(number: u32, value: u64) -> Option<()> {
    // SAFETY: the caller's promise; a #GP is dealt with.
    (unsafe { xcr_try_write(number, value) } != 0).then_some(())
}
