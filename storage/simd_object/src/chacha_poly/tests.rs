//! Poly1305 by itself, with keys that no key stream gives.

extern crate std;

use super::element::Poly1305;
use super::lanes::absorb;
use core::arch::x86_64::{__m256i, __m512i};
use poly1305::universal_hash::KeyInit;
use std::vec::Vec;
use std::{eprintln, is_x86_feature_detected};

type Absorb = fn(&mut Poly1305, &[u8]);

/// By the names of the engines that this CPU can run.
fn ways() -> Vec<(&'static str, Absorb)> {
    let all: [(&str, bool, Absorb); 3] = [
        ("one block", true, |poly, data| poly.padded(data)),
        ("AVX2", is_x86_feature_detected!("avx2"), |poly, data| {
            #[target_feature(enable = "avx2")]
            fn four(poly: &mut Poly1305, data: &[u8]) {
                // SAFETY: this function's features.
                unsafe { absorb::<[__m256i; 5]>(poly, data) };
            }
            // SAFETY: the CPU was asked.
            unsafe { four(poly, data) };
        }),
        ("AVX-512", is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma"), |poly, data| {
            #[target_feature(enable = "avx512f,avx512ifma")]
            fn eight(poly: &mut Poly1305, data: &[u8]) {
                // SAFETY: this function's features.
                unsafe { absorb::<[__m512i; 3]>(poly, data) };
            }
            // SAFETY: the CPU was asked.
            unsafe { eight(poly, data) };
        }),
    ];
    for (name, _, _) in all.iter().filter(|(_, usable, _)| !usable) {
        eprintln!("SKIPPED: this CPU has no {name}");
    }
    all.into_iter().filter(|(_, usable, _)| *usable).map(|(name, _, way)| (name, way)).collect()
}

fn key(r: u128, s: u128) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&r.to_le_bytes());
    key[16..].copy_from_slice(&s.to_le_bytes());
    key
}

fn tag(way: Absorb, key: &[u8; 32], data: &[u8]) -> u128 {
    let mut poly = Poly1305::new(key);
    way(&mut poly, data);
    poly.tag()
}

/// Of whole blocks, by another implementation.
fn reference(key: &[u8; 32], data: &[u8]) -> u128 {
    assert!(data.len().is_multiple_of(16));
    u128::from_le_bytes(poly1305::Poly1305::new(key.into()).compute_unpadded(data).into())
}

const MAX: u128 = u128::MAX;

/// After RFC 8439, A.3: both halves of the key, blocks, tag.
#[test]
fn sums_around_the_prime_are_reduced_as_in_rfc_8439() {
    let four = 1 << 66 | 1;
    let long = [0xb943_5e50_d794_35e3, 0x0001_cd79_435e_50d7_9433, 0, 1];
    let tests: [(u128, u128, &[u128], u128); 6] = [
        (2, 0, &[MAX], 3),
        (2, MAX, &[2], 3),
        (1, 0, &[MAX, MAX - 15, 0x11], 5),
        (1, 0, &[MAX, u128::from_le_bytes([0xfe; 16]) - 3, u128::from_le_bytes([1; 16])], 0),
        (2, 0, &[MAX - 2], MAX - 5),
        (four, 0, &long, 0x55 << 64 | 0x14),
    ];
    for (name, way) in ways() {
        for (r, s, blocks, expected) in tests {
            let data: Vec<u8> = blocks.iter().flat_map(|block| block.to_le_bytes()).collect();
            assert_eq!(reference(&key(r, s), &data), expected, "the test itself");
            assert_eq!(tag(way, &key(r, s), &data), expected, "{name}");
        }
    }
}

/// Keys and blocks with all limbs at their ends, in numbers that fill lanes.
#[test]
fn extreme_blocks_under_extreme_keys_give_the_tags_of_another_implementation() {
    let blocks =
        [0, 1, MAX, MAX - 4, 1 << 127, 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff, (1 << 88) - 1, !((1 << 104) - 1)];
    for (name, way) in ways() {
        for r in [0, 1, 5, 1 << 66 | 1, MAX, MAX << 64, MAX >> 64, 4 << 96, 0x0fff_ffff] {
            let key = key(r, MAX - 1);
            for first in blocks {
                for second in blocks {
                    for count in [1, 2, 3, 4, 5, 12, 13, 23, 24, 25, 31, 40] {
                        let pattern = [first, second].into_iter().cycle().take(count);
                        let data: Vec<u8> = pattern.flat_map(|block: u128| block.to_le_bytes()).collect();
                        let expected = reference(&key, &data);
                        assert_eq!(tag(way, &key, &data), expected, "{name}: {r:x} {first:x} {second:x} {count}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_sum_goes_on_where_the_last_bytes_left_it() {
    let key = key(0x1234_5678_9abc_def0_0fed_cba9_8765_4321, 7);
    let data: Vec<u8> = (0..3 * 512).map(|i| (i * 31 % 251) as u8).collect();
    for (name, way) in ways() {
        let mut poly = Poly1305::new(&key);
        for part in data.chunks(512) {
            way(&mut poly, part);
        }
        assert_eq!(poly.tag(), reference(&key, &data), "{name}");
    }
}
