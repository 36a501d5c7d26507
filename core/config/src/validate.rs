//! What a configuration must keep to, beyond its types. Shared by the command `shoji`, which shows all problems with
//! their place in the TOML file, and by the VMM, which refuses at the first.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::schema::{Access, Boot, Callers, Config, DiskRule, DiskSelector, Format, Log, Login, Memory, Public};
use crate::schema::{HeaderSelector, RangeSelector};
use crate::schema::{SHELL_KEY_BYTES, XtsKey};
use crate::validate_network::check_networks;

/// Greatest number of disk rules.
pub const MAX_DISK_RULES: usize = 64;

/// Greatest length of a name, model or serial number, in bytes.
pub const MAX_TEXT_BYTES: usize = 64;

/// Which rule, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleIndex {
    Disk(usize),
    Network(usize),
}

impl fmt::Display for RuleIndex {
    /// Counted from 1, as people do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(index) => write!(f, "disk rule {}", index.saturating_add(1)),
            Self::Network(index) => write!(f, "network rule {}", index.saturating_add(1)),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// `None`: a setting outside the rules.
    pub rule: Option<RuleIndex>,
    /// Key that sets it in the TOML file, e.g. `memory.reserve`; inside a rule e.g. `range`.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            None => write!(f, "`{}` {}", self.key, self.message),
            Some(rule) => write!(f, "`{}` of {rule} {}", self.key, self.message),
        }
    }
}

/// Everything that is wrong, in the order of the file; empty when the configuration is good.
#[must_use]
pub fn validate(config: &Config) -> Vec<Problem> {
    let mut found = validate_public(&config.public());
    check_dbgsh(config, &mut found);
    check_disks(config, &mut found);
    check_networks(config, &mut found);
    found
}

fn check_disks(config: &Config, found: &mut Vec<Problem>) {
    if config.disks.len() > MAX_DISK_RULES {
        let message = format!("occurs more than {MAX_DISK_RULES} times; remove or join rules");
        found.push(Problem { rule: None, key: "disk", message });
        return;
    }
    for (index, rule) in config.disks.iter().enumerate() {
        let mut report = |key, message| found.push(Problem { rule: Some(RuleIndex::Disk(index)), key, message });
        check_rule(rule, &mut report);
        for (number, earlier) in (1..).zip(config.disks.iter().take(index)) {
            check_pair(rule, earlier, number, &mut report);
        }
    }
}

/// As [`validate`], of the part that is known before the login.
#[must_use]
pub fn validate_public(public: &Public) -> Vec<Problem> {
    let mut found = Vec::new();
    check_memory(&public.memory, &mut found);
    check_boot(&public.boot, &mut found);
    check_log(&public.log, &mut found);
    check_login(&public.login, &mut found);
    found
}

fn check_memory(memory: &Memory, found: &mut Vec<Problem>) {
    let mib = memory.reserve_mib;
    if !(8..=1024).contains(&mib) || !mib.is_multiple_of(2) {
        let message =
            format!("is {mib} MiB but must be an even number of MiB from 8 to 1024; the default is \"16 MiB\"");
        found.push(Problem { rule: None, key: "memory.reserve", message });
    }
}

fn check_boot(boot: &Boot, found: &mut Vec<Problem>) {
    if let Some(drive @ ..0x80) = boot.drive {
        let message =
            format!("is {drive:#04x} but BIOS hard disks count from 0x80; leave it out to start from GRUB's disk");
        found.push(Problem { rule: None, key: "boot.drive", message });
    }
}

/// I/O ports that no serial port has and where writes do harm: disks, the keyboard, the floppy and graphics, PCI
/// configuration.
const TAKEN_PORTS: [core::ops::RangeInclusive<u16>; 5] =
    [0x000..=0x1FF, 0x370..=0x377, 0x3B0..=0x3DF, 0x3F0..=0x3F7, 0xCF8..=0xCFF];

fn check_log(log: &Log, found: &mut Vec<Problem>) {
    if let Some(port) = log.serial
        && (!port.is_multiple_of(8) || TAKEN_PORTS.iter().any(|taken| taken.contains(&port)))
    {
        let message = format!("is {port:#x}, where no serial port is; write e.g. \"COM1\", or \"off\"");
        found.push(Problem { rule: None, key: "log.serial", message });
    }
    let baud = log.speed_baud;
    if !(300..=115_200).contains(&baud) || 115_200_u32.checked_rem(baud) != Some(0) {
        let message = format!("is {baud} baud, which a serial port cannot have; write e.g. 115200, 57600 or 9600");
        found.push(Problem { rule: None, key: "log.speed", message });
    }
}

