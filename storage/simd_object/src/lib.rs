//! The entry points of the SIMD object: AES-256-XTS on AES-NI, VAES-256 and VAES-512; ChaCha20-Poly1305 on SSE2, AVX2 and AVX-512.
//!
//! The VMM is compiled without SIMD, so that the guest's registers stay untouched. This crate is compiled by
//! `cargo xtask build` for `x86_64-vmm-simd.json` (hard-float), linked into one relocatable object of which only the
//! symbols `vmm_simd_*` are visible, and called by the crate `simd`, which saves and restores the guest's registers
//! around it and knows what the CPU has. Only integers and pointers cross the border, so the two float ABIs never meet.
//!
//! The state that the instructions of an entry point touch is told by its name, and the object's build fails on
//! anything else:
//!
//! | ends in | CPU features of `xts` | of `chacha` | registers |
//! |---|---|---|---|
//! | `_256` | AVX2, VAES, VPCLMULQDQ | AVX2 | YMM0 to YMM15; VEX-encoded |
//! | `_512` | the same and AVX-512F | AVX2, AVX-512F, AVX-512 IFMA | ZMM0 to ZMM15, no opmasks; VEX- and EVEX-encoded |
//! | otherwise | AES-NI | SSE2 | XMM0 to XMM15; legacy-encoded, so that the guest's XCR0 does not matter |
//!
//! The crate `aes` has code for VAES too, but for a target without an operating system chooses it at compile time, and
//! its batches of 30 and 64 blocks fit no sector of 512 bytes.
//!
//! All entry points have the same signature (state, number, data, length), so that one caller serves them all.
//!
//! Amber: `unsafe` here for the pointers of the entry points, elsewhere for intrinsics.
#![no_std]

mod chacha_poly;
mod keys;
mod lanes;
mod run;

use abi::seal::{KEY_BYTES, NONCE_AT, NONCE_BYTES, REQUEST_BYTES, TAG_AT, TAG_BYTES};
use chacha_poly::{Avx2, Avx512, Sse2};
use core::arch::x86_64::{__m128i, __m256i, __m512i};
use core::slice;
use run::Xts;
use zeroize::Zeroize;

/// Makes a transform in the caller's memory. 1 when it was made; 0 when the key or the sector size cannot be used
/// ([`xts::check`]), and then nothing was written.
///
/// # Safety
/// `state` points to [`xts::STATE_BYTES`] bytes at a multiple of [`xts::STATE_ALIGN`], `key` to `key_bytes` bytes.
#[unsafe(no_mangle)]
#[target_feature(enable = "aes")]
pub unsafe extern "sysv64" fn vmm_simd_xts_new(
    state: *mut Xts,
    sector_bytes: u64,
    key: *const u8,
    key_bytes: u64,
) -> u64 {
    // SAFETY: the caller's promise. A u64 is a usize on the only architecture there is.
    let key = unsafe { slice::from_raw_parts(key, key_bytes as usize) };
    let Some(xts) = key.try_into().ok().and_then(|key| Xts::new(key, sector_bytes as usize)) else { return 0 };
    // SAFETY: the caller's promise; `run` asserts that the state is no larger than STATE_BYTES.
    unsafe { state.write(xts) };
    1
}

macro_rules! transforms {
    ($($name:ident: $features:literal, $lanes:ty, decrypt = $decrypt:literal;)*) => { $(
        /// Transforms whole sectors in place.
        ///
        /// # Safety
        /// `state` was made by [`vmm_simd_xts_new`] and not yet dropped; `data` points to `len_bytes` bytes, which nobody
        /// else touches during the call. The CPU has the features, and XCR0 and the control registers enable them.
        #[unsafe(no_mangle)]
        #[target_feature(enable = $features)]
        pub unsafe extern "sysv64" fn $name(state: *const Xts, first_sector: u64, data: *mut u8, len_bytes: u64) -> u64 {
            // SAFETY: the caller's promise.
            unsafe {
                let sectors = slice::from_raw_parts_mut(data, len_bytes as usize);
                (*state).transform::<$lanes, $decrypt>(first_sector, sectors);
            }
            1
        }
    )* };
}

