//! The configuration as the VMM uses it.
//!
//! The serde form of these types is the wire format of the blob: changing a field, or the order of fields or
//! variants, needs a new [`FORMAT_VERSION`](crate::FORMAT_VERSION).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::network::NetworkRule;

/// Everything that one boot of Shoji is told.
#[derive(Default)]
pub struct Config {
    pub memory: Memory,
    pub boot: Boot,
    pub log: Log,
    pub login: Login,
    pub guest_calls: GuestCalls,
    pub debug: Debug,
    /// Secret: known after the login.
    pub disks: Vec<DiskRule>,
    /// Secret: known after the login. `None`: there is no shell in the guest.
    pub dbgsh: Option<Dbgsh>,
    /// Secret: known after the login.
    pub networks: Vec<NetworkRule>,
}

/// The part that is known before the login: nothing in it is secret, and nothing proves it before a slot was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Public {
    pub memory: Memory,
    pub boot: Boot,
    pub log: Log,
    pub login: Login,
    pub guest_calls: GuestCalls,
    pub debug: Debug,
}

impl Config {
    /// A copy of the public part.
    #[must_use]
    pub fn public(&self) -> Public {
        Public {
            memory: self.memory.clone(),
            boot: self.boot.clone(),
            log: self.log.clone(),
            login: self.login.clone(),
            guest_calls: self.guest_calls.clone(),
            debug: self.debug.clone(),
        }
    }

    /// Both parts together.
    #[must_use]
    pub fn new(public: Public, disks: Vec<DiskRule>, dbgsh: Option<Dbgsh>, networks: Vec<NetworkRule>) -> Self {
        let Public { memory, boot, log, login, guest_calls, debug } = public;
        Self { memory, boot, log, login, guest_calls, debug, disks, dbgsh, networks }
    }
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

/// I/O port base of the first serial port, as PCs have it.
pub const COM1: u16 = 0x3F8;
/// Of the second one.
pub const COM2: u16 = 0x2F8;
/// Of the third one.
pub const COM3: u16 = 0x3E8;
/// Of the fourth one.
pub const COM4: u16 = 0x2E8;

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Log {
    pub level: Level,
    /// I/O port base of a 16550, 8N1, which is hidden from the guest while it is used; `None`: no serial port.
    /// Default [`COM1`].
    pub serial: Option<u16>,
    /// Speed of the serial port in baud, a divisor of 115200. Default 115200.
    pub speed_baud: u32,
    /// On the screen too, until the guest starts. Default on.
    pub screen: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, serial: Some(COM1), speed_baud: 115_200, screen: true }
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

/// How the pass phrase is asked for, and what it takes to try one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Login {
    pub keyboard: Keyboard,
    /// Wrong pass phrases until `after_failure`, 1 to 10. Default 3.
    pub tries: u8,
    pub after_failure: AfterFailure,
    /// Memory that Argon2id takes for a pass phrase, in MiB. For new slots: each slot keeps its own. Default 256.
    pub memory_mib: u32,
    /// How often Argon2id passes over its memory. For new slots: each slot keeps its own. Default 3.
    pub passes: u32,
}

impl Default for Login {
    fn default() -> Self {
        let (keyboard, after_failure) = Default::default();
        Self { keyboard, tries: 3, after_failure, memory_mib: 256, passes: 3 }
    }
}

/// Layout of the keyboard at the login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Keyboard {
    #[default]
    Us,
    Jp,
    De,
}

/// What follows the last wrong pass phrase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum AfterFailure {
    #[default]
    Reboot,
    PowerOff,
}

/// Which hypercalls answer; all off by default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GuestCalls {
    /// `shoji status`.
    pub status: Callers,
    /// `shoji log`.
    pub log: Callers,
    /// `shoji sh`; needs [`Config::dbgsh`].
    pub shell: Callers,
}