/// Greatest memory of Argon2id in MiB. The VMM has an end of its own: what the machine has in one piece.
pub const MAX_ARGON2_MIB: u32 = 4096;

/// Greatest number of passes of Argon2id.
pub const MAX_ARGON2_PASSES: u32 = 16;

/// Greatest product of the two: what a pass phrase may take to try, about a minute.
pub const MAX_ARGON2_MIB_PASSED: u32 = 16384;

fn check_login(login: &Login, found: &mut Vec<Problem>) {
    let mut report = |key, message| found.push(Problem { rule: None, key, message });
    if !(1..=10).contains(&login.tries) {
        report("login.tries", format!("is {} but must be from 1 to 10; the default is 3", login.tries));
    }
    if let Some((key, message)) = cost_problem(login.memory_mib, login.passes) {
        report(key, message);
    }
}

/// What is wrong with the cost of a pass phrase.
pub fn cost_problem(mib: u32, passes: u32) -> Option<(&'static str, String)> {
    if !(1..=MAX_ARGON2_MIB).contains(&mib) {
        let message = format!("is {mib} MiB but must be from 1 MiB to 4 GiB; the default is \"256 MiB\"");
        return Some(("login.memory", message));
    }
    if !(1..=MAX_ARGON2_PASSES).contains(&passes) {
        let message = format!("is {passes} but must be from 1 to {MAX_ARGON2_PASSES}; the default is 3");
        return Some(("login.passes", message));
    }
    (mib.saturating_mul(passes) > MAX_ARGON2_MIB_PASSED).then(|| {
        let message = format!("is {passes}, too many for {mib} MiB: each try would take minutes; lower one of the two");
        ("login.passes", message)
    })
}

fn check_dbgsh(config: &Config, found: &mut Vec<Problem>) {
    let mut report = |key, message| found.push(Problem { rule: None, key, message });
    match &config.dbgsh {
        None if config.guest_calls.shell != Callers::Off => report(
            "guest-calls.shell",
            "is on but nothing says who may use it; add `[dbgsh]` with `key-file = \"dbgsh.key\"`".to_string(),
        ),
        Some(dbgsh) if !SHELL_KEY_BYTES.contains(&dbgsh.key.0.len()) => {
            let len = dbgsh.key.0.len();
            report("dbgsh.key", format!("has {len} bytes but must have 32 to 256; make it with `shoji key new FILE`"));
        }
        _ => {}
    }
}