transforms! {
    vmm_simd_xts_encrypt: "aes", __m128i, decrypt = false;
    vmm_simd_xts_decrypt: "aes", __m128i, decrypt = true;
    vmm_simd_xts_encrypt_256: "avx2,vaes,vpclmulqdq", __m256i, decrypt = false;
    vmm_simd_xts_decrypt_256: "avx2,vaes,vpclmulqdq", __m256i, decrypt = true;
    vmm_simd_xts_encrypt_512: "avx512f,vaes,vpclmulqdq", __m512i, decrypt = false;
    vmm_simd_xts_decrypt_512: "avx512f,vaes,vpclmulqdq", __m512i, decrypt = true;
}

/// Wipes the round keys.
///
/// # Safety
/// `state` was made by [`vmm_simd_xts_new`]; it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "sysv64" fn vmm_simd_xts_drop(state: *mut Xts, _: u64, _: *mut u8, _: u64) -> u64 {
    // SAFETY: the caller's promise; there is nothing to drop in it but bytes.
    unsafe { slice::from_raw_parts_mut(state.cast::<u8>(), size_of::<Xts>()) }.zeroize();
    1
}

/// Splits a request ([`abi::seal`]) from the packet behind it.
///
/// # Safety
/// `request` points to [`REQUEST_BYTES`] bytes, which nobody else touches.
#[inline(always)]
unsafe fn parts<'a>(request: *mut u8) -> (&'a [u8; KEY_BYTES], &'a [u8; NONCE_BYTES], &'a mut [u8; TAG_BYTES]) {
    const _: () = assert!(TAG_AT + TAG_BYTES == REQUEST_BYTES);
    // SAFETY: the caller's promise; the three do not overlap.
    unsafe { (&*request.cast(), &*request.add(NONCE_AT).cast(), &mut *request.add(TAG_AT).cast()) }
}

macro_rules! packets {
    ($($seal:ident, $open:ident: $features:literal, $engine:ty;)*) => { $(
        /// Encrypts a packet in place, but for its first `bound_bytes`, and sets the tag of all of it in the request. 1, or 0 when there
        /// are not so many bytes; then nothing was done.
        ///
        /// # Safety
        /// `request` points to [`REQUEST_BYTES`] bytes and `packet` to `len_bytes` bytes, which nobody else touches during the call. The
        /// CPU has the features, and XCR0 and the control registers enable them.
        #[unsafe(no_mangle)]
        #[target_feature(enable = $features)]
        pub unsafe extern "sysv64" fn $seal(request: *mut u8, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64 {
            // SAFETY: the caller's promise.
            unsafe {
                let (key, nonce, tag) = parts(request);
                let packet = slice::from_raw_parts_mut(packet, len_bytes as usize);
                let Some((bound, text)) = packet.split_at_mut_checked(bound_bytes as usize) else { return 0 };
                chacha_poly::transform::<$engine, false>(key, nonce, bound, text, tag).into()
            }
        }

        /// Decrypts a packet in place, but for its first `bound_bytes`. 1, or 0 when the request's tag is not that of the packet: it is
        /// forged, and stays as it is.
        ///
        /// # Safety
        /// As for sealing.
        #[unsafe(no_mangle)]
        #[target_feature(enable = $features)]
        pub unsafe extern "sysv64" fn $open(request: *mut u8, bound_bytes: u64, packet: *mut u8, len_bytes: u64) -> u64 {
            // SAFETY: the caller's promise.
            unsafe {
                let (key, nonce, tag) = parts(request);
                let packet = slice::from_raw_parts_mut(packet, len_bytes as usize);
                let Some((bound, text)) = packet.split_at_mut_checked(bound_bytes as usize) else { return 0 };
                chacha_poly::transform::<$engine, true>(key, nonce, bound, text, tag).into()
            }
        }
    )* };
}

packets! {
    vmm_simd_chacha_seal, vmm_simd_chacha_open: "sse2", Sse2;
    vmm_simd_chacha_seal_256, vmm_simd_chacha_open_256: "avx2", Avx2;
    vmm_simd_chacha_seal_512, vmm_simd_chacha_open_512: "avx2,avx512f,avx512ifma", Avx512;
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
