//! From the rules of the configuration to one range table per disk.

use crate::error::{Problem, ResolveError};
use crate::partitions::{Disk, Partition, PartitionTable, TableError, read_partitions};
use crate::signature::{PIECE_BYTES, SECOND_AT, recognise};
use crate::table::{Cipher, Range, RangeError, RangeTable};
use crate::volume::{self, HeaderPlace, HeaderSource, Wishes};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use config::{Access, DiskRule, DiskSelector, DmCrypt, Format, HeaderSelector, KeyCheck, RangeSelector};
use luks2::{Header, VolumeKey};
use mediator::disk::{DiskError, DiskInfo, Rights, SectorTransform};

/// What resolving needs of the machine.
pub trait Machine {
    /// Reads whole sectors of a disk (index into the list given to [`resolve`]) from an LBA on.
    ///
    /// # Errors
    /// As [`mediator::disk::DiskController::read_before_guest`].
    fn read(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError>;

    /// Makes the transform `aes-xts-plain64` from a key; `sector_bytes` are those of a crypto sector.
    ///
    /// # Errors
    /// Why the key cannot be used.
    fn transform(&mut self, key: &[u8; 64], sector_bytes: usize) -> Result<Arc<dyn SectorTransform>, String>;

    /// Has the boot loader brought the header file of this name?
    fn has_header_file(&self, name: &str) -> bool;

    /// Reads from a header file, as [`luks2::ReadAt`] wants it.
    ///
    /// # Errors
    /// Why it cannot, in words.
    fn read_header_file(&mut self, name: &str, at_bytes: u64, data: &mut [u8]) -> Result<(), String>;

    /// Opens the LUKS2 volume of a rule; the header was read from `source`.
    ///
    /// # Errors
    /// Why it does not open, and what to do.
    fn unlock(&mut self, rule: &str, source: HeaderSource<'_>, header: &Header) -> Result<VolumeKey, String>;
}

/// A disk with at least one protected range.
pub struct DiskRanges {
    /// Index into the list of disks.
    pub disk: usize,
    pub ranges: RangeTable,
    /// One line per rule, for the log.
    pub notes: Vec<String>,
    /// Those that the ranges come from.
    pub rules: Vec<Applied>,
}

/// A rule, and where it was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    pub name: String,
    /// In the words of the configuration, e.g. `aes-xts-plain64, read-only`.
    pub protection: String,
    pub first_lba: u64,
    pub sectors: u64,
}

/// A rule that found its range.
struct Match<'a> {
    rule: &'a DiskRule,
    disk: usize,
    first_lba: u64,
    sectors: u64,
    /// At least one.
    ranges: Vec<Range>,
    note: String,
}

impl Match<'_> {
    fn applied(&self) -> Applied {
        let how = match self.rule.format {
            Format::Plain => "plain",
            Format::DmCrypt(_) => luks2::CIPHER,
            Format::Luks2 { .. } => "luks2 aes-xts-plain64",
        };
        let access = match self.rule.access {
            Access::ReadWrite => "",
            Access::ReadOnly => ", read-only",
        };
        let (name, protection) = (self.rule.name.clone(), format!("{how}{access}"));
        Applied { name, protection, first_lba: self.first_lba, sectors: self.sectors }
    }
}

/// Finds disk and range of every rule and checks the keys, reading only. `disks` are those of all controllers; the ones
/// without rules are not in the result.
///
/// # Errors
/// The first rule that cannot be applied, and why. No rule is ever left out silently.
pub fn resolve(
    rules: &[DiskRule],
    disks: &[DiskInfo],
    machine: &mut dyn Machine,
) -> Result<Vec<DiskRanges>, ResolveError> {
    let refused = |rule: &DiskRule, problem| ResolveError { rule: rule.name.clone(), problem };
    // Before anybody is asked for a pass phrase.
    for rule in rules {
        find_header_file(rule, machine).map_err(|problem| refused(rule, problem))?;
    }
    let mut matches = Vec::new();
    for rule in rules {
        matches.push(find(rule, disks, machine).map_err(|problem| refused(rule, problem))?);
    }
    let mut result = Vec::new();
    for (disk, info) in disks.iter().enumerate() {
        let own: Vec<&Match<'_>> = matches.iter().filter(|found| found.disk == disk).collect();
        if !own.is_empty() {
            let ranges = range_table(&own, info)?;
            let notes = own.iter().map(|found| found.note.clone()).collect();
            result.push(DiskRanges { disk, ranges, notes, rules: own.iter().map(|found| found.applied()).collect() });
        }
    }
    Ok(result)
}

