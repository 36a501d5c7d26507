use alloc::string::ToString;
use alloc::vec;

use super::*;
use crate::network::*;
use crate::schema::*;
use crate::slot::Method;

const CHEAP: Cost = Cost { memory_mib: 1, passes: 1 };
const TEXT: &[u8] = b"correct horse";
const RAW: [u8; 64] = [0x3C; 64];
const RECOVERY: [u8; 16] = [0xA7; 16];
const HEADER_BYTES: usize = 28;

fn config() -> Config {
    let key = XtsKey(core::array::from_fn(|i| 0xC0 ^ i as u8));
    let (format, access) = (Format::dm_crypt(key, KeyCheck::None), Access::ReadWrite);
    let (disk, range) = (DiskSelector::Position { channel: 0, unit: 0 }, RangeSelector::Partition(2));
    Config {
        memory: Memory { reserve_mib: 32 },
        log: Log { serial: Some(COM2), ..Log::default() },
        disks: vec![DiskRule { name: "topsecret".into(), disk, range, format, access, trim: false }],
        dbgsh: Some(Dbgsh { key: ShellKey(vec![0xD5; 40]) }),
        ..Config::default()
    }
}

/// With a tunnel, too.
fn with_network() -> Config {
    let protocol = TunnelProtocol::WireGuard(TunnelSecret(vec![0xE6; 200]));
    let policy = NetworkPolicy::Tunnel(TunnelRule { wire: Wire::default(), protocol });
    let card = CardSelector::Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    Config { networks: vec![NetworkRule { name: "topsecretlan".into(), card, policy }], ..config() }
}

fn memory(cost: Cost) -> Vec<Block> {
    vec![Block::new(); cost.blocks()]
}

/// Random bytes that differ from slot to slot.
fn random(seed: u8) -> [u8; SLOT_RANDOM_BYTES] {
    core::array::from_fn(|i| seed.wrapping_mul(59) ^ i as u8)
}

fn add_pass_phrase(envelope: &mut Envelope, name: &str, text: &[u8], cost: Cost, seed: u8) {
    let memory = &mut memory(cost)[..];
    envelope.add(name, Credential::PassPhrase(text, memory), cost, random(seed)).unwrap();
}

/// Slots: a pass phrase, a recovery key, a key file.
fn envelope() -> Envelope {
    let mut envelope = Envelope::new(&mut [0x11; 32], 6);
    add_pass_phrase(&mut envelope, "alice", TEXT, CHEAP, 1);
    envelope.add("paper", Credential::RecoveryKey(&RecoveryKey(RECOVERY)), CHEAP, random(2)).unwrap();
    envelope.add("test", Credential::RawKey(&RAW), CHEAP, random(3)).unwrap();
    envelope
}

fn blob_of(envelope: &Envelope) -> Vec<u8> {
    envelope.encode(&config(), [0x77; NONCE_BYTES]).unwrap()
}

fn locked(blob: &[u8]) -> Locked {
    match open(blob) {
        Ok(Opened::Locked(locked)) => locked,
        Ok(Opened::Plain(_)) => panic!("it is not locked"),
        Err(error) => panic!("{error}"),
    }
}

fn by_pass_phrase(locked: &Locked, text: &[u8]) -> Result<Config, UnlockError> {
    locked.unlock_with_pass_phrase(text, &mut vec![Block::new(); locked.argon2_blocks()])
}

fn error<T, E>(result: Result<T, E>) -> E {
    result.err().expect("refused")
}

/// Offset and length (header included) of each entry.
fn entries(blob: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (HEADER_BYTES, vec![]);
    while at < blob.len() {
        let length = 8 + u32::from_le_bytes(blob[at + 4..at + 8].try_into().unwrap()) as usize;
        found.push((at, length));
        at += length;
    }
    found
}

fn entry_of(blob: &[u8], kind: Kind, nth: usize) -> Vec<u8> {
    let mut of_kind = entries(blob).into_iter().filter(|(at, _)| blob[*at] == kind as u8);
    let (at, length) = of_kind.nth(nth).unwrap();
    blob[at..at + length].to_vec()
}

