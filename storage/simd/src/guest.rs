//! Keeps the guest's XMM registers over a call into the SIMD object.
//!
//! On an exit the XMM registers are still the guest's. MXCSR too, but the object has no instruction that would change
//! it, and its build checks that. Legacy-encoded instructions leave the upper halves of YMM and ZMM registers alone
//! (SDM Vol. 1, 14.1.4), so that 16 times 16 bytes are all there is to keep.

use crate::object::{Entry, State};
use core::arch::naked_asm;

/// Calls `entry(state, number, data, len_bytes)` and returns its result; XMM0 to XMM15 hold the same afterwards as
/// before.
///
/// # Safety
/// That of `entry`. The machine is set up as the crate's documentation demands.
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
        "movaps [rsp], xmm0",
        "movaps [rsp + 16], xmm1",
        "movaps [rsp + 32], xmm2",
        "movaps [rsp + 48], xmm3",
        "movaps [rsp + 64], xmm4",
        "movaps [rsp + 80], xmm5",
        "movaps [rsp + 96], xmm6",
        "movaps [rsp + 112], xmm7",
        "movaps [rsp + 128], xmm8",
        "movaps [rsp + 144], xmm9",
        "movaps [rsp + 160], xmm10",
        "movaps [rsp + 176], xmm11",
        "movaps [rsp + 192], xmm12",
        "movaps [rsp + 208], xmm13",
        "movaps [rsp + 224], xmm14",
        "movaps [rsp + 240], xmm15",
        "call r8",
        "movaps xmm0, [rsp]",
        "movaps xmm1, [rsp + 16]",
        "movaps xmm2, [rsp + 32]",
        "movaps xmm3, [rsp + 48]",
        "movaps xmm4, [rsp + 64]",
        "movaps xmm5, [rsp + 80]",
        "movaps xmm6, [rsp + 96]",
        "movaps xmm7, [rsp + 112]",
        "movaps xmm8, [rsp + 128]",
        "movaps xmm9, [rsp + 144]",
        "movaps xmm10, [rsp + 160]",
        "movaps xmm11, [rsp + 176]",
        "movaps xmm12, [rsp + 192]",
        "movaps xmm13, [rsp + 208]",
        "movaps xmm14, [rsp + 224]",
        "movaps xmm15, [rsp + 240]",
        "leave",
        "ret",
    )
}