/// The table of one disk. What is wrong with the ranges is told of the rules that they come from.
fn range_table(own: &[&Match<'_>], info: &DiskInfo) -> Result<RangeTable, ResolveError> {
    let all = || own.iter().flat_map(|found| found.ranges.iter().map(|range| (found.rule.name.as_str(), range)));
    let name = |i: usize| all().nth(i).map(|(name, _)| name.to_string()).unwrap_or_default();
    let ranges = all().map(|(_, range)| range.clone()).collect();
    RangeTable::new(ranges, info.sector_bytes as usize).map_err(|e| match e {
        RangeError::Overlap(a, b) => ResolveError { rule: name(b), problem: Problem::Overlap { other: name(a) } },
        // `find` has looked at each range alone; kept as an error all the same.
        RangeError::Extent(i) | RangeError::SectorBytes(i) => {
            ResolveError { rule: name(i), problem: Problem::SectorBytes(info.sector_bytes) }
        }
    })
}

fn find_header_file(rule: &DiskRule, machine: &dyn Machine) -> Result<(), Problem> {
    match &rule.format {
        Format::Luks2 { header: HeaderSelector::File(name) } if !machine.has_header_file(name) => {
            Err(Problem::NoHeaderFile(name.clone()))
        }
        _ => Ok(()),
    }
}

fn find<'a>(rule: &'a DiskRule, disks: &[DiskInfo], machine: &mut dyn Machine) -> Result<Match<'a>, Problem> {
    let (disk, info) = find_disk(&rule.disk, disks)?;
    if !(512..=4096).contains(&info.sector_bytes) || !info.sector_bytes.is_power_of_two() {
        return Err(Problem::SectorBytes(info.sector_bytes));
    }
    let (first_lba, sectors) = on_disk(&rule.range, disk, info, machine)?;
    let rights = match rule.access {
        Access::ReadWrite => Rights::ReadWrite,
        Access::ReadOnly => Rights::ReadOnly,
    };
    let whole = |cipher| Range { first_lba, sectors, disk_lba: first_lba, cipher, rights, trim: rule.trim };
    let (ranges, holds) = match &rule.format {
        Format::Plain => (vec![whole(None)], "not encrypted".to_string()),
        Format::DmCrypt(format) => {
            let transform = machine.transform(&format.key.0, DM_CRYPT_SECTOR_BYTES).map_err(Problem::Key)?;
            let range = whole(Some(Cipher { transform, first_tweak: 0 }));
            let holds = contents(format, &range, disk, info, machine)?;
            (vec![range], holds.to_string())
        }
        Format::Luks2 { header } => {
            let sector_bytes = info.sector_bytes;
            let on_this = |(first_lba, sectors)| HeaderPlace { disk, first_lba, sectors, sector_bytes };
            let source = match header {
                HeaderSelector::InRange => HeaderSource::Disk(on_this((first_lba, sectors))),
                HeaderSelector::Range(range) => {
                    let place = on_this(on_disk(range, disk, info, machine)?);
                    if place.overlaps(first_lba, sectors) {
                        return Err(Problem::HeaderInRange);
                    }
                    HeaderSource::Disk(place)
                }
                HeaderSelector::File(name) => HeaderSource::File(name),
            };
            let is_detached = *header != HeaderSelector::InRange;
            let wishes = Wishes { name: &rule.name, rights, trim: rule.trim };
            let partition = volume::Partition { first_lba, sectors, sector_bytes };
            volume::ranges(&partition, source, is_detached, &wishes, machine)?
        }
    };
    let access = if rights == Rights::ReadOnly { ", read-only" } else { "" };
    let note = format!(
        "disk rule `{}`: {}, {sectors} sectors from LBA {first_lba}: {holds}{access}",
        rule.name,
        describe(info)
    );
    Ok(Match { rule, disk, first_lba, sectors, ranges, note })
}

/// The unit that dm-crypt without a header numbers, whatever the disk's own sectors are (`plain64`).
const DM_CRYPT_SECTOR_BYTES: usize = 512;

/// What a range without a header holds, as the rule wants to know it.
fn contents(
    format: &DmCrypt,
    range: &Range,
    disk: usize,
    info: &DiskInfo,
    machine: &mut dyn Machine,
) -> Result<&'static str, Problem> {
    let mut read = |lba, data: &mut [u8]| machine.read(disk, lba, data);
    let mut device = Disk { sectors: info.sectors, sector_bytes: info.sector_bytes as usize, read: &mut read };
    match format.check {
        KeyCheck::Signature => check_key(range, &mut device),
        KeyCheck::None => Ok("contents not checked"),
    }
}

/// First LBA and number of sectors of a range that lies on the disk.
fn on_disk(
    selector: &RangeSelector,
    disk: usize,
    info: &DiskInfo,
    machine: &mut dyn Machine,
) -> Result<(u64, u64), Problem> {
    let mut read = |lba, data: &mut [u8]| machine.read(disk, lba, data);
    let mut device = Disk { sectors: info.sectors, sector_bytes: info.sector_bytes as usize, read: &mut read };
    let (first, sectors) = find_range(selector, &mut device)?;
    if sectors == 0 || first.checked_add(sectors).is_none_or(|end| end > info.sectors) {
        return Err(Problem::Outside { first, sectors, disk_sectors: info.sectors });
    }
    Ok((first, sectors))
}

