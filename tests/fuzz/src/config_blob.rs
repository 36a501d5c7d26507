//! The boot configuration as the VMM reads it: any bytes.
//!
//! Input: a byte whose lowest bit asks for length and checksum to be made right, so that the entries are reached, then
//! the blob.

use config::{Config, DiskRule, DiskSelector, KeyCheck, RangeSelector, XtsKey};

const LENGTH: std::ops::Range<usize> = 12..16;
const CHECKSUM: std::ops::Range<usize> = 16..20;

/// Runs one input. What is accepted can be written again, and reads as the same.
pub fn run(data: &[u8]) {
    let Some((flags, blob)) = data.split_first() else { return };
    let mut blob = blob.to_vec();
    if flags & 1 != 0 && blob.len() >= CHECKSUM.end {
        seal(&mut blob);
    }
    match config::parse(&blob) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(config) => {
            let written = config::encode(&config).expect("what was accepted can be written");
            let again = config::parse(&written).expect("what was written is accepted");
            assert!(config::encode(&again).expect("and written again") == written, "it reads as something else");
        }
    }
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
        cipher: config::Cipher::AesXtsPlain64,
        key,
        check: KeyCheck::None,
        trim: false,
    }
}

/// Configurations with none, one and three rules.
fn configurations() -> Vec<Config> {
    let position = || DiskSelector::Position { channel: 0, unit: 0 };
    let identity = || DiskSelector::Identity { model: Some("MODEL".into()), serial: None };
    let rules = [
        vec![],
        vec![rule("root", position(), RangeSelector::Partition(2))],
        vec![
            rule("a", position(), RangeSelector::PartitionGuid([7; 16])),
            rule("b", identity(), RangeSelector::Lba { first: 2048, sectors: 4096 }),
            rule("c", DiskSelector::Position { channel: 1, unit: 1 }, RangeSelector::Partition(1)),
        ],
    ];
    let config = |disks| Config { disks, ..Config::default() };
    rules.map(config).into()
}

/// Whole blobs.
pub fn seeds() -> Vec<Vec<u8>> {
    let blobs = configurations().into_iter().filter_map(|config| config::encode(&config).ok());
    blobs.map(|blob| [vec![1], blob.to_vec()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_accepted_and_their_seal_is_ours() {
        let seeds = seeds();
        assert!(seeds.len() >= 2, "{} of the configurations can be written", seeds.len());
        for seed in seeds {
            assert!(config::parse(&seed[1..]).is_ok());
            let mut resealed = seed[1..].to_vec();
            seal(&mut resealed);
            assert!(resealed == seed[1..]);
        }
    }
}