fn check_rule(rule: &DiskRule, report: &mut impl FnMut(&'static str, String)) {
    if let Err(why) = check_text(&rule.name) {
        report("name", format!("{why}; give the rule a short name, which the log will show"));
    }
    check_disk(&rule.disk, report);
    check_range(&rule.range, RANGE, report);
    if rule.trim && rule.access == Access::ReadOnly {
        report("trim", "has no effect where `access` is `\"read-only\"`; remove one of them".to_string());
    }
    match &rule.format {
        Format::Plain if rule.access == Access::ReadWrite => report(
            "format",
            "is `plain` and the guest may read and write, so the rule does nothing; add `access = \"read-only\"`"
                .to_string(),
        ),
        Format::DmCrypt(format) if halves_are_equal(&format.key) => report(
            "key",
            "has two equal halves, which makes AES-XTS weak; make a new key with `shoji key new FILE`".to_string(),
        ),
        Format::Luks2 { header: HeaderSelector::Range(header) } => {
            check_range(header, HEADER, report);
            if overlap(header, &rule.range) {
                let message = "is in `range` itself; leave it out where the header is at the start of the range";
                report("header", message.to_string());
            }
        }
        Format::Luks2 { header: HeaderSelector::File(name) } => {
            if let Err(why) = check_file_name(name) {
                report("header.file", format!("{why}; write e.g. \"data\" for the file data.luks"));
            }
        }
        _ => {}
    }
}

fn check_disk(disk: &DiskSelector, report: &mut impl FnMut(&'static str, String)) {
    match disk {
        DiskSelector::Identity { model: None, serial: None } => {
            report(
                "disk",
                "names neither model nor serial; give at least one of them, or channel and unit".to_string(),
            );
        }
        DiskSelector::Identity { model, serial } => {
            for (key, text) in [("disk.model", model), ("disk.serial", serial)] {
                if let Some(Err(why)) = text.as_deref().map(check_text) {
                    report(key, format!("{why}; write it as the drive tells it, or leave it out"));
                }
            }
        }
        // A channel is also the port of an AHCI controller, or the namespace of an NVMe drive.
        DiskSelector::Position { unit, .. } => {
            if *unit > 1 {
                report("disk.unit", format!("is {unit} but must be 0 (master) or 1 (slave)"));
            }
        }
    }
}

/// The keys of a range: `partition`, `guid`, `sectors`.
type RangeKeys = [&'static str; 3];
const RANGE: RangeKeys = ["range.partition", "range.guid", "range.sectors"];
const HEADER: RangeKeys = ["header.partition", "header.guid", "header.sectors"];

fn check_range(
    range: &RangeSelector,
    [partition, guid, sectors]: RangeKeys,
    report: &mut impl FnMut(&'static str, String),
) {
    match range {
        RangeSelector::Partition(0) => {
            report(
                partition,
                "is 0 but partitions count from 1; write the number that the partition tool shows".to_string(),
            );
        }
        RangeSelector::PartitionGuid(number) if *number == [0; 16] => report(
            guid,
            "is all zeros, which marks an unused entry; copy the unique GUID of the partition, e.g. from `blkid`"
                .to_string(),
        ),
        RangeSelector::Lba { sectors: 0, .. } => {
            report(sectors, "is 0; write how many sectors the range has".to_string());
        }
        RangeSelector::Lba { first, sectors: count } if first.checked_add(*count).is_none() => {
            report(sectors, format!("is {count}, which from sector {first} on ends beyond any disk; correct it"));
        }
        _ => {}
    }
}

/// `rule` against one before it, whose number (from 1 on) is `number`.
fn check_pair(rule: &DiskRule, earlier: &DiskRule, number: usize, report: &mut impl FnMut(&'static str, String)) {
    if rule.name == earlier.name {
        report("name", format!("is that of disk rule {number} too; names must differ, so that the log is clear"));
    }
    if header_file(rule).is_some() && header_file(rule) == header_file(earlier) {
        report("header.file", format!("is that of disk rule {number} too; each volume has a header of its own"));
    }
    if rule.disk != earlier.disk {
        return;
    }
    let shared = format!("shares sectors with disk rule {number} on the same disk; remove one of the rules");
    if taken(earlier).any(|other| overlap(&rule.range, other)) {
        report("range", shared);
    } else if taken(rule).skip(1).any(|header| taken(earlier).any(|other| overlap(header, other))) {
        report("header", shared);
    }
}

/// The range of a rule, and its detached header.
fn taken(rule: &DiskRule) -> impl Iterator<Item = &RangeSelector> {
    let header = match &rule.format {
        Format::Luks2 { header: HeaderSelector::Range(header) } => Some(header),
        Format::Luks2 { .. } | Format::Plain | Format::DmCrypt(_) => None,
    };
    core::iter::once(&rule.range).chain(header)
}

fn header_file(rule: &DiskRule) -> Option<&str> {
    match &rule.format {
        Format::Luks2 { header: HeaderSelector::File(name) } => Some(name),
        _ => None,
    }
}

/// As far as it can be told without the disk: a partition may still overlap an LBA range, which the VMM sees later.
fn overlap(a: &RangeSelector, b: &RangeSelector) -> bool {
    match (a, b) {
        (RangeSelector::Lba { first: a, sectors: a_len }, RangeSelector::Lba { first: b, sectors: b_len }) => {
            *a < b.saturating_add(*b_len) && *b < a.saturating_add(*a_len)
        }
        _ => a == b,
    }
}

/// Text that can be compared with IDENTIFY data and shown in a log: printable ASCII, trimmed, bounded.
pub fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_string());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("has {} bytes but at most {MAX_TEXT_BYTES} are allowed", text.len()));
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("holds characters other than printable ASCII".to_string());
    }
    if text.trim() != text {
        return Err("begins or ends with a space".to_string());
    }
    Ok(())
}

/// The name of a header file: a word that means the same to the shell, to GRUB and on a module's command line.
pub fn check_file_name(name: &str) -> Result<(), String> {
    check_text(name)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte)) {
        return Err("holds characters other than letters, digits and . _ + -".to_string());
    }
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err("does not begin with a letter or a digit".to_string());
    }
    Ok(())
}

/// FIPS 140-3 Implementation Guidance C.I requires the data and the tweak key to differ.
fn halves_are_equal(key: &XtsKey) -> bool {
    let (data, tweak) = key.0.split_at(32);
    data == tweak
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
