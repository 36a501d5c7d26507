//! Model-specific registers, those included that the CPU may not have.

// A #GP at either marked instruction continues at `msr_failed` (`descriptors`).
core::arch::global_asm!(
    r#"
    .text
    .global msr_try_read, msr_try_write, msr_read_here, msr_write_here, msr_failed
msr_try_read:
    mov ecx, edi
    mov r9, rsi
msr_read_here:
    rdmsr
    mov [r9], eax
    mov [r9 + 4], edx
    mov eax, 1
    ret
msr_try_write:
    mov ecx, edi
    mov rax, rsi
    mov rdx, rsi
    shr rdx, 32
msr_write_here:
    wrmsr
    mov eax, 1
    ret
msr_failed:
    xor eax, eax
    ret
    "#
);

unsafe extern "sysv64" {
    fn msr_try_read(number: u32, value: &mut u64) -> u32;
    fn msr_try_write(number: u32, value: u64) -> u32;
    static msr_read_here: [u8; 0];
    static msr_write_here: [u8; 0];
    static msr_failed: [u8; 0];
}

/// Where a #GP at `rip` continues, when `rip` is one of the two instructions that may raise it.
pub(crate) fn fault_handler(rip: u64) -> Option<u64> {
    let expected = rip == &raw const msr_read_here as u64 || rip == &raw const msr_write_here as u64;
    expected.then_some(&raw const msr_failed as u64)
}

/// Reads an MSR; `None` where the CPU raises #GP.
pub fn read(number: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: reading has no effect on memory, and a #GP is dealt with.
    (unsafe { msr_try_read(number, &mut value) } != 0).then_some(value)
}

/// Writes an MSR; `None` where the CPU raises #GP.
///
/// # Safety
/// The VMM survives the value.
pub unsafe fn write(number: u32, value: u64) -> Option<()> {
    // SAFETY: the caller's promise; a #GP is dealt with.
    (unsafe { msr_try_write(number, value) } != 0).then_some(())
}
