//! The boot configuration as the VMM reads it, plain or locked: any bytes.
//!
//! Input: a byte whose lowest bit asks for length and checksum to be made right, so that the entries are reached, then
//! the blob.

use config::{
    Access, Config, Cost, Credential, DiskRule, DiskSelector, Envelope, Format, HeaderSelector, KeyCheck, Locked,
    NONCE_BYTES, Opened,
};
use config::{
    CardSelector, NetworkPolicy, NetworkRule, TunnelProtocol, TunnelRule, TunnelSecret, Wire, WireIpv4, WireIpv6,
};
use config::{RangeSelector, RecoveryKey, SLOT_RANDOM_BYTES, UnlockError, XtsKey};
use std::net::{Ipv4Addr, Ipv6Addr};

const LENGTH: std::ops::Range<usize> = 12..16;
const CHECKSUM: std::ops::Range<usize> = 16..20;

/// Runs one input. What is accepted can be written again, and reads as the same.
pub fn run(data: &[u8]) {
    let Some((flags, blob)) = data.split_first() else { return };
    let mut blob = blob.to_vec();
    if flags & 1 != 0 && blob.len() >= CHECKSUM.end {
        seal(&mut blob);
    }
    match config::open(&blob) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(Opened::Plain(config)) => {
            let written = config::encode(&config).expect("what was accepted can be written");
            let again = config::parse(&written).expect("what was written is accepted");
            assert!(config::encode(&again).expect("and written again") == written, "it reads as something else");
        }
        Ok(Opened::Locked(locked)) => try_to_open(&locked, &blob),
    }
}

/// Whatever was made of a locked blob, it opens only as it was written, and asks for nothing without bounds.
fn try_to_open(locked: &Locked, blob: &[u8]) {
    assert!((1..=config::MAX_SLOTS).contains(&locked.slots().len()));
    assert!(locked.argon2_blocks() <= config::MAX_ARGON2_MIB as usize * 1024);
    assert!(config::validate_public(locked.public()).is_empty());
    let opened = locked.unlock_with_raw_key(&RAW_KEY);
    assert!(opened.is_err() || locked_blobs().iter().any(|written| written == blob), "a forged blob opens");
    let result = locked.unlock_with_pass_phrase(b"correct horse", &mut []);
    assert!(matches!(result.err(), Some(UnlockError::NoSlot | UnlockError::Memory { .. })), "it took no memory");
    assert!(locked.unlock_with_recovery_key(&RecoveryKey([7; 16])).is_err());
}

