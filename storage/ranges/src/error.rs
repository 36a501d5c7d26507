//! Why rules and disks do not fit together, in sentences.

use crate::partitions::TableError;
use alloc::string::String;
use core::fmt;

/// A rule that cannot be applied. Nothing has been written, and no guest may be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolveError {
    /// Name of the rule.
    pub rule: String,
    pub problem: Problem,
}

/// What is wrong with a rule. The strings describe what was wanted or found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    NoDisk {
        wanted: String,
        found: String,
    },
    SeveralDisks {
        wanted: String,
        found: String,
    },
    /// Bytes per sector of the disk.
    SectorBytes(u32),
    Table(TableError),
    NoPartition {
        wanted: String,
        found: String,
    },
    SeveralPartitions {
        wanted: String,
        found: String,
    },
    Outside {
        first: u64,
        sectors: u64,
        disk_sectors: u64,
    },
    Overlap {
        other: String,
    },
    /// The detached header.
    HeaderInRange,
    /// The boot loader has not brought the header file of this name.
    NoHeaderFile(String),
    Key(String),
    Read(TableError),
    WrongKey,
    /// There is no header that can be used.
    Header(String),
    /// The volume asks for something that Shoji does not have, or does not open.
    Volume(String),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk rule `{}`: {}", self.rule, self.problem)
    }
}

impl core::error::Error for ResolveError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDisk { wanted, found } => {
                write!(f, "there is no disk with {wanted}; found: {found}; correct `disk` in the configuration")
            }
            Self::SeveralDisks { wanted, found } => write!(
                f,
                "several disks have {wanted}: {found}; give model and serial number, both, in `disk`; where these are the same, `channel` and `unit` instead"
            ),
            Self::SectorBytes(n) => write!(f, "disks with sectors of {n} bytes are not supported; choose another disk"),
            Self::Table(e @ TableError::Read { .. }) => write!(f, "{e}; check the disk and its cable"),
            Self::Table(e) => write!(f, "{e}; repair the table, or give the range as `first-lba` and `sectors`"),
            Self::NoPartition { wanted, found } => {
                write!(f, "the disk has no {wanted}; found: {found}; correct the range in the configuration")
            }
            Self::SeveralPartitions { wanted, found } => {
                write!(f, "the disk has more than one {wanted}; found: {found}; give the partition's number instead")
            }
            Self::Outside { first, sectors, disk_sectors } => write!(
                f,
                "{sectors} sectors from LBA {first} on do not lie on the disk, which has {disk_sectors} sectors; \
                 correct the range in the configuration or the partition table"
            ),
            Self::Overlap { other } => {
                write!(f, "its range overlaps that of disk rule `{other}`; remove one of them or make them disjoint")
            }
            Self::HeaderInRange => f.write_str(
                "its detached header lies in its own range; correct `header`, or leave it out where the header is at the start of the range",
            ),
            Self::NoHeaderFile(name) => {
                let (mark, suffix) = (config::HEADER_MODULE, config::HEADER_FILE_SUFFIX);
                write!(
                    f,
                    "its header file `{name}` was not loaded; put it beside the configuration and add a line \
                     `module2 /boot/shoji/{name}{suffix} {mark}{name}` after that of the configuration in the GRUB entry, \
                     as `shoji grub-entry` does"
                )
            }
            Self::Key(reason) => write!(f, "its key cannot be used: {reason}"),
            Self::Read(e) => write!(f, "the key cannot be checked: {e}; check the disk and its cable"),
            Self::Header(why) => write!(f, "its LUKS2 header cannot be used: {why}"),
            Self::Volume(why) => write!(f, "its LUKS2 volume cannot be used: {why}"),
            Self::WrongKey => f.write_str(
                "the key does not open the range: decrypted with it, the range holds no file system that Shoji knows; \
                 nothing has been written; check the key and the range, or set `check = \"none\"` if the range is \
                 still blank",
            ),
        }
    }
}
