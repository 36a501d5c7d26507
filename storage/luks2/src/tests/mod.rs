//! Hostile headers. What `cryptsetup` makes is in `tests/cryptsetup.rs`.

mod hostile;
mod segments;

use crate::binary::{self, BINARY_BYTES, Which};
use crate::hash::Hash;
use crate::{Block, Cost, Header, New, ReadError, VolumeKey, create, parse};
use std::string::{String, ToString};
use std::vec::Vec;

const PHRASE: &[u8] = b"correct horse";
const COST: Cost = Cost { memory_kib: 32, passes: 4 };
const AREA_BYTES: u64 = 1 << 20;

/// Bytes without sense, the same each time.
fn noise(seed: u32) -> impl FnMut(&mut [u8]) {
    let mut state = seed;
    move |into: &mut [u8]| {
        for byte in into {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    }
}

fn key() -> VolumeKey {
    let mut bytes = [0; 64];
    noise(7)(&mut bytes);
    VolumeKey::new(&mut bytes)
}

/// A device with a good header and 1 MiB behind it.
fn device() -> Vec<u8> {
    let new = New { label: "test", sector_bytes: 512, area_bytes: AREA_BYTES, payload_at: AREA_BYTES, cost: COST };
    let mut memory = std::vec![Block::new(); COST.blocks()];
    let mut bytes = create(&new, PHRASE, &key(), &mut memory, &mut noise(1)).unwrap();
    bytes.resize(2 * AREA_BYTES as usize, 0);
    bytes
}

/// The JSON text of the device's primary copy.
fn text(device: &[u8]) -> String {
    let area = &device[BINARY_BYTES..0x4000];
    let end = area.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(area[..end].to_vec()).unwrap()
}

/// Writes both copies anew with another text and the sequence number given for each.
fn rewrite(device: &mut [u8], text: &str, sequences: [u64; 2]) {
    for (which, sequence) in [Which::Primary, Which::Secondary(0x4000)].into_iter().zip(sequences) {
        let first = device[which.at() as usize..][..BINARY_BYTES].try_into().unwrap();
        let mut binary = binary::parse(first, which).unwrap();
        binary.sequence = sequence;
        let copy = binary::encode(&binary, which, &[9; 64], text.as_bytes());
        device[which.at() as usize..][..copy.len()].copy_from_slice(&copy);
    }
}

/// A device whose text differs in one place.
fn with(from: &str, to: &str) -> Vec<u8> {
    let mut device = device();
    let text = text(&device);
    assert!(text.contains(from), "{from} is not in {text}");
    rewrite(&mut device, &text.replacen(from, to, 1), [1, 1]);
    device
}

fn read(device: &[u8]) -> Result<Header, ReadError> {
    parse(&mut |at, data| read_at(device, at, data))
}

fn read_at(device: &[u8], at: u64, data: &mut [u8]) -> Result<(), String> {
    let from = device.get(at as usize..).and_then(|rest| rest.get(..data.len()));
    data.copy_from_slice(from.ok_or_else(|| "behind the end".to_string())?);
    Ok(())
}

fn open(device: &[u8], text: &[u8]) -> Result<VolumeKey, String> {
    let header = read(device).map_err(|error| error.to_string())?;
    let mut memory = std::vec![Block::new(); header.argon2_blocks()];
    let opened = header.unlock(text, &mut memory, &mut |at, data| read_at(device, at, data));
    opened.map_err(|error| error.to_string())
}

#[test]
fn a_header_opens_with_its_pass_phrase_only() {
    let device = device();
    assert!(open(&device, PHRASE).unwrap().bytes() == key().bytes());
    assert!(open(&device, b"wrong horse").err().unwrap().contains("opens no key slot"));
}

#[test]
fn the_newer_copy_counts() {
    let mut device = device();
    let text = text(&device);
    rewrite(&mut device, &text, [3, 4]);
    assert_eq!(read(&device).unwrap().sequence(), 4);
    rewrite(&mut device, &text, [5, 4]);
    assert_eq!(read(&device).unwrap().sequence(), 5);
}

#[test]
fn a_key_split_by_either_hash_merges_and_none_of_it_may_miss() {
    for hash in [Hash::Sha256, Hash::Sha512] {
        let mut split = crate::af::split(&key(), hash, &mut noise(3));
        assert!(crate::af::merge(&split, hash).unwrap().bytes() == key().bytes());
        split[100_000] ^= 1;
        assert!(crate::af::merge(&split, hash).unwrap().bytes() != key().bytes());
        assert!(crate::af::merge(&split[1..], hash).is_none());
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let make = |label, sector_bytes, area_bytes, payload_at, passes| {
        let cost = Cost { passes, ..COST };
        let new = New { label, sector_bytes, area_bytes, payload_at, cost };
        create(&new, PHRASE, &key(), &mut std::vec![Block::new(); 32], &mut noise(1)).map_err(|e| e.to_string())
    };
    let long = "x".repeat(48);
    let cases = [
        (make(&long, 512, AREA_BYTES, AREA_BYTES, 4), "47 printable"),
        (make("", 1024, AREA_BYTES, AREA_BYTES, 4), "choose 512 or 4096"),
        (make("", 512, 290_816 - 4096, AREA_BYTES, 4), "at least 290816 bytes"),
        (make("", 512, AREA_BYTES, AREA_BYTES - 4096, 4), "at least 290816 bytes"),
        (make("", 512, AREA_BYTES, AREA_BYTES, 3), "4 passes"),
        (make("", 512, AREA_BYTES, AREA_BYTES, u32::MAX), "4 passes"),
    ];
    for (result, words) in cases {
        let error = result.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(make("", 512, 290_816, 0, 4).is_ok());
}
