//! The configuration under which Shoji runs a guest.

use crate::{DRIVE_UNDER_SHOJI, TinyGuest};
use std::fmt::Write;

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

/// Shoji's configuration for a guest, in the TOML form that the tool `shoji` compiles.
///
/// The range is not checked for a signature: it starts as zeros on the disk.
pub fn configuration(guest: &TinyGuest) -> String {
    let mut toml = format!("[boot]\ndrive = {DRIVE_UNDER_SHOJI:#x}\n");
    if let Some(range) = guest.encrypted {
        let key = KEY.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
            hex
        });
        toml += &format!(
            "\n[[disk]]\nname = \"guest\"\ndisk = {{ channel = 0, unit = 0 }}\n\
             range = {{ first-lba = {}, sectors = {} }}\ncipher = \"aes-xts-plain64\"\nkey = \"{key}\"\ncheck = \"none\"\n",
            range.first, range.count
        );
    }
    toml
}
