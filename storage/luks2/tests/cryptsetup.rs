//! Headers that the real `cryptsetup` makes open here, and those that are made here open there.

use luks2::{Block, Cost, Header, Kdf, New, VolumeKey, parse};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PHRASE: &str = "correct horse";
const MIB: u64 = 1 << 20;

/// An empty device.
fn device(name: &str, bytes: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// Runs `cryptsetup` with a pass phrase on its standard input; gives its output when it succeeds.
fn cryptsetup(args: &str, path: &Path, phrase: &str) -> Option<String> {
    let mut command = Command::new("cryptsetup");
    command.args(args.split_whitespace()).arg(path).args(["--key-file", "-"]);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("cryptsetup (Debian: cryptsetup-bin) is not installed");
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(phrase.as_bytes());
    let output = child.wait_with_output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

const CHEAP: &str = "--batch-mode --pbkdf-memory 1024 --pbkdf-force-iterations 4";

fn format(path: &Path, more: &str) {
    assert!(cryptsetup(&format!("luksFormat --type luks2 {CHEAP} {more}"), path, PHRASE).is_some(), "{more}");
}

fn reader(path: &Path) -> impl FnMut(u64, &mut [u8]) -> Result<(), String> + use<> {
    let file = File::open(path).unwrap();
    move |at, data: &mut [u8]| {
        assert!(at.is_multiple_of(4096) && data.len().is_multiple_of(4096), "the device takes whole 4096 bytes");
        file.read_exact_at(data, at).map_err(|error| error.to_string())
    }
}

fn open(path: &Path, phrase: &str) -> (Header, Option<VolumeKey>) {
    let header = parse(&mut reader(path)).unwrap();
    let mut memory = vec![Block::new(); header.argon2_blocks()];
    let key = header.unlock(phrase.as_bytes(), &mut memory, &mut reader(path)).ok();
    assert!(memory.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)), "Argon2's memory is wiped");
    (header, key)
}

/// The volume key as `cryptsetup` shows it.
fn dumped_key(path: &Path) -> Vec<u8> {
    let text = cryptsetup("luksDump --dump-volume-key --batch-mode", path, PHRASE).unwrap();
    let digits = text.split_once("MK dump:").unwrap().1;
    digits.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn opens_to_the_same_key(name: &str, more: &str) -> Header {
    let path = device(name, 20 * MIB);
    format(&path, more);
    let (header, key) = open(&path, PHRASE);
    assert_eq!(key.expect("the pass phrase opens it").bytes().as_slice(), dumped_key(&path));
    assert!(open(&path, "wrong horse").1.is_none());
    header
}

#[test]
fn what_cryptsetup_formats_opens_with_argon2id() {
    let header = opens_to_the_same_key("argon2id", "--sector-size 512 --label vault --pbkdf-parallel 1");
    let segment = header.segment().unwrap();
    assert_eq!((segment.offset_bytes, segment.size_bytes, segment.sector_bytes), (16 * MIB, None, 512));
    assert_eq!((header.label(), header.area_bytes(), header.copies().primary.is_ok()), ("vault", 16 * MIB, true));
    assert_eq!(header.copies().primary, header.copies().secondary);
}

#[test]
fn what_cryptsetup_formats_opens_with_argon2i_and_several_lanes() {
    let header = opens_to_the_same_key("argon2i", "--sector-size 4096 --pbkdf argon2i --pbkdf-parallel 2");
    assert_eq!(header.segment().unwrap().sector_bytes, 4096);
    let slots = header.slots();
    let kdf = slots[0].1.as_ref().unwrap().kdf;
    assert!(matches!(kdf, Kdf::Argon2 { lanes: 2, memory_kib: 1024, passes: 4, independent: true }), "{kdf}");
}

#[test]
fn what_cryptsetup_formats_opens_with_pbkdf2_and_sha512() {
    let path = device("pbkdf2", 20 * MIB);
    let args = "luksFormat --type luks2 --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --hash sha512";
    assert!(cryptsetup(args, &path, PHRASE).is_some());
    let (header, key) = open(&path, PHRASE);
    assert_eq!(key.unwrap().bytes().as_slice(), dumped_key(&path));
    assert_eq!(header.argon2_blocks(), 0);
}

#[test]
fn every_size_of_a_header_opens() {
    for kib in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096] {
        let header = opens_to_the_same_key("sizes", &format!("--luks2-metadata-size {kib}k"));
        assert_eq!(header.copy_bytes(), kib * 1024);
    }
}