/// Who in the guest may make a hypercall.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum Callers {
    #[default]
    Off,
    /// CPL 0 only.
    Kernel,
    /// Any program.
    Any,
}

/// Aids for developers; all off by default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Debug {
    /// A guest's kernel may ask by hypercall for the exit counters to be logged, and for interrupts.
    pub hypercalls: bool,
    /// With `hypercalls`: it may also provoke defects of Shoji, which stop the machine.
    pub defects: bool,
    /// A line in the log every five seconds.
    pub heartbeat: bool,
}

/// The shell that a program in the guest may open.
#[derive(Serialize, Deserialize)]
pub struct Dbgsh {
    pub key: ShellKey,
}

/// One guarded range of one disk.
#[derive(Serialize, Deserialize)]
pub struct DiskRule {
    /// For messages only.
    pub name: String,
    pub disk: DiskSelector,
    pub range: RangeSelector,
    pub format: Format,
    pub access: Access,
    /// Pass DATA SET MANAGEMENT (TRIM): tells a thief which sectors are unused. Default off.
    pub trim: bool,
}

/// How a range lies on the disk.
#[derive(Serialize, Deserialize)]
pub enum Format {
    /// As the guest sees it: the rule only takes rights away.
    Plain,
    /// Encrypted from its first sector to its last, without a header.
    DmCrypt(DmCrypt),
    /// A LUKS2 volume, of which the guest sees the payload alone. Its key is in its header, which a pass phrase opens at the login.
    Luks2 { header: HeaderSelector },
}

/// Where the header of a LUKS2 volume is.
///
/// In the blob the first two are what `Option<RangeSelector>` was, so the third needed no new format version: a Shoji
/// that does not know it refuses the rule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum HeaderSelector {
    /// At the start of the range.
    #[default]
    InRange,
    /// Detached, on the same disk.
    Range(RangeSelector),
    /// Detached, in a file that the boot loader brings as a module. Its name is on the module's command line, behind
    /// [`HEADER_MODULE`].
    File(String),
}

/// The word on the command line of a module that is a header file begins so; the file's name follows.
pub const HEADER_MODULE: &str = "luks2:";
/// A header file of the name `data` is called `data.luks`.
pub const HEADER_FILE_SUFFIX: &str = ".luks";

/// What is known of a range that has no header.
#[derive(Serialize, Deserialize)]
pub struct DmCrypt {
    pub cipher: Cipher,
    pub key: XtsKey,
    pub check: KeyCheck,
}

impl Format {
    /// AES-XTS with this key.
    #[must_use]
    pub fn dm_crypt(key: XtsKey, check: KeyCheck) -> Self {
        Self::DmCrypt(DmCrypt { cipher: Cipher::AesXtsPlain64, key, check })
    }
}

/// What the guest may do with a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Access {
    #[default]
    ReadWrite,
    /// Writes are answered with the disk's own write-protect error.
    ReadOnly,
}

/// Which disk a rule is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DiskSelector {
    /// As IDENTIFY DEVICE tells it, trimmed; at least one is given, all given must match.
    Identity { model: Option<String>, serial: Option<String> },
    /// IDE channel (0 primary, 1 secondary) and unit (0 master, 1 slave); AHCI port, or NVMe namespace, and 0.
    Position { channel: u32, unit: u32 },
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

/// What opens a shell, [`SHELL_KEY_BYTES`] long: the key of HMAC-SHA256. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ShellKey(pub Vec<u8>);

/// Bytes of a [`ShellKey`].
pub const SHELL_KEY_BYTES: core::ops::RangeInclusive<usize> = 32..=256;

impl Serialize for ShellKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ShellKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl de::Visitor<'_> for KeyVisitor {
            type Value = ShellKey;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a key of 32 to 256 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ShellKey, E> {
                let fits = SHELL_KEY_BYTES.contains(&bytes.len());
                fits.then(|| ShellKey(bytes.to_vec())).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(KeyVisitor)
    }
}
