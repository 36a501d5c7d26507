use alloc::string::ToString;
use alloc::{format, vec};

use super::*;
use crate::network::*;
use crate::schema::*;
use crate::validate::validate;

fn rule(name: &str, disk: DiskSelector, range: RangeSelector) -> DiskRule {
    let key = XtsKey(core::array::from_fn(|i| i as u8));
    let format = Format::dm_crypt(key, KeyCheck::None);
    DiskRule { name: name.into(), disk, range, format, access: Access::ReadWrite, trim: true }
}

fn network(name: &str, card: CardSelector, policy: NetworkPolicy) -> NetworkRule {
    NetworkRule { name: name.into(), card, policy }
}

fn wireguard(wire: Wire, secret: &[u8]) -> NetworkPolicy {
    NetworkPolicy::Tunnel(TunnelRule { wire, protocol: TunnelProtocol::WireGuard(TunnelSecret(secret.to_vec())) })
}

/// Static addresses of both versions, and as many servers as there may be.
fn static_wire() -> Wire {
    let ipv4 =
        WireIpv4::Static { address: [192, 0, 2, 10].into(), prefix_len: 24, gateway: Some([192, 0, 2, 1].into()) };
    let address = [0x2001, 0xDB8, 0, 0, 0, 0, 0, 0x10].into();
    let ipv6 = WireIpv6::Static { address, prefix_len: 64, gateway: Some([0xFE80, 0, 0, 0, 0, 0, 0, 1].into()) };
    Wire { mtu: 9000, ipv4, ipv6, dns: vec![[192, 0, 2, 53].into(), address.into(), [192, 0, 2, 54].into()] }
}

const MAC: CardSelector = CardSelector::Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const FUNCTION: CardSelector = CardSelector::Function { bus: 2, device: 31, function: 7 };

/// A value other than the default in each field.
fn sample() -> Config {
    let identity = DiskSelector::Identity { model: Some("QEMU HARDDISK".into()), serial: None };
    Config {
        memory: Memory { reserve_mib: 32 },
        boot: Boot { drive: Some(0x81), on_failure: OnFailure::BootWithoutShoji },
        log: Log { level: Level::Debug, serial: None, speed_baud: 9600, screen: false },
        login: Login {
            keyboard: Keyboard::De,
            tries: 5,
            after_failure: AfterFailure::PowerOff,
            memory_mib: 64,
            passes: 2,
        },
        guest_calls: GuestCalls { status: Callers::Any, log: Callers::Kernel, shell: Callers::Any },
        debug: Debug { hypercalls: true, defects: true, heartbeat: true },
        dbgsh: Some(Dbgsh { key: ShellKey(vec![0x5A; 33]) }),
        disks: vec![
            rule("root", identity, RangeSelector::Partition(2)),
            DiskRule {
                format: Format::Luks2 { header: HeaderSelector::Range(RangeSelector::Partition(9)) },
                access: Access::ReadOnly,
                trim: false,
                ..rule("data", DiskSelector::Position { channel: 1, unit: 0 }, RangeSelector::PartitionGuid([7; 16]))
            },
            DiskRule {
                format: Format::Luks2 { header: HeaderSelector::File("home".into()) },
                ..rule("home", DiskSelector::Position { channel: 2, unit: 0 }, RangeSelector::Partition(1))
            },
            rule(
                "rest",
                DiskSelector::Position { channel: 1, unit: 0 },
                RangeSelector::Lba { first: 2048, sectors: 100 },
            ),
        ],
        networks: vec![
            network("lan", MAC, wireguard(static_wire(), &[0xA5; 300])),
            network("wlan", FUNCTION, NetworkPolicy::Block),
            network("third", CardSelector::Function { bus: 0, device: 3, function: 0 }, NetworkPolicy::Pass),
        ],
    }
}

fn sealed(entries: &[&[u8]]) -> Vec<u8> {
    let mut blob = [&MAGIC[..], &FORMAT_VERSION.to_le_bytes(), &[0; 16]].concat();
    entries.iter().for_each(|entry| blob.extend_from_slice(entry));
    seal(&mut blob);
    blob
}

/// Makes length and checksum right.
fn seal(blob: &mut [u8]) {
    set_length(blob, blob.len());
    set_checksum(blob);
}