/// What somebody does who has the file but none of its keys: the entries of `blob` changed, length and checksum right.
fn forged(blob: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut list = entries(blob).iter().map(|(at, length)| blob[*at..at + length].to_vec()).collect();
    change(&mut list);
    reseal([&blob[..HEADER_BYTES], &list.concat()].concat())
}

fn reseal(mut blob: Vec<u8>) -> Vec<u8> {
    let length = blob.len();
    blob::set_length(&mut blob, length);
    blob::set_checksum(&mut blob);
    blob
}

// Entries of `envelope()`: six public ones, three slots, the sealed one.
const ALICE: usize = 6;
const PAPER: usize = 7;
const TEST: usize = 8;
const SEALED: usize = 9;

#[test]
fn each_slot_opens_the_same_configuration() {
    let locked = locked(&blob_of(&envelope()));
    let opened = [
        by_pass_phrase(&locked, TEXT).unwrap(),
        locked.unlock_with_recovery_key(&RecoveryKey(RECOVERY)).unwrap(),
        locked.unlock_with_raw_key(&RAW).unwrap(),
    ];
    for config in opened {
        assert_eq!(*crate::encode(&config).unwrap(), *crate::encode(&self::config()).unwrap());
    }
}

/// If this fails, FORMAT_VERSION must go up: a blob of today would not open tomorrow.
#[test]
fn the_bytes_of_a_locked_blob_of_version_3_never_change() {
    let blob = blob_of(&envelope());
    let length_and_checksum = [599, 0xBB82_52A5_u32].map(u32::to_le_bytes).concat();
    assert_eq!(blob[12..20], length_and_checksum);
}

#[test]
fn the_public_part_is_known_before_and_nothing_else() {
    let blob = blob_of(&envelope());
    assert!(*locked(&blob).public() == config().public());
    let has = |bytes: &[u8]| blob.windows(bytes.len()).any(|window| window == bytes);
    assert!(!has(b"topsecret") && !has(&[0xD5; 8]) && !has(&core::array::from_fn::<u8, 8, _>(|i| 0xC0 ^ i as u8)));
    assert!(!has(&[0x11; 8]) && !has(&RAW[..8]) && !has(&RECOVERY[..8]) && !has(TEXT));
    assert!(matches!(crate::parse(&blob), Err(BlobError::Locked)));
}

#[test]
fn a_network_rule_is_known_after_the_login_only() {
    let locked = locked(&envelope().encode(&with_network(), [0x77; NONCE_BYTES]).unwrap());
    let opened = locked.unlock_with_raw_key(&RAW).unwrap();
    assert_eq!(*crate::encode(&opened).unwrap(), *crate::encode(&with_network()).unwrap());
    let blob = envelope().encode(&with_network(), [0x77; NONCE_BYTES]).unwrap();
    let has = |bytes: &[u8]| blob.windows(bytes.len()).any(|window| window == bytes);
    assert!(!has(b"topsecretlan") && !has(&[0xE6; 8]) && !has(&[0x52, 0x54, 0, 0x12]));
}

#[test]
fn what_does_not_open_is_told_from_what_has_no_slot() {
    let locked = locked(&blob_of(&envelope()));
    assert_eq!(error(by_pass_phrase(&locked, b"correct horsE")), UnlockError::Wrong);
    assert_eq!(error(by_pass_phrase(&locked, b"")), UnlockError::Wrong);
    assert_eq!(error(by_pass_phrase(&locked, &[b'x'; 100_000])), UnlockError::Wrong);
    assert_eq!(error(locked.unlock_with_recovery_key(&RecoveryKey([0xA6; 16]))), UnlockError::Wrong);
    for key in [&RAW[..63], &[0x3D; 64], &[], &[0x3C; 65]] {
        assert_eq!(error(locked.unlock_with_raw_key(key)), UnlockError::Wrong);
    }
    let mut one = Envelope::new(&mut [0x11; 32], 0);
    one.add("test", Credential::RawKey(&RAW), CHEAP, random(3)).unwrap();
    let one = self::locked(&blob_of(&one));
    assert_eq!(one.argon2_blocks(), 0);
    assert_eq!(error(by_pass_phrase(&one, TEXT)), UnlockError::NoSlot);
    assert_eq!(error(one.unlock_with_recovery_key(&RecoveryKey(RECOVERY))), UnlockError::NoSlot);
}

