//! The move of the running image to another physical address.

/// Copies the image, stack included, to its new physical home and continues there: `from`, `to` are addresses in the
/// direct map that the current page tables and those at `page_tables` share; `len_bytes` is a multiple of 8.
///
/// # Safety
/// `to` has room for `len_bytes` and overlaps nothing in use; the tables at physical address `page_tables` map the
/// same virtual image to `to`, and the direct map as now. Between the copy and the switch nothing may write to the
/// image: the function uses no stack but its return address, which is copied along.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn move_image(from: u64, to: u64, len_bytes: u64, page_tables: u64) {
    core::arch::naked_asm!(
        "mov r8, rcx",
        "mov rcx, rdx",
        "xchg rdi, rsi",
        "shr rcx, 3",
        "rep movsq",
        "mov cr3, r8",
        "ret",
    )
}