fn error(blob: &[u8]) -> BlobError {
    match parse(blob) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[test]
fn every_field_survives_the_blob() {
    let blob = encode(&sample()).unwrap();
    let back = parse(&blob).unwrap();
    assert_eq!(encode(&back).unwrap(), blob);
    assert_eq!(back.memory.reserve_mib, 32);
    assert_eq!(back.boot, Boot { drive: Some(0x81), on_failure: OnFailure::BootWithoutShoji });
    assert!(back.public() == sample().public() && back.public() != Public::default());
    assert_eq!(back.dbgsh.unwrap().key.0, [0x5A; 33]);
    let names: Vec<_> = back.disks.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["root", "data", "home", "rest"]);
    assert_eq!(back.disks[3].range, RangeSelector::Lba { first: 2048, sectors: 100 });
    let Format::DmCrypt(format) = &back.disks[0].format else { panic!("it is another format") };
    assert_eq!(format.key.0[..4], [0, 1, 2, 3]);
    assert!(back.disks[0].trim && format.check == KeyCheck::None);
    let header = |at: usize| match &back.disks[at].format {
        Format::Luks2 { header } => header.clone(),
        _ => panic!("it is another format"),
    };
    assert_eq!(header(1), HeaderSelector::Range(RangeSelector::Partition(9)));
    assert_eq!(header(2), HeaderSelector::File("home".into()));
    assert_eq!(back.disks[1].access, Access::ReadOnly);
}

#[test]
fn every_field_of_a_network_rule_survives_the_blob() {
    let back = parse(&encode(&sample()).unwrap()).unwrap().networks;
    let cards: Vec<_> = back.iter().map(|rule| (rule.name.as_str(), rule.card)).collect();
    let third = CardSelector::Function { bus: 0, device: 3, function: 0 };
    assert_eq!(cards, [("lan", MAC), ("wlan", FUNCTION), ("third", third)]);
    let NetworkPolicy::Tunnel(TunnelRule { wire, protocol: TunnelProtocol::WireGuard(secret) }) = &back[0].policy
    else {
        panic!("it is another policy")
    };
    assert_eq!(*wire, static_wire());
    assert_eq!(secret.0, [0xA5; 300]);
    assert!(matches!(back[1].policy, NetworkPolicy::Block) && matches!(back[2].policy, NetworkPolicy::Pass));
}

/// The wire format, byte by byte: if this fails, FORMAT_VERSION must go up.
#[test]
fn the_bytes_of_version_3_never_change() {
    let mut config = Config::default();
    config.disks.push(rule("a", DiskSelector::Position { channel: 0, unit: 1 }, RangeSelector::Partition(2)));
    let header = HeaderSelector::Range(RangeSelector::Lba { first: 34, sectors: 2 });
    config.disks.push(DiskRule {
        format: Format::Luks2 { header },
        access: Access::ReadOnly,
        trim: false,
        ..rule("b", DiskSelector::Position { channel: 255, unit: 1 }, RangeSelector::Partition(3))
    });
    let key: Vec<u8> = (0..64).collect();
    let expected = sealed(&[
        &[1, 0, 1, 0, 1, 0, 0, 0, 16],
        &[2, 0, 1, 0, 2, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 8, 0, 0, 0, 2, 1, 0xF8, 7, 0x80, 0x84, 7, 1],
        &[7, 0, 1, 0, 6, 0, 0, 0, 0, 3, 0, 0x80, 2, 3],
        &[8, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0],
        &[4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0],
        &[5, 0, 1, 0, 77, 0, 0, 0, 1, b'a', 1, 0, 1, 0, 2, 1, 0, 64],
        &key,
        &[1, 0, 1],
        &[5, 0, 1, 0, 15, 0, 0, 0, 1, b'b', 1, 0xFF, 1, 1, 0, 3, 2, 1, 2, 34, 2, 1, 0],
    ]);
    assert_eq!(encode(&config).unwrap().as_slice(), expected);
    assert_eq!(expected[..16], [b'S', b'H', b'O', b'J', b'I', b'C', b'F', b'G', 3, 0, 0, 0, 207, 0, 0, 0]);
    assert_eq!(expected[16..20], 0xF976_9F5A_u32.to_le_bytes());
}

