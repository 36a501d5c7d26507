extern crate std;

mod engines;
mod packets;
mod registers;

use crate::guest::{call_with_vectors_kept, call_with_xmm_kept};
use crate::object::{self, Entry, State};
use crate::{Engine, SimdXts};
#[cfg(not(simd_object))]
use simd_object as _;
use std::boxed::Box;
use std::eprintln;
use std::vec::Vec;
use xts::{KEY_BYTES, XtsError};

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

/// What this CPU can run of the object.
fn engines() -> Vec<Engine> {
    let all = [Engine::AesNi, Engine::Vaes256, Engine::Vaes512];
    let best = all.iter().position(|engine| *engine == Engine::of_this_cpu());
    let (runnable, skipped) = all.split_at(best.map_or(0, |best| best + 1));
    for engine in skipped {
        eprintln!("SKIPPED: this CPU has no {engine}");
    }
    runnable.to_vec()
}

/// The entry points of an engine, and their caller.
type Caller = unsafe extern "sysv64" fn(*mut State, u64, *mut u8, u64, Entry) -> u64;

fn entries(engine: Engine) -> (Caller, Entry, Entry) {
    match engine {
        Engine::Vaes256 => (call_with_vectors_kept, object::vmm_simd_xts_encrypt_256, object::vmm_simd_xts_decrypt_256),
        Engine::Vaes512 => (call_with_vectors_kept, object::vmm_simd_xts_encrypt_512, object::vmm_simd_xts_decrypt_512),
        _ => (call_with_xmm_kept, object::vmm_simd_xts_encrypt, object::vmm_simd_xts_decrypt),
    }
}

fn new_state(key: &mut [u8; KEY_BYTES], sector_bytes: usize) -> Box<State> {
    let mut state = Box::new(State::zeroed());
    let new = object::vmm_simd_xts_new;
    // SAFETY: state and key are as large as the object demands; the CPU was asked by the caller.
    let made =
        unsafe { call_with_xmm_kept(&raw mut *state, sector_bytes as u64, key.as_mut_ptr(), KEY_BYTES as u64, new) };
    assert_eq!(made, 1);
    state
}

#[test]
fn object_and_software_give_the_same_sectors() {
    for (round, sectors) in [1, 2, 7, 8, 9, 31, 64, 2048].into_iter().enumerate() {
        for sector_bytes in [512, 1024, 4096] {
            let seed = (round * 8192 + sector_bytes) as u64;
            let key = random_key(seed);
            let software = Engine::Software.aes_xts(&key, sector_bytes).unwrap();
            let plain = random_bytes(!seed, sectors * sector_bytes);
            let first = seed.wrapping_mul(0x1234_5678_9abc_def1);
            let mut expected = plain.clone();
            software.encrypt(first, &mut expected);
            assert!(expected != plain);
            for engine in engines() {
                let simd = engine.aes_xts(&key, sector_bytes).unwrap();
                assert_eq!(simd.sector_bytes(), software.sector_bytes());
                let mut data = plain.clone();
                simd.encrypt(first, &mut data);
                assert!(data == expected, "{engine}: {sectors} sectors of {sector_bytes} bytes");
                simd.decrypt(first, &mut data);
                assert!(data == plain, "{engine}: {sectors} sectors of {sector_bytes} bytes");
            }
        }
    }
}

/// Small runs too, which [`SimdXts`] gives to AES-NI.
#[test]
fn all_entry_points_give_the_same_sectors() {
    for engine in engines() {
        let (caller, encrypt, decrypt) = entries(engine);
        for (sector_bytes, sectors) in [(512, 1), (512, 2), (512, 17), (2048, 3), (4096, 1), (4096, 9)] {
            let mut key = random_key(sector_bytes as u64);
            let software = Engine::Software.aes_xts(&key, sector_bytes).unwrap();
            let mut state = new_state(&mut key, sector_bytes);
            let plain = random_bytes(sectors as u64, sectors * sector_bytes);
            let (mut expected, mut data) = (plain.clone(), plain.clone());
            let first = u64::MAX - 3;
            software.encrypt(first, &mut expected);
            let mut call = |entry, data: &mut Vec<u8>| {
                // SAFETY: the state was made above, the CPU has the engine.
                unsafe { caller(&raw mut *state, first, data.as_mut_ptr(), data.len() as u64, entry) }
            };
            assert_eq!(call(encrypt, &mut data), 1);
            assert!(data == expected, "{engine}: {sectors} sectors of {sector_bytes} bytes");
            assert_eq!(call(decrypt, &mut data), 1);
            assert!(data == plain, "{engine}: {sectors} sectors of {sector_bytes} bytes");
        }
    }
}

#[test]
fn bytes_beyond_the_last_whole_sector_never_stay_in_plain() {
    for engine in engines() {
        let xts = engine.aes_xts(&random_key(8), 512).unwrap();
        for len in [40, 512 + 40, 4096 + 511] {
            let mut data = std::vec![0xa5; len];
            xts.encrypt(0, &mut data);
            assert!(data.chunks(8).all(|piece| piece != [0xa5; 8]), "{engine}: {len} bytes");
        }
        xts.encrypt(0, &mut []);
    }
}

#[test]
fn bytes_at_odd_addresses_are_transformed_too() {
    let key = random_key(1);
    let software = Engine::Software.aes_xts(&key, 512).unwrap();
    let plain = random_bytes(2, 16 * 512 + 1);
    let mut expected = plain.clone();
    software.encrypt(5, &mut expected[1..]);
    for engine in engines() {
        let mut data = plain.clone();
        engine.aes_xts(&key, 512).unwrap().encrypt(5, &mut data[1..]);
        assert!(data == expected, "{engine}");
    }
}

#[test]
fn unusable_keys_and_sector_sizes_are_refused_by_all() {
    for engine in [Engine::Software, Engine::AesNi, Engine::Vaes256, Engine::Vaes512] {
        assert_eq!(engine.aes_xts(&[7; KEY_BYTES], 512).err(), Some(XtsError::EqualKeys));
        assert_eq!(engine.aes_xts(&random_key(3), 100).err(), Some(XtsError::SectorBytes(100)));
    }
}

#[test]
fn the_object_itself_refuses_what_it_cannot_use() {
    if engines().is_empty() {
        return;
    }
    let mut key = random_key(9);
    for (sector_bytes, key_bytes) in [(512, 63), (520, 64), (0, 64)] {
        let mut state = Box::new(State::zeroed());
        let new = object::vmm_simd_xts_new;
        // SAFETY: state and key are as large as the object demands.
        let made = unsafe { call_with_xmm_kept(&raw mut *state, sector_bytes, key.as_mut_ptr(), key_bytes, new) };
        assert_eq!(made, 0);
        assert!(state.bytes().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn round_keys_are_wiped_on_drop() {
    if engines().is_empty() {
        return;
    }
    let mut state = new_state(&mut random_key(4), 512);
    assert!(state.bytes().iter().filter(|byte| **byte != 0).count() > 600);
    // SAFETY: the state was made above and is not used again.
    unsafe { call_with_xmm_kept(&raw mut *state, 0, core::ptr::null_mut(), 0, object::vmm_simd_xts_drop) };
    assert!(state.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn a_transform_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<SimdXts>();
}