#[test]
fn every_slot_is_tried_for_which_the_memory_suffices() {
    let mut envelope = envelope();
    let big = Cost { memory_mib: 2, passes: 1 };
    add_pass_phrase(&mut envelope, "bob", b"battery staple", big, 4);
    let locked = locked(&blob_of(&envelope));
    assert_eq!(locked.argon2_blocks(), 2048);
    assert!(by_pass_phrase(&locked, b"battery staple").is_ok() && by_pass_phrase(&locked, TEXT).is_ok());
    let small = &mut memory(CHEAP)[..];
    assert!(locked.unlock_with_pass_phrase(TEXT, small).is_ok());
    let refused = error(locked.unlock_with_pass_phrase(b"battery staple", small));
    assert_eq!(refused, UnlockError::Memory { needed_mib: 2, tried: true }, "the other slot's was tried");
    assert!(refused.to_string().contains("takes 2 MiB"));
    let untried = UnlockError::Memory { needed_mib: 2, tried: false };
    assert_eq!(error(locked.unlock_with_pass_phrase(TEXT, &mut [])), untried);
}

#[test]
fn the_memory_of_a_pass_phrase_is_wiped() {
    let locked = locked(&blob_of(&envelope()));
    for text in [TEXT, b"wrong"] {
        let mut memory = memory(CHEAP);
        memory[5].as_mut()[7] = 1;
        let _ = locked.unlock_with_pass_phrase(text, &mut memory);
        assert!(memory.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
    }
}

#[test]
fn whichever_bit_is_flipped_it_does_not_open() {
    let good = blob_of(&envelope());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bad).is_err(), "the checksum finds bit {bit}");
        blob::set_checksum(&mut bad);
        if bad == good {
            continue; // the bit was the checksum's
        }
        if let Ok(opened) = open(&bad) {
            let Opened::Locked(locked) = opened else { panic!("bit {bit} unlocks it") };
            let wrong = error(locked.unlock_with_raw_key(&RAW));
            assert!(
                matches!(wrong, UnlockError::Altered | UnlockError::Wrong | UnlockError::NoSlot),
                "{bit}: {wrong:?}"
            );
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let good = blob_of(&envelope());
    for bytes in 0..good.len() {
        assert!(open(&good[..bytes]).is_err());
        if bytes >= HEADER_BYTES {
            match open(&reseal(good[..bytes].to_vec())) {
                // Cut off in front of the first slot: a plain blob, without any rule or key.
                Ok(Opened::Plain(config)) => {
                    assert!(config.disks.is_empty() && config.dbgsh.is_none() && config.networks.is_empty());
                }
                Ok(Opened::Locked(locked)) => assert_eq!(error(locked.unlock_with_raw_key(&RAW)), UnlockError::Altered),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn a_forged_public_part_is_seen_when_a_slot_opens() {
    let other = Config { boot: Boot { on_failure: OnFailure::BootWithoutShoji, ..Boot::default() }, ..config() };
    let good = blob_of(&envelope());
    let plain = crate::encode(&other).unwrap();
    let bad = locked(&forged(&good, |list| list[1] = entry_of(&plain, Kind::Boot, 0)));
    assert!(bad.public().boot.on_failure == OnFailure::BootWithoutShoji, "nobody can know it yet");
    assert_eq!(error(by_pass_phrase(&bad, TEXT)), UnlockError::Altered);
    for index in 0..ALICE {
        let bad = locked(&forged(&good, |list| drop(list.remove(index))));
        assert_eq!(error(bad.unlock_with_raw_key(&RAW)), UnlockError::Altered, "without entry {index}");
    }
    let bad = locked(&forged(&good, |list| list.insert(0, vec![99, 0, 0, 0, 1, 0, 0, 0, 5])));
    assert_eq!(error(bad.unlock_with_raw_key(&RAW)), UnlockError::Altered, "an optional entry more");
}

#[test]
fn a_forged_rollback_counter_is_seen_when_a_slot_opens() {
    let mut blob = blob_of(&envelope());
    assert_eq!(locked(&blob).counter(), 7);
    blob[20] = 8;
    let bad = locked(&reseal(blob));
    assert_eq!((bad.counter(), error(by_pass_phrase(&bad, TEXT))), (8, UnlockError::Altered));
}

#[test]
fn swapped_missing_and_foreign_slots_are_seen_when_another_opens() {
    let good = blob_of(&envelope());
    let mut other = Envelope::new(&mut [0x12; 32], 0);
    add_pass_phrase(&mut other, "mallory", b"known", CHEAP, 9);
    let foreign = entry_of(&blob_of(&other), Kind::Slot, 0);
    let swapped = forged(&good, |list| list.swap(ALICE, PAPER));
    let missing = forged(&good, |list| drop(list.remove(PAPER)));
    let replaced = forged(&good, |list| list[PAPER] = foreign.clone());
    let twice = forged(&good, |list| list.insert(TEST, list[ALICE].clone()));
    for (what, blob) in [("swapped", swapped), ("missing", missing), ("replaced", replaced.clone()), ("twice", twice)] {
        assert_eq!(error(by_pass_phrase(&locked(&blob), TEXT)), UnlockError::Altered, "{what}");
    }
    assert_eq!(error(by_pass_phrase(&locked(&replaced), b"known")), UnlockError::Altered, "a slot of another file");
}

#[test]
fn a_removed_slot_cannot_be_put_back() {
    let old = blob_of(&envelope());
    let (config, mut envelope) = locked(&old).unlock(Credential::RawKey(&RAW)).unwrap();
    assert_eq!(envelope.opened(), Some(2));
    envelope.remove(0).unwrap();
    let new = envelope.encode(&config, [0x78; NONCE_BYTES]).unwrap();
    assert_eq!((locked(&old).counter(), locked(&new).counter()), (7, 8));
    assert_eq!(error(by_pass_phrase(&locked(&new), TEXT)), UnlockError::NoSlot);
    let back = forged(&new, |list| list.insert(ALICE, entry_of(&old, Kind::Slot, 0)));
    assert_eq!(error(by_pass_phrase(&locked(&back), TEXT)), UnlockError::Altered);
}

#[test]
fn the_slots_and_the_secret_part_of_two_versions_do_not_mix() {
    let old = blob_of(&envelope());
    let (config, mut envelope) = locked(&old).unlock(Credential::RawKey(&RAW)).unwrap();
    add_pass_phrase(&mut envelope, "bob", b"battery staple", CHEAP, 4);
    let new = envelope.encode(&config, [0x78; NONCE_BYTES]).unwrap();
    let mixed = forged(&new, |list| list[SEALED + 1] = entry_of(&old, Kind::Sealed, 0));
    assert_eq!(error(by_pass_phrase(&locked(&mixed), TEXT)), UnlockError::Altered);
}

/// Offset of memory and passes in the entry of a slot for a pass phrase: header, name, variant, salt.
fn cost_at(name: &str) -> usize {
    8 + 1 + name.len() + 1 + 16
}

#[test]
fn a_downgraded_cost_does_not_open_and_is_seen_by_the_other_slots() {
    let mut envelope = envelope();
    add_pass_phrase(&mut envelope, "bob", b"battery staple", Cost { memory_mib: 2, passes: 3 }, 4);
    let good = blob_of(&envelope);
    let bad = forged(&good, |list| {
        let at = cost_at("bob");
        assert_eq!(list[9][at..at + 2], [2, 3]);
        list[9][at..at + 2].copy_from_slice(&[1, 1]);
    });
    assert_eq!(error(by_pass_phrase(&locked(&bad), b"battery staple")), UnlockError::Wrong);
    assert_eq!(error(by_pass_phrase(&locked(&bad), TEXT)), UnlockError::Altered);
}

#[test]
fn a_cost_beyond_the_bounds_is_refused_before_it_is_paid() {
    let varint = |value: u32| {
        let mut bytes = [0; 5];
        postcard::to_slice(&value, &mut bytes).unwrap().to_vec()
    };
    for (memory, passes) in [(0, 1), (1, 0), (4097, 1), (1, 17), (4096, 5), (u32::MAX, u32::MAX)] {
        let bad = forged(&blob_of(&envelope()), |list| {
            let at = cost_at("alice");
            list[ALICE].splice(at..at + 2, [varint(memory), varint(passes)].concat());
            let length = list[ALICE].len() as u32 - 8;
            list[ALICE][4..8].copy_from_slice(&length.to_le_bytes());
        });
        let refused = error(open(&bad));
        assert_eq!(refused, BlobError::SlotCost { slot: 1 }, "{memory} MiB, {passes} passes");
        assert!(refused.to_string().contains("key slot 1"));
    }
}

#[test]
fn a_forged_name_of_a_slot_cannot_write_to_a_terminal() {
    for name in ["\x1B[2J\x07", "", " x"] {
        let bad = forged(&blob_of(&envelope()), |list| {
            list[TEST].splice(8..13, [&[name.len() as u8], name.as_bytes()].concat());
            let length = list[TEST].len() as u32 - 8;
            list[TEST][4..8].copy_from_slice(&length.to_le_bytes());
        });
        assert_eq!(error(open(&bad)), Kind::Slot.malformed(), "{name:?}");
    }
    let long = "x".repeat(64);
    let mut envelope = envelope();
    envelope.add(&long, Credential::RawKey(&RAW), CHEAP, random(4)).unwrap();
    assert_eq!(locked(&blob_of(&envelope)).slots()[3].name, long);
}

#[test]
fn more_than_eight_slots_are_neither_read_nor_written() {
    let mut envelope = envelope();
    for seed in 4..9 {
        envelope.add("more", Credential::RawKey(&RAW), CHEAP, random(seed)).unwrap();
    }
    assert_eq!(error(envelope.add("more", Credential::RawKey(&RAW), CHEAP, random(9))), SlotError::Full);
    let eight = blob_of(&envelope);
    assert!(locked(&eight).unlock_with_raw_key(&RAW).is_ok());
    let nine = forged(&eight, |list| list.insert(ALICE, list[ALICE].clone()));
    assert_eq!(error(open(&nine)), BlobError::TooManySlots);
}

#[test]
fn entries_in_the_wrong_part_are_refused() {
    let good = blob_of(&envelope());
    let plain = crate::encode(&with_network()).unwrap();
    let malformed = |kind: Kind| kind.malformed();
    let no_slots = forged(&good, |list| drop(list.drain(ALICE..SEALED)));
    assert_eq!(error(open(&no_slots)), malformed(Kind::Sealed));
    let no_secret = forged(&good, |list| drop(list.remove(SEALED)));
    assert_eq!(error(open(&no_secret)), malformed(Kind::Slot));
    for kind in [Kind::Disk, Kind::Dbgsh, Kind::Network] {
        let outside = forged(&good, |list| list.insert(0, entry_of(&plain, kind, 0)));
        assert_eq!(error(open(&outside)), malformed(Kind::Disk));
    }
    let not_last = forged(&good, |list| list.swap(TEST, SEALED));
    assert_eq!(error(open(&not_last)), malformed(Kind::Sealed));
    let too_short = forged(&good, |list| {
        list[SEALED].truncate(8 + 39);
        list[SEALED][4] = 39;
        list[SEALED][5] = 0;
    });
    assert_eq!(error(open(&too_short)), malformed(Kind::Sealed));
}

#[test]
fn a_secret_part_with_public_entries_is_refused() {
    let good = blob_of(&envelope());
    let (at, length) = entries(&good)[SEALED];
    let mut secret = crate::encode(&config()).unwrap()[HEADER_BYTES..].to_vec();
    let (head, nonce) = (good[..at].to_vec(), [0x77; NONCE_BYTES]);
    let mut blob = head;
    entry::push_header(&mut blob, Kind::Sealed, NONCE_BYTES + secret.len() + TAG_BYTES).unwrap();
    blob.extend(nonce);
    let total = blob.len() + secret.len() + TAG_BYTES;
    blob::set_length(&mut blob, total);
    let tag = slot::seal(&SecretKey(Box::new([0x11; 32])), &nonce, &bound(&blob), &mut secret).unwrap();
    let blob = reseal([blob, secret, tag.to_vec()].concat());
    assert!(blob.len() > at + length);
    assert_eq!(error(locked(&blob).unlock_with_raw_key(&RAW)), UnlockError::Blob(Kind::Memory.malformed()));
}

#[test]
fn what_validation_refuses_is_not_written_and_a_forged_public_part_is_held_to_it_before_the_login() {
    let bad = Config { memory: Memory { reserve_mib: 7 }, ..config() };
    let refused = error(envelope().encode(&bad, [0; NONCE_BYTES]));
    assert!(matches!(refused, BlobError::Invalid(problem) if problem.key == "memory.reserve"));
    let forged = forged(&blob_of(&envelope()), |list| list[0] = vec![1, 0, 1, 0, 1, 0, 0, 0, 7]);
    assert!(matches!(open(&forged), Err(BlobError::Invalid(problem)) if problem.key == "memory.reserve"));
    assert!(matches!(Envelope::new(&mut [1; 32], 0).encode(&config(), [0; NONCE_BYTES]), Err(BlobError::Invalid(_))));
}

#[test]
fn a_shell_without_its_key_is_seen_after_the_login_only() {
    let mut config = config();
    config.guest_calls.shell = Callers::Any;
    let blob = envelope().encode(&config, [0x77; NONCE_BYTES]).unwrap();
    assert!(locked(&blob).unlock_with_raw_key(&RAW).is_ok());
    config.dbgsh = None;
    assert!(envelope().encode(&config, [0x77; NONCE_BYTES]).is_err());
}

#[test]
fn slots_are_named_and_the_last_one_stays() {
    let mut envelope = envelope();
    let names: Vec<_> = envelope.slots().iter().map(|slot| slot.name.as_str()).collect();
    assert_eq!(names, ["alice", "paper", "test"]);
    assert!(matches!(envelope.slots()[0].method, Method::PassPhrase { cost: CHEAP, .. }));
    for name in ["", "ä", &"x".repeat(65)] {
        assert_eq!(error(envelope.add(name, Credential::RawKey(&RAW), CHEAP, random(4))), SlotError::Unfit, "{name}");
    }
    assert_eq!(error(envelope.add("short", Credential::RawKey(&RAW[..31]), CHEAP, random(4))), SlotError::Unfit);
    let few = &mut memory(CHEAP)[1..];
    assert_eq!(error(envelope.add("few", Credential::PassPhrase(TEXT, few), CHEAP, random(4))), SlotError::Unfit);
    assert_eq!(envelope.remove(3), Err(SlotError::Absent));
    assert_eq!([envelope.remove(2), envelope.remove(0), envelope.remove(0)], [Ok(()), Ok(()), Err(SlotError::Last)]);
}

#[test]
fn a_replaced_slot_keeps_name_and_place_and_forgets_what_opened_it() {
    let mut envelope = envelope();
    let memory = &mut memory(CHEAP)[..];
    envelope.replace(0, Credential::PassPhrase(b"battery staple", memory), CHEAP, random(4)).unwrap();
    let absent = envelope.replace(3, Credential::RawKey(&RAW), CHEAP, random(5));
    assert_eq!(error(absent), SlotError::Absent);
    let locked = locked(&blob_of(&envelope));
    assert_eq!(error(by_pass_phrase(&locked, TEXT)), UnlockError::Wrong);
    let (_, opened) = locked.unlock(Credential::PassPhrase(b"battery staple", memory)).unwrap();
    assert_eq!((opened.opened(), locked.slots()[0].name.as_str(), locked.slots().len()), (Some(0), "alice", 3));
}

#[test]
fn a_master_key_leaves_its_source() {
    let mut key = [0x11; 32];
    let _envelope = Envelope::new(&mut key, 0);
    assert_eq!(key, [0; 32]);
}

#[test]
fn resealed_garbage_never_panics_and_never_opens() {
    let good = blob_of(&envelope());
    let mut state = 1u32;
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = HEADER_BYTES + (state >> 8) as usize % (bad.len() - HEADER_BYTES);
            bad[at] = state as u8;
        }
        if bad == good {
            continue;
        }
        if let Ok(Opened::Locked(locked)) = open(&reseal(bad)) {
            assert!(locked.unlock_with_raw_key(&RAW).is_err());
        }
    }
}
