extern crate std;

use super::*;
use crate::guest::call_with_xmm_kept;
use crate::object::State;
#[cfg(not(simd_object))]
use simd_object as _;
use std::arch::asm;
use std::boxed::Box;
use std::eprintln;
use std::string::ToString;
use std::vec::Vec;

/// SplitMix64: repeatable test data.
fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn random_key(seed: u64) -> [u8; KEY_BYTES] {
    random_bytes(seed, KEY_BYTES).try_into().unwrap()
}

/// The object holds AES-NI code only; a host without cannot run it.
fn runnable() -> bool {
    let runnable = !cfg!(simd_object) || Engine::of_this_cpu() == Engine::AesNi;
    if !runnable {
        eprintln!("SKIPPED: this CPU has no AES-NI");
    }
    runnable
}

#[test]
fn object_and_software_give_the_same_sectors() {
    if !runnable() {
        return;
    }
    for (round, sectors) in [1, 2, 7, 8, 9, 64, 2048].into_iter().enumerate() {
        for sector_bytes in [512, 528, 4096] {
            let seed = (round * 8192 + sector_bytes) as u64;
            let key = random_key(seed);
            let simd = Engine::AesNi.aes_xts(&key, sector_bytes).unwrap();
            let software = Engine::Software.aes_xts(&key, sector_bytes).unwrap();
            assert_eq!(simd.sector_bytes(), software.sector_bytes());

            let plain = random_bytes(!seed, sectors * sector_bytes);
            let first = seed.wrapping_mul(0x1234_5678_9abc_def1);
            let mut expected = plain.clone();
            software.encrypt(first, &mut expected);
            let mut data = plain.clone();
            simd.encrypt(first, &mut data);
            assert!(data == expected, "{sectors} sectors of {sector_bytes} bytes");
            assert!(data != plain);
            simd.decrypt(first, &mut data);
            assert!(data == plain, "{sectors} sectors of {sector_bytes} bytes");
        }
    }
}

#[test]
fn bytes_at_odd_addresses_are_transformed_too() {
    if !runnable() {
        return;
    }
    let key = random_key(1);
    let (simd, software) = (Engine::AesNi.aes_xts(&key, 512).unwrap(), Engine::Software.aes_xts(&key, 512).unwrap());
    let plain = random_bytes(2, 16 * 512 + 1);
    let (mut a, mut b) = (plain.clone(), plain);
    simd.encrypt(5, &mut a[1..]);
    software.encrypt(5, &mut b[1..]);
    assert!(a == b);
}

#[test]
fn unusable_keys_and_sector_sizes_are_refused_by_both() {
    for engine in [Engine::AesNi, Engine::Software] {
        assert_eq!(engine.aes_xts(&[7; KEY_BYTES], 512).err(), Some(XtsError::EqualKeys));
        assert_eq!(engine.aes_xts(&random_key(3), 100).err(), Some(XtsError::SectorBytes(100)));
    }
}

#[test]
fn round_keys_are_wiped_on_drop() {
    if !runnable() {
        return;
    }
    let mut state = Box::new(State::zeroed());
    let entry = |entry, number, data: *mut u8, len| {
        // SAFETY: state, key and entry points as SimdXts uses them.
        unsafe { call_with_xmm_kept(&raw mut *state, number, data, len, entry) }
    };
    let mut key = random_key(4);
    let mut call = entry;
    assert_eq!(call(object::vmm_simd_xts_new, 512, key.as_mut_ptr(), 64), 1);
    call(object::vmm_simd_xts_drop, 0, core::ptr::null_mut(), 0);
    let left = state.bytes().iter().filter(|byte| **byte != 0).count();
    // The sector size and the cipher's dispatch marks are all that is left.
    assert!(left <= 16, "{left} bytes of the state are not zero");
}