/// Length and checksum of the header.
fn seal(blob: &mut [u8]) {
    let len = blob.len() as u32;
    blob[LENGTH].copy_from_slice(&len.to_le_bytes());
    let sum = blob[..CHECKSUM.start].iter().chain(&blob[CHECKSUM.end..]).fold(!0, |sum, byte| crc32(sum, *byte));
    blob[CHECKSUM].copy_from_slice(&(!sum).to_le_bytes());
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc32(sum: u32, byte: u8) -> u32 {
    (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
}

fn rule(name: &str, disk: DiskSelector, range: RangeSelector) -> DiskRule {
    let key = XtsKey(core::array::from_fn(|i| i as u8));
    DiskRule {
        name: name.into(),
        disk,
        range,
        format: Format::dm_crypt(key, KeyCheck::None),
        access: Access::ReadWrite,
        trim: false,
    }
}

/// The rule as one for a volume that is not to be written, whose header lies elsewhere.
fn luks2(rule: DiskRule) -> DiskRule {
    let format = Format::Luks2 { header: HeaderSelector::Range(RangeSelector::Lba { first: 34, sectors: 2014 }) };
    DiskRule { format, access: Access::ReadOnly, ..rule }
}

/// A rule of each policy, and all that a wire can have.
fn networks() -> Vec<NetworkRule> {
    let v4 = |last| Ipv4Addr::new(192, 0, 2, last);
    let v6 = |last| Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, last);
    let wire = Wire {
        mtu: 9000,
        ipv4: WireIpv4::Static { address: v4(10), prefix_len: 24, gateway: Some(v4(1)) },
        ipv6: WireIpv6::Static { address: v6(10), prefix_len: 64, gateway: None },
        dns: vec![v4(53).into(), v6(53).into()],
    };
    let tunnel = |wire| {
        let protocol = TunnelProtocol::WireGuard(TunnelSecret(vec![0xA5; 200]));
        NetworkPolicy::Tunnel(TunnelRule { wire, protocol })
    };
    let policies = [NetworkPolicy::Pass, NetworkPolicy::Block, tunnel(Wire::default()), tunnel(wire)];
    let rule = |(number, policy)| {
        let card = match number {
            0 => CardSelector::Mac([2, 0, 0, 0, 0, 1]),
            device => CardSelector::Function { bus: 0, device, function: 0 },
        };
        NetworkRule { name: format!("lan{number}"), card, policy }
    };
    (0..).zip(policies).map(rule).collect()
}

/// Configurations with none, one, and four rules of each kind.
fn configurations() -> Vec<Config> {
    let position = || DiskSelector::Position { channel: 0, unit: 0 };
    let identity = || DiskSelector::Identity { model: Some("MODEL".into()), serial: None };
    let rules = [
        vec![],
        vec![rule("root", position(), RangeSelector::Partition(2))],
        vec![
            rule("a", position(), RangeSelector::PartitionGuid([7; 16])),
            rule("b", identity(), RangeSelector::Lba { first: 2048, sectors: 4096 }),
            luks2(rule("c", DiskSelector::Position { channel: 1, unit: 1 }, RangeSelector::Partition(1))),
            DiskRule {
                format: Format::Luks2 { header: HeaderSelector::File("home".into()) },
                ..rule("d", DiskSelector::Position { channel: 2, unit: 0 }, RangeSelector::Partition(1))
            },
        ],
    ];
    let networks = |disks: usize| if disks > 1 { networks() } else { Vec::new() };
    let config = |disks: Vec<_>| Config { networks: networks(disks.len()), disks, ..Config::default() };
    rules.map(config).into()
}

const RAW_KEY: [u8; 32] = [0x3C; 32];

/// The configurations, locked: with one slot, and with one of each kind.
fn locked_blobs() -> Vec<Vec<u8>> {
    let cost = Cost { memory_mib: 1, passes: 1 };
    let lock = |(number, config): (u8, Config)| {
        let mut envelope = Envelope::new(&mut [number; 32], number.into());
        envelope.add("raw", Credential::RawKey(&RAW_KEY), cost, [number; SLOT_RANDOM_BYTES]).ok()?;
        if number > 0 {
            let recovery = RecoveryKey([8; 16]);
            envelope.add("paper", Credential::RecoveryKey(&recovery), cost, [number; SLOT_RANDOM_BYTES]).ok()?;
            let mut memory = vec![config::Block::new(); cost.blocks()];
            let credential = Credential::PassPhrase(b"battery staple", &mut memory);
            envelope.add("alice", credential, cost, [number; SLOT_RANDOM_BYTES]).ok()?;
        }
        envelope.encode(&config, [number; NONCE_BYTES]).ok()
    };
    (0..).zip(configurations()).filter_map(lock).collect()
}

/// Whole blobs.
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = configurations().into_iter().filter_map(|config| config::encode(&config).ok());
    let blobs = plain.map(|blob| blob.to_vec()).chain(locked_blobs());
    blobs.map(|blob| [vec![1], blob].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_accepted_and_their_seal_is_ours() {
        let seeds = seeds();
        assert!(seeds.len() == 6, "{} of the configurations can be written", seeds.len());
        for seed in seeds {
            match config::open(&seed[1..]).unwrap() {
                Opened::Plain(_) => {}
                Opened::Locked(locked) => assert!(locked.unlock_with_raw_key(&RAW_KEY).is_ok()),
            }
            run(&seed);
            let mut resealed = seed[1..].to_vec();
            seal(&mut resealed);
            assert!(resealed == seed[1..]);
        }
    }
}
