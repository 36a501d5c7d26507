//! The system call: `abi::call`.
//!
//! Unsafe: the instruction. What it may write is in the buffers that its arguments name, which the safe functions of this crate borrow
//! for as long.

use message::Error;

/// The results in RAX, RDI, RSI, RDX.
#[cfg(target_os = "none")]
pub(crate) fn call(number: u64, arguments: [u64; 4]) -> [u64; 4] {
    // SAFETY: the callers within this crate pass buffers that they hold.
    unsafe { wild(number, arguments) }
}

#[cfg(not(target_os = "none"))]
pub(crate) fn call(_: u64, _: [u64; 4]) -> [u64; 4] {
    [Error::UnknownCall.code(), 0, 0, 0]
}

/// A system call with any arguments at all.
///
/// # Safety
/// Buffers that the call writes are nobody else's.
#[cfg(target_os = "none")]
pub unsafe fn wild(number: u64, [a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (mut rax, mut rdi, mut rsi, mut rdx) = (number, a, b, c);
    // SAFETY: the caller's promise; other registers stay as they are.
    unsafe {
        core::arch::asm!("int 4", inout("rax") rax, inout("rdi") rdi, inout("rsi") rsi, inout("rdx") rdx, in("r8") d);
    }
    [rax, rdi, rsi, rdx]
}

/// The first two results, or the error.
pub(crate) fn pass(number: u64, arguments: [u64; 4]) -> Result<[u64; 2], Error> {
    let [status, first, second, _] = call(number, arguments);
    Error::of_code(status).map_or(Ok([first, second]), Err)
}