#[test]
fn a_second_slot_opens_too_and_the_sequence_number_counts() {
    let path = device("slots", 20 * MIB);
    format(&path, "");
    let before = open(&path, PHRASE).0.sequence();
    let other = path.with_extension("phrase");
    std::fs::write(&other, "battery staple").unwrap();
    let mut add = Command::new("cryptsetup");
    add.args(format!("luksAddKey {CHEAP}").split_whitespace()).arg(&path).arg(&other).args(["--key-file", "-"]);
    let mut child = add.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(PHRASE.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let (header, key) = open(&path, "battery staple");
    assert_eq!(key.unwrap().bytes().as_slice(), dumped_key(&path));
    assert!(header.sequence() > before && header.slots().len() == 2);
}

#[test]
fn a_damaged_primary_falls_back_to_the_secondary() {
    for (name, at) in [("damaged-magic", 0), ("damaged-size", 8), ("damaged-text", 5000)] {
        let path = device(name, 20 * MIB);
        format(&path, "--luks2-metadata-size 64k");
        let key = dumped_key(&path);
        File::options().write(true).open(&path).unwrap().write_all_at(&[0xEE; 3], at).unwrap();
        let (header, found) = open(&path, PHRASE);
        assert!(header.copies().primary.is_err() && header.copies().secondary.is_ok(), "{name}");
        assert_eq!(found.unwrap().bytes().as_slice(), key);
    }
}

#[test]
fn other_ciphers_and_key_sizes_are_refused_by_name() {
    for (more, word) in [
        ("--cipher aes-cbc-essiv:sha256 --key-size 256", "aes-cbc-essiv:sha256"),
        ("--cipher aes-xts-plain64 --key-size 256", "a key of 256 bits"),
    ] {
        let path = device("ciphers", 20 * MIB);
        assert!(cryptsetup(&format!("luksFormat --type luks2 {CHEAP} {more}"), &path, PHRASE).is_some(), "{more}");
        let header = parse(&mut reader(&path)).unwrap();
        let error = header.unlock(PHRASE.as_bytes(), &mut [], &mut reader(&path)).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn luks1_is_refused_with_the_way_out() {
    let path = device("luks1", 20 * MIB);
    assert!(cryptsetup("luksFormat --type luks1 --batch-mode --pbkdf-force-iterations 1000", &path, PHRASE).is_some());
    let error = parse(&mut reader(&path)).err().unwrap().to_string();
    assert!(error.contains("convert --type luks2"), "{error}");
}

#[test]
fn a_reencryption_in_progress_is_refused() {
    let path = device("reencrypt", 20 * MIB);
    format(&path, "--sector-size 512");
    let init = format!("reencrypt --init-only {CHEAP} --resilience checksum");
    assert!(cryptsetup(&init, &path, PHRASE).is_some(), "cryptsetup begins a reencryption");
    let header = parse(&mut reader(&path)).unwrap();
    let error = header.segment().unwrap_err();
    assert!(error.contains("reencrypt --resume-only"), "{error}");
}

#[test]
fn what_is_made_here_opens_with_cryptsetup() {
    let cases = [("made-512", 512, 16 * MIB), ("made-4096", 4096, 2 * MIB), ("made-detached", 512, 0)];
    for (name, sector_bytes, payload_at) in cases {
        let path = device(name, 20 * MIB);
        let cost = Cost { memory_kib: 1024, passes: 4 };
        let area_bytes = if payload_at == 0 { 16 * MIB } else { payload_at };
        let new = New { label: "made here", sector_bytes, area_bytes, payload_at, cost };
        let mut bytes = [0; 64];
        let mut state = 1u32;
        let mut random = |into: &mut [u8]| {
            into.iter_mut().for_each(|byte| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            });
        };
        random(&mut bytes);
        let (expected, key) = (bytes, VolumeKey::new(&mut bytes));
        assert!(bytes == [0; 64], "what was handed over is wiped");
        let mut memory = vec![Block::new(); cost.blocks()];
        let header = luks2::create(&new, PHRASE.as_bytes(), &key, &mut memory, &mut random).unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(&header, 0).unwrap();
        assert!(cryptsetup("luksOpen --test-passphrase", &path, PHRASE).is_some(), "{name}");
        assert!(cryptsetup("luksOpen --test-passphrase", &path, "wrong horse").is_none());
        assert_eq!(dumped_key(&path), expected);
        let (header, key) = open(&path, PHRASE);
        assert_eq!(key.unwrap().bytes(), &expected);
        let segment = header.segment().unwrap();
        assert_eq!((segment.offset_bytes, segment.sector_bytes), (payload_at, sector_bytes));
    }
}