fn find_disk<'a>(selector: &DiskSelector, disks: &'a [DiskInfo]) -> Result<(usize, &'a DiskInfo), Problem> {
    let fits = |info: &DiskInfo| match selector {
        DiskSelector::Identity { model: None, serial: None } => false,
        DiskSelector::Identity { model, serial } => {
            model.as_ref().is_none_or(|model| *model == info.model)
                && serial.as_ref().is_none_or(|serial| *serial == info.serial)
        }
        DiskSelector::Position { channel, unit } => (*channel, *unit) == (info.channel, info.unit),
    };
    let mut found = disks.iter().enumerate().filter(|(_, info)| fits(info));
    match (found.next(), found.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(Problem::NoDisk { wanted: wanted_disk(selector), found: list(disks, describe) }),
        (Some(_), Some(_)) => {
            let fitting: Vec<_> = disks.iter().filter(|info| fits(info)).collect();
            Err(Problem::SeveralDisks { wanted: wanted_disk(selector), found: list(&fitting, |info| describe(info)) })
        }
    }
}

/// First LBA and number of sectors, as the rule or the partition table has them.
fn find_range(selector: &RangeSelector, disk: &mut Disk<'_>) -> Result<(u64, u64), Problem> {
    let (wanted, fits): (_, &dyn Fn(&Partition) -> bool) = match selector {
        RangeSelector::Lba { first, sectors } => return Ok((*first, *sectors)),
        RangeSelector::Partition(number) => (format!("partition {number}"), &|p| p.number == *number),
        RangeSelector::PartitionGuid(guid) => (format!("partition {}", guid_text(guid)), &|p| p.guid == Some(*guid)),
    };
    let table = read_partitions(disk).map_err(Problem::Table)?;
    let mut found = table.partitions.iter().filter(|partition| fits(partition));
    match (found.next(), found.next()) {
        (Some(partition), None) => Ok((partition.first_lba, partition.sectors)),
        (None, _) => Err(Problem::NoPartition { wanted, found: describe_table(&table) }),
        (Some(_), Some(_)) => Err(Problem::SeveralPartitions { wanted, found: describe_table(&table) }),
    }
}

/// What the range holds when it is decrypted.
fn check_key(range: &Range, disk: &mut Disk<'_>) -> Result<&'static str, Problem> {
    let first = decrypted(range, disk, 0).map_err(Problem::Read)?;
    let second = decrypted(range, disk, SECOND_AT).map_err(Problem::Read)?;
    recognise(&first, &second).ok_or(Problem::WrongKey)
}

/// Up to [`PIECE_BYTES`] of the range from a multiple of that on, decrypted.
fn decrypted(range: &Range, disk: &mut Disk<'_>, at_bytes: u64) -> Result<Vec<u8>, TableError> {
    let skip = at_bytes.checked_div(disk.sector_bytes as u64).unwrap_or(0);
    let whole = PIECE_BYTES.checked_div(disk.sector_bytes).unwrap_or(0);
    let sectors = range.sectors.saturating_sub(skip).min(whole as u64) as usize;
    let lba = range.first_lba.saturating_add(skip);
    let mut data = disk.read(lba, sectors.saturating_mul(disk.sector_bytes))?;
    if let Some(Cipher { transform, .. }) = &range.cipher {
        let tweak = at_bytes.checked_div(transform.sector_bytes() as u64).unwrap_or(0);
        transform.decrypt(tweak, &mut data);
    }
    Ok(data)
}

fn wanted_disk(selector: &DiskSelector) -> String {
    match selector {
        DiskSelector::Identity { model: Some(model), serial: Some(serial) } => {
            format!("model `{model}` and serial number `{serial}`")
        }
        DiskSelector::Identity { model: Some(model), serial: None } => format!("model `{model}`"),
        DiskSelector::Identity { model: None, serial: Some(serial) } => format!("serial number `{serial}`"),
        DiskSelector::Identity { model: None, serial: None } => "neither model nor serial number".to_string(),
        DiskSelector::Position { channel, unit } => format!("channel {channel}, unit {unit}"),
    }
}

fn describe(info: &DiskInfo) -> String {
    format!("`{}` serial `{}` (channel {}, unit {})", info.model, info.serial, info.channel, info.unit)
}

fn describe_table(table: &PartitionTable) -> String {
    let partitions = list(&table.partitions, |p| match p.guid {
        Some(guid) => format!("{} ({})", p.number, guid_text(&guid)),
        None => p.number.to_string(),
    });
    format!("{} with partitions {partitions}", table.scheme)
}

/// "a, b, c", or "none"; cut short, for a log line has an end.
fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    const SHOWN: usize = 16;
    if items.is_empty() {
        return "none".to_string();
    }
    let mut all = items.iter().take(SHOWN).map(text).collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        all.push_str(", ...");
    }
    all
}

/// A GUID as people write it: the first three fields are little-endian (UEFI Specification 2.10, appendix A).
fn guid_text(guid: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, i, j, rest @ ..] = guid;
    let node: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{i:02x}{j:02x}-{node}")
}