/// As in the test above, of what came later; the header in the range is what no header was.
#[test]
fn the_bytes_of_a_header_in_the_range_and_in_a_file_never_change() {
    let entry = |header| {
        let mut config = Config::default();
        let format = Format::Luks2 { header };
        let rule = rule("b", DiskSelector::Position { channel: 0, unit: 1 }, RangeSelector::Partition(3));
        config.disks.push(DiskRule { format, trim: false, ..rule });
        encode(&config).unwrap()
    };
    let before = [1, b'b', 1, 0, 1, 0, 3, 2];
    let in_range = entry(HeaderSelector::InRange);
    assert!(in_range.ends_with(&[&before[..], &[0, 0, 0]].concat()), "{in_range:?}");
    let in_file = entry(HeaderSelector::File("d1".into()));
    assert!(in_file.ends_with(&[&before[..], &[2, 2, b'd', b'1', 0, 0]].concat()), "{in_file:?}");
}

/// As above; a blob without network rules is what it was before there were any.
#[test]
fn the_bytes_of_a_network_rule_never_change() {
    let entry = |networks| {
        let before = encode(&Config::default()).unwrap().len();
        encode(&Config { networks, ..Config::default() }).unwrap()[before..].to_vec()
    };
    let pass = entry(vec![network("a", FUNCTION, NetworkPolicy::Pass)]);
    assert_eq!(pass, [12, 0, 1, 0, 7, 0, 0, 0, 1, b'a', 1, 2, 31, 7, 0]);
    let tunnel = entry(vec![network("b", MAC, wireguard(Wire::default(), &[7, 8, 9]))]);
    let card = [1, b'b', 0, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
    let rest = [2, 0xDC, 0x0B, 1, 1, 0, 0, 3, 7, 8, 9];
    assert_eq!(tunnel, [&[12, 0, 1, 0, 20, 0, 0, 0][..], &card, &rest].concat());
    let tunnel = entry(vec![network("b", FUNCTION, wireguard(static_wire(), &[7]))]);
    let address = [&[0x20, 1, 0x0D, 0xB8][..], &[0; 11], &[0x10]].concat();
    let wire = [
        &[2, 0xA8, 0x46][..],
        &[2, 192, 0, 2, 10, 24, 1, 192, 0, 2, 1],
        &[[2].as_slice(), &address, &[64, 1, 0xFE, 0x80], &[0; 13], &[1]].concat(),
        &[[3, 0, 192, 0, 2, 53, 1].as_slice(), &address, &[0, 192, 0, 2, 54]].concat(),
    ];
    assert_eq!(tunnel[8..], [&[1, b'b', 1, 2, 31, 7][..], &wire.concat(), &[0, 1, 7]].concat());
    let off = Wire { ipv4: WireIpv4::Off, ipv6: WireIpv6::Slaac, dns: vec![], mtu: 1280 };
    let off = entry(vec![network("b", FUNCTION, wireguard(off, &[7]))]);
    assert_eq!(off[14..], [2, 0x80, 0x0A, 0, 1, 0, 0, 1, 7]);
    let off = Wire { ipv4: WireIpv4::Dhcp, ipv6: WireIpv6::Off, dns: vec![], mtu: 1280 };
    let off = entry(vec![network("b", FUNCTION, wireguard(off, &[7]))]);
    assert_eq!(off[14..], [2, 0x80, 0x0A, 1, 0, 0, 0, 1, 7]);
}

#[test]
fn the_longest_disk_rule_still_fits_an_entry() {
    let long = "x".repeat(64);
    let disk = DiskSelector::Identity { model: Some(long.clone()), serial: Some(long.clone()) };
    let range = RangeSelector::Lba { first: 1 << 62, sectors: 1 << 62 };
    let volume = DiskRule {
        format: Format::Luks2 { header: HeaderSelector::File(long.clone()) },
        ..rule("volume", disk.clone(), RangeSelector::Lba { first: 0, sectors: 1 << 61 })
    };
    let config =
        Config { disks: vec![rule(&long, disk, range), DiskRule { name: "y".repeat(64), ..volume }], ..sample() };
    assert!(parse(&encode(&config).unwrap()).is_ok());
}

#[test]
fn the_largest_configuration_is_below_the_bound() {
    let disk = || DiskSelector::Position { channel: 0, unit: 0 };
    let disks = (1..=64).map(|i| rule(&format!("{i}"), disk(), RangeSelector::Partition(i))).collect();
    let networks = (0..16).map(|device| {
        let card = CardSelector::Function { bus: 0, device, function: 0 };
        network(&format!("{device:064}"), card, wireguard(static_wire(), &[0xA5; MAX_TUNNEL_SECRET_BYTES]))
    });
    let config = Config { disks, networks: networks.collect(), ..sample() };
    let blob = encode(&config).unwrap();
    assert!(blob.len() <= parts::room(&config), "it was reallocated, and has left copies of keys behind");
    let back = parse(&blob).unwrap();
    assert!(blob.len() < MAX_BLOB_BYTES && back.disks.len() == 64 && back.networks.len() == 16);
}

#[test]
fn every_flipped_bit_is_found() {
    let good = encode(&sample()).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = error(&bad);
        match bit / 8 {
            0..8 => assert_eq!(error, BlobError::NotShoji),
            8..12 => assert!(matches!(error, BlobError::Version { .. })),
            12..16 => assert!(matches!(error, BlobError::Truncated { .. } | BlobError::Trailing { .. })),
            _ => assert_eq!(error, BlobError::Checksum),
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let good = encode(&sample()).unwrap();
    for bytes in 0..good.len() {
        let expected = if bytes < HEADER_BYTES { HEADER_BYTES } else { good.len() };
        let truncated = BlobError::Truncated { bytes, expected };
        assert_eq!(error(&good[..bytes]), if bytes < 8 { BlobError::NotShoji } else { truncated });
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut blob = encode(&sample()).unwrap();
    blob.push(0);
    assert_eq!(error(&blob), BlobError::Trailing { bytes: blob.len(), expected: blob.len() - 1 });
}

#[test]
fn a_blob_beyond_the_bound_is_refused_before_it_is_read() {
    let blob = sealed(&[&vec![0; MAX_BLOB_BYTES]]);
    assert_eq!(error(&blob), BlobError::TooLarge { bytes: MAX_BLOB_BYTES + HEADER_BYTES });
}

#[test]
fn a_toml_file_in_place_of_the_blob_gets_the_remedy() {
    assert!(error(b"[memory]\nreserve = \"16 MiB\"\n").to_string().contains("`shoji config build`"));
}

#[test]
fn another_version_names_both_versions_and_the_remedy() {
    let mut blob = sealed(&[]);
    blob[8] = 9;
    let text = error(&blob).to_string();
    assert!(
        text.contains("version 9") && text.contains("reads version 3") && text.contains("`shoji config build`"),
        "{text}"
    );
}

#[test]
fn an_unknown_optional_entry_is_skipped() {
    let memory = [1, 0, 1, 0, 1, 0, 0, 0, 64];
    let config = parse(&sealed(&[&[99, 0, 0, 0, 2, 0, 0, 0, 1, 2], &memory])).unwrap();
    assert_eq!(config.memory.reserve_mib, 64);
}

#[test]
fn an_unknown_mandatory_entry_is_refused_by_number() {
    let error = error(&sealed(&[&[99, 0, 1, 0, 2, 0, 0, 0, 1, 2]]));
    assert_eq!(error, BlobError::UnknownEntry { entry: 99 });
    assert!(error.to_string().contains("type 99"));
}

#[test]
fn entries_that_lie_about_their_layout_are_refused() {
    let cases: [(&[u8], u16); 11] = [
        (&[1, 0, 1, 0, 1, 0, 0], 0),                                      // entry header cut off
        (&[1, 0, 1, 0, 2, 0, 0, 0, 16], 1),                               // longer than the blob
        (&[1, 0, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 16], 1),                   // much longer
        (&[1, 0, 1, 0, 0, 0, 0, 0], 1),                                   // empty payload
        (&[1, 0, 1, 0, 2, 0, 0, 0, 16, 0], 1),                            // payload goes on
        (&[1, 0, 2, 0, 1, 0, 0, 0, 16], 1),                               // undefined flag
        (&[2, 0, 1, 0, 2, 0, 0, 0, 0, 7], 2),                             // undefined variant
        (&[1, 0, 1, 0, 1, 0, 0, 0, 16, 1, 0, 1, 0, 1, 0, 0, 0, 16], 1),   // twice
        (&[5, 0, 1, 0, 6, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 97], 5), // name of 4 GiB
        (&[12, 0, 1, 0, 7, 0, 0, 0, 1, b'a', 1, 2, 31, 7, 3], 12),        // undefined policy
        (&[12, 0, 1, 0, 7, 0, 0, 0, 1, b'a', 2, 2, 31, 7, 0], 12),        // undefined way to name a card
    ];
    for (entries, entry) in cases {
        assert_eq!(error(&sealed(&[entries])), BlobError::Malformed { entry }, "{entries:?}");
    }
}

#[test]
fn a_key_of_another_length_is_refused() {
    let mut entry = vec![5, 0, 1, 0, 74, 0, 0, 0, 1, b'a', 1, 0, 1, 0, 2, 0, 63];
    entry.extend(0..63);
    entry.extend([1, 1]);
    assert_eq!(error(&sealed(&[&entry])), BlobError::Malformed { entry: 5 });
}

#[test]
fn a_shell_key_of_31_or_257_bytes_is_refused() {
    let with = |len: u16| {
        let varint = if len < 128 { vec![len as u8] } else { vec![len as u8 | 0x80, (len >> 7) as u8] };
        let payload = [varint, vec![7; len.into()]].concat();
        sealed(&[&[9, 0, 0, 0], &(payload.len() as u32).to_le_bytes(), &payload])
    };
    for (len, good) in [(0, false), (31, false), (32, true), (256, true), (257, false)] {
        assert_eq!(parse(&with(len)).is_ok(), good, "{len}");
    }
}

#[test]
fn parameters_of_a_tunnel_that_are_empty_or_too_long_are_refused() {
    let with = |len: usize| {
        let varint = [len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8];
        let payload = [&[1, b'a', 1, 0, 3, 0, 2, 0xDC, 0x0B, 1, 1, 0, 0][..], &varint, &vec![7; len]].concat();
        sealed(&[&[12, 0, 1, 0], &(payload.len() as u32).to_le_bytes(), &payload])
    };
    for (len, good) in [(0, false), (1, true), (MAX_TUNNEL_SECRET_BYTES, true), (MAX_TUNNEL_SECRET_BYTES + 1, false)] {
        assert_eq!(parse(&with(len)).is_ok(), good, "{len}");
    }
    let networks = |len| vec![network("a", FUNCTION, wireguard(Wire::default(), &vec![7; len]))];
    for len in [0, MAX_TUNNEL_SECRET_BYTES + 1] {
        let refused = encode(&Config { networks: networks(len), ..Config::default() });
        assert!(matches!(refused, Err(BlobError::Invalid(problem)) if problem.key == "wireguard"), "{len}");
    }
}

#[test]
fn more_network_rules_than_allowed_are_refused_without_reading_them_all() {
    let entry = [12, 0, 1, 0, 7, 0, 0, 0, 1, b'a', 1, 2, 31, 7, 0];
    let BlobError::Invalid(problem) = error(&sealed(&vec![&entry[..]; 9000])) else { panic!("another error") };
    assert_eq!(problem.key, "network");
}

#[test]
fn more_rules_than_allowed_are_refused_without_reading_them_all() {
    let mut entry = vec![5, 0, 1, 0, 77, 0, 0, 0, 1, b'a', 1, 0, 1, 0, 2, 1, 0, 64];
    entry.extend(0..64);
    entry.extend([1, 0, 1]);
    let BlobError::Invalid(problem) = error(&sealed(&vec![&entry[..]; 9000])) else { panic!("another error") };
    assert_eq!(problem.key, "disk");
}

#[test]
fn what_validation_refuses_is_neither_written_nor_read() {
    let bad = Config { memory: Memory { reserve_mib: 7 }, ..sample() };
    assert!(matches!(encode(&bad), Err(BlobError::Invalid(problem)) if problem.key == "memory.reserve"));
    let text = error(&sealed(&[&[1, 0, 1, 0, 1, 0, 0, 0, 7]])).to_string();
    assert!(text.contains("`memory.reserve` is 7 MiB"), "{text}");
}

#[test]
fn an_empty_list_of_entries_means_the_defaults() {
    let config = parse(&sealed(&[])).unwrap();
    assert!(config.public() == Public::default() && config.disks.is_empty());
    assert!(config.dbgsh.is_none() && config.networks.is_empty());
}

#[test]
fn resealed_garbage_never_panics() {
    let good = encode(&sample()).unwrap();
    let mut state = 1u32;
    for _ in 0..20_000 {
        let mut bad = good.to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = HEADER_BYTES + (state >> 8) as usize % (bad.len() - HEADER_BYTES);
            bad[at] = state as u8;
        }
        seal(&mut bad);
        if let Ok(config) = parse(&bad) {
            assert!(validate(&config).is_empty());
        }
    }
}