/// Overwrites all XMM registers, as an entry point may.
#[unsafe(naked)]
unsafe extern "sysv64" fn spoil_xmm(_: *mut State, _: u64, _: *mut u8, _: u64) -> u64 {
    core::arch::naked_asm!(
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "pcmpeqd xmm\\n, xmm\\n",
        ".endr",
        "mov rax, rdi",
        "add rax, rsi",
        "add rax, rdx",
        "add rax, rcx",
        "ret",
    )
}

#[test]
fn all_xmm_registers_survive_a_call() {
    let before: [[u8; 16]; 16] = core::array::from_fn(|i| random_bytes(i as u64, 16).try_into().unwrap());
    let mut after = [[0_u8; 16]; 16];
    let result: u64;
    // SAFETY: all registers that the block and the called function change are declared.
    unsafe {
        asm!(
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "movups xmm\\n, [r12 + \\n * 16]",
            ".endr",
            "call {call}",
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "movups [r13 + \\n * 16], xmm\\n",
            ".endr",
            call = sym call_with_xmm_kept,
            in("r12") before.as_ptr(),
            in("r13") after.as_mut_ptr(),
            in("rdi") 1_000_u64,
            in("rsi") 200_u64,
            in("rdx") 30_u64,
            in("rcx") 4_u64,
            in("r8") spoil_xmm as *const (),
            lateout("rax") result,
            clobber_abi("sysv64"),
        );
    }
    assert_eq!(before, after);
    assert_eq!(result, 1_234, "arguments and result pass through");
}

/// Fills YMM registers and MXCSR, encrypts and decrypts through the object, and looks at them again.
#[cfg(simd_object)]
#[test]
fn upper_register_halves_and_mxcsr_survive_the_object() {
    if !runnable() || !std::is_x86_feature_detected!("avx") {
        eprintln!("SKIPPED: this CPU has no AES-NI or no AVX");
        return;
    }
    let mut state = Box::new(State::zeroed());
    let mut key = random_key(5);
    let mut data = random_bytes(6, 4096);
    // SAFETY: state and key are as large as the object demands.
    assert_eq!(unsafe { object::vmm_simd_xts_new(&raw mut *state, 512, key.as_mut_ptr(), 64) }, 1);
    #[repr(C)]
    struct Registers {
        ymm: [[u8; 32]; 16],
        mxcsr: u32,
    }
    for entry in [object::vmm_simd_xts_encrypt, object::vmm_simd_xts_decrypt, object::vmm_simd_xts_drop] {
        // Round to zero, all exceptions masked, no flag set yet: a flag that the object sets would stay.
        let ymm = core::array::from_fn(|i| random_bytes(i as u64, 32).try_into().unwrap());
        let before = Registers { ymm, mxcsr: 0x7f80 };
        let mut after = Registers { ymm: [[0; 32]; 16], mxcsr: 0 };
        // SAFETY: all registers that the block and the called function change are declared; MXCSR gets the value
        // back that Rust demands. R12 to R14 survive the call, any other input does not.
        unsafe {
            asm!(
                "ldmxcsr [r12 + 512]",
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vmovups ymm\\n, [r12 + \\n * 32]",
                ".endr",
                "call {call}",
                ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                "vmovups [r13 + \\n * 32], ymm\\n",
                ".endr",
                "stmxcsr [r13 + 512]",
                "ldmxcsr [r14]",
                "vzeroupper",
                call = sym call_with_xmm_kept,
                in("r12") &raw const before,
                in("r13") &raw mut after,
                in("r14") &0x1f80_u32,
                in("rdi") &raw mut *state,
                in("rsi") 77_u64,
                in("rdx") data.as_mut_ptr(),
                in("rcx") data.len(),
                in("r8") entry as *const (),
                clobber_abi("sysv64"),
            );
        }
        assert_eq!(before.ymm, after.ymm);
        assert_eq!(before.mxcsr, after.mxcsr);
    }
}

#[test]
fn the_log_can_name_the_engine() {
    assert_eq!(Engine::AesNi.to_string(), "AES-NI");
    assert_eq!(Engine::Software.to_string(), "software, constant-time");
}
