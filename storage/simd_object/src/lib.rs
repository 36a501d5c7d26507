//! The entry points of the SIMD object: [`xts::Aes256Xts`] compiled with AES-NI.
//!
//! The VMM is compiled without SIMD, so that the guest's registers stay untouched. This crate is compiled by
//! `cargo xtask build` for `x86_64-vmm-simd.json` (hard-float, AES-NI enabled at compile time), linked into one
//! relocatable object of which only the symbols `vmm_simd_*` are visible, and called by the crate `simd`, which saves
//! and restores the guest's registers around it. Only integers and pointers cross the border, so the two float ABIs
//! never meet.
//!
//! Because the guest's XCR0 is live in the VMM, the object may hold legacy-encoded instructions only; its build fails
//! on anything else.
//!
//! All entry points have the same signature (state, number, data, length), so that one caller serves them all.
//!
//! Amber: `unsafe` here for the pointers of the entry points, in `xmm` for intrinsics.
#![no_std]

mod xmm;

use core::slice;
use mediator::disk::SectorTransform;
use xmm::Xmm;

/// With the masks in XMM registers.
type Aes256Xts = xts::Aes256Xts<Xmm>;

/// Makes a transform in the caller's memory. 1 when it was made; 0 when the key or the sector size cannot be used
/// ([`xts::check`]), and then nothing was written.
///
/// # Safety
/// `state` points to [`xts::STATE_BYTES`] bytes at a multiple of [`xts::STATE_ALIGN`], `key` to `key_bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "sysv64" fn vmm_simd_xts_new(
    state: *mut Aes256Xts,
    sector_bytes: u64,
    key: *const u8,
    key_bytes: u64,
) -> u64 {
    // SAFETY: the caller's promise. A u64 is a usize on the only architecture there is.
    let key = unsafe { slice::from_raw_parts(key, key_bytes as usize) };
    let Ok(Ok(xts)) = key.try_into().map(|key| Aes256Xts::new(key, sector_bytes as usize)) else { return 0 };
    // SAFETY: the caller's promise; `xts` asserts that the state is no larger than STATE_BYTES.
    unsafe { state.write(xts) };
    1
}

/// Encrypts whole sectors in place.
///
/// # Safety
/// `state` was made by [`vmm_simd_xts_new`] and not yet dropped; `data` points to `len_bytes` bytes, which nobody else
/// touches during the call.
#[unsafe(no_mangle)]
pub unsafe extern "sysv64" fn vmm_simd_xts_encrypt(
    state: *const Aes256Xts,
    first_sector: u64,
    data: *mut u8,
    len_bytes: u64,
) -> u64 {
    // SAFETY: the caller's promise.
    let (xts, sectors) = unsafe { (&*state, slice::from_raw_parts_mut(data, len_bytes as usize)) };
    xts.encrypt(first_sector, sectors);
    1
}

/// Decrypts whole sectors in place.
///
/// # Safety
/// As [`vmm_simd_xts_encrypt`].
#[unsafe(no_mangle)]
pub unsafe extern "sysv64" fn vmm_simd_xts_decrypt(
    state: *const Aes256Xts,
    first_sector: u64,
    data: *mut u8,
    len_bytes: u64,
) -> u64 {
    // SAFETY: the caller's promise.
    let (xts, sectors) = unsafe { (&*state, slice::from_raw_parts_mut(data, len_bytes as usize)) };
    xts.decrypt(first_sector, sectors);
    1
}

/// Wipes the round keys.
///
/// # Safety
/// `state` was made by [`vmm_simd_xts_new`]; it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "sysv64" fn vmm_simd_xts_drop(state: *mut Aes256Xts, _: u64, _: *mut u8, _: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { state.drop_in_place() };
    1
}

/// What a static library needs although this one never comes to use it.
#[cfg(target_os = "none")]
mod runtime {
    use core::alloc::{GlobalAlloc, Layout};

    struct NoHeap;

    // SAFETY: an allocator may always refuse.
    unsafe impl GlobalAlloc for NoHeap {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            core::ptr::null_mut()
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }

    #[global_allocator]
    static HEAP: NoHeap = NoHeap;

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: UD2 does nothing but raise #UD, which the VMM reports.
        unsafe { core::arch::asm!("ud2", options(noreturn)) }
    }
}
