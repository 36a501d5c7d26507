//! The configuration as the VMM uses it.
//!
//! The serde form of these types is the wire format of the blob: changing a field, or the order of fields or
//! variants, needs a new [`FORMAT_VERSION`](crate::FORMAT_VERSION).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Everything that one boot of Shoji is told.
#[derive(Default)]
pub struct Config {
    pub memory: Memory,
    pub boot: Boot,
    pub log: Log,
    pub debug: Debug,
    pub disks: Vec<DiskRule>,
}

/// What Shoji takes for itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// RAM kept while the guest runs, heap included, in MiB. Default 16.
    pub reserve_mib: u32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { reserve_mib: 16 }
    }
}

/// How the guest is started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Boot {
    /// BIOS drive whose boot sector is started, e.g. 0x80; `None`: the one that GRUB was loaded from.
    pub drive: Option<u8>,
    pub on_failure: OnFailure,
}

/// What follows when Shoji cannot start although its configuration could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum OnFailure {
    /// Say why and stop. The default: protected data stays out of reach.
    #[default]
    Stop,
    /// Say why and boot the operating system without Shoji.
    BootWithoutShoji,
}

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Log {
    pub level: Level,
    /// COM1 at 115200 8N1; the port is hidden from the guest while it is used. Default on.
    pub serial: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, serial: true }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// Aids for developers; all off by default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Debug {
    /// A guest's kernel may ask by hypercall for the exit counters to be logged, and for interrupts.
    pub hypercalls: bool,
    /// With `hypercalls`: it may also provoke defects of Shoji, which stop the machine. An entry of its own in the blob.
    #[serde(skip)]
    pub defects: bool,
}

/// One protected range of one disk.
#[derive(Serialize, Deserialize)]
pub struct DiskRule {
    /// For messages only.
    pub name: String,
    pub disk: DiskSelector,
    pub range: RangeSelector,
    pub cipher: Cipher,
    pub key: XtsKey,
    pub check: KeyCheck,
    /// Pass DATA SET MANAGEMENT (TRIM): tells a thief which sectors are unused. Default off.
    pub trim: bool,
}

/// Which disk a rule is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DiskSelector {
    /// As IDENTIFY DEVICE tells it, trimmed; at least one is given, all given must match.
    Identity { model: Option<String>, serial: Option<String> },
    /// IDE channel (0 primary, 1 secondary) and unit (0 master, 1 slave).
    Position { channel: u8, unit: u8 },
}

/// Which part of the disk a rule is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RangeSelector {
    /// Number in the partition table, MBR or GPT, from 1 on.
    Partition(u32),
    /// Unique partition GUID of a GPT entry, in the byte order of the entry on disk.
    PartitionGuid([u8; 16]),
    /// In logical sectors of the disk.
    Lba { first: u64, sectors: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cipher {
    /// `aes-xts-plain64` with a 512-bit key: AES-XTS-256, tweak = sector number from the start of the range.
    AesXtsPlain64,
}

/// How Shoji makes sure before it starts the guest that the key fits the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum KeyCheck {
    /// The decrypted range must begin with a file system, LVM or swap signature that Shoji knows.
    #[default]
    Signature,
    /// No check: for ranges that are still blank or hold something else.
    None,
}

/// Data key, then tweak key, of AES-XTS-256. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct XtsKey(pub [u8; 64]);

impl Serialize for XtsKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for XtsKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl de::Visitor<'_> for KeyVisitor {
            type Value = XtsKey;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a key of 64 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<XtsKey, E> {
                bytes.try_into().map(XtsKey).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(KeyVisitor)
    }
}
