//! The configuration under which Shoji runs a guest.

use crate::{Board, DRIVE_UNDER_SHOJI, TinyGuest};
use config::Callers::Any;
use config::{
    Access, Boot, Config, Dbgsh, Debug, DiskRule, DiskSelector, Format, GuestCalls, KeyCheck, RangeSelector, ShellKey,
    XtsKey,
};
use std::io;

/// The key of every guest's encrypted range, for configuration and oracle: data key, then tweak key, of AES-XTS-256.
pub const KEY: [u8; 64] = {
    let mut key = [0; 64];
    let mut i = 0;
    while i < key.len() {
        key[i] = 0x11 ^ (i as u8).wrapping_mul(7);
        i += 1;
    }
    key
};

/// The key of the shell, where a guest may use it.
pub const SHELL_KEY: [u8; 32] = [0x5a; 32];

/// Shoji's configuration for a guest, as the blob that [`crate::boot_media`] takes.
///
/// # Errors
/// When the configuration cannot be encoded.
pub fn blob(guest: &TinyGuest) -> io::Result<Vec<u8>> {
    let rule = guest.encrypted.map(|range| DiskRule {
        name: "guest".into(),
        // The first channel or port, or the first namespace.
        disk: DiskSelector::Position { channel: u32::from(guest.board == Board::Nvme), unit: 0 },
        range: RangeSelector::Lba { first: range.first.into(), sectors: range.count.into() },
        format: Format::dm_crypt(XtsKey(KEY), KeyCheck::None), // it starts as zeros on the disk
        access: Access::ReadWrite,
        trim: false,
    });
    let config = Config {
        boot: Boot { drive: Some(DRIVE_UNDER_SHOJI), ..Boot::default() },
        debug: Debug { hypercalls: guest.hypercalls, defects: guest.defects, ..Debug::default() },
        disks: rule.into_iter().collect(),
        guest_calls: if guest.calls { GuestCalls { status: Any, log: Any, shell: Any } } else { GuestCalls::default() },
        dbgsh: guest.calls.then(|| Dbgsh { key: ShellKey(SHELL_KEY.to_vec()) }),
        ..Config::default()
    };
    let blob = config::encode(&config).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(blob.to_vec())
}

#[cfg(test)]
mod tests {
    use super::blob;
    use crate::all;

    #[test]
    fn shoji_reads_the_configuration_of_every_guest() {
        for guest in all() {
            let config = config::parse(&blob(guest).expect("a blob")).expect("a configuration");
            assert!(config::validate(&config).is_empty(), "{}", guest.name);
            assert_eq!(config.disks.len(), usize::from(guest.encrypted.is_some()), "{}", guest.name);
        }
    }
}
