//! Keeps the guest's vector registers over a call into the SIMD object, and its XCR0.
//!
//! On an exit the vector registers are still the guest's. MXCSR too, but the object has no instruction that would change
//! it, and its build checks that.
//!
//! Legacy-encoded instructions leave the upper halves of YMM and ZMM registers alone (SDM Vol. 1, 14.1.4): around them
//! 16 times 16 bytes are all there is to keep. VEX and EVEX instructions clear what is above the register that they
//! write. XGETBV with ECX = 1 tells which upper parts are in use at all (SDM Vol. 1, 13.2 and 13.6); the others hold
//! zeroes and are not in use again afterwards, so that a guest that looks sees no difference, and its own SSE code does
//! not slow down. ZMM16 to ZMM31 and the opmasks are not touched.
//!
//! Source: SDM Vol. 1, chapters 13 to 15, and Vol. 2 (XGETBV, XSETBV, VZEROUPPER).

use crate::object::{Entry, State};
use core::arch::{asm, naked_asm};

/// XCR0: XMM registers and the upper halves of YMM registers.
pub const SSE_AVX: u64 = 0b110;
/// XCR0: opmasks, the upper halves of ZMM0 to ZMM15, and ZMM16 to ZMM31.
pub const AVX_512: u64 = 0b1110_0000;

/// Calls `entry(state, number, data, len_bytes)` and returns its result; XMM0 to XMM15 hold the same afterwards as
/// before.
///
/// # Safety
/// That of `entry`, which uses legacy-encoded instructions only. The machine is set up as the crate's documentation
/// demands.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn call_with_xmm_kept(
    state: *mut State,
    number: u64,
    data: *mut u8,
    len_bytes: u64,
    entry: Entry,
) -> u64 {
    // The object spills to 16-byte aligned stack slots: RSP is aligned here, whatever the VMM does.
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 256",
        "and rsp, -16",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movaps [rsp + \\n * 16], xmm\\n",
        ".endr",
        "call r8",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movaps xmm\\n, [rsp + \\n * 16]",
        ".endr",
        "leave",
        "ret",
    )
}

/// The same for entry points that use VEX and EVEX instructions: ZMM0 to ZMM15 hold the same afterwards as before.
///
/// # Safety
/// That of `entry`, which touches no more than ZMM0 to ZMM15. XCR0 enables all that the CPU has of [`SSE_AVX`] and
/// [`AVX_512`]. The machine is set up as the crate's documentation demands.
#[unsafe(naked)]
pub unsafe extern "sysv64" fn call_with_vectors_kept(
    state: *mut State,
    number: u64,
    data: *mut u8,
    len_bytes: u64,
    entry: Entry,
) -> u64 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 1024",
        "and rsp, -64",
        "mov r9, rdx",
        "mov r10, rcx",
        "mov ecx, 1",
        "xgetbv",
        "mov rdx, r9",
        "mov rcx, r10",
        "test al, 0x40",
        "jnz 4f",
        "test al, 0x04",
        "jnz 3f",
        // Not even the upper halves of YMM registers are in use.
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqa [rsp + \\n * 16], xmm\\n",
        ".endr",
        "call r8",
        "vzeroupper",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "movaps xmm\\n, [rsp + \\n * 16]",
        ".endr",
        "leave",
        "ret",
        "3:",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqa [rsp + \\n * 32], ymm\\n",
        ".endr",
        "call r8",
        // The upper halves of ZMM registers are not in use again.
        "vzeroupper",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqa ymm\\n, [rsp + \\n * 32]",
        ".endr",
        "leave",
        "ret",
        "4:",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqa64 [rsp + \\n * 64], zmm\\n",
        ".endr",
        "call r8",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "vmovdqa64 zmm\\n, [rsp + \\n * 64]",
        ".endr",
        "leave",
        "ret",
    )
}

/// XCR0, as the guest has set it.
///
/// # Safety
/// CR4.OSXSAVE is set.
pub unsafe fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// # Safety
/// CR4.OSXSAVE is set and the CPU supports the value. Registers that it disables keep what they hold (SDM Vol. 1, 13.3),
/// but nobody may use them.
pub unsafe fn set_xcr0(value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's promise.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nostack, preserves_flags)) };
}
