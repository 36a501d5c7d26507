//! From the rules of the configuration to one range table per disk.

use crate::error::{Problem, ResolveError};
use crate::partitions::{Disk, Partition, PartitionTable, TableError, read_partitions};
use crate::signature::{PIECE_BYTES, SECOND_AT, recognise};
use crate::table::{Range, RangeError, RangeTable};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use config::{Cipher, DiskRule, DiskSelector, KeyCheck, RangeSelector};
use mediator::disk::{DiskError, DiskInfo, SectorTransform};

/// What resolving needs of the machine.
pub trait Machine {
    /// Reads whole sectors of a disk (index into the list given to [`resolve`]) from an LBA on.
    ///
    /// # Errors
    /// As [`mediator::disk::DiskController::read_before_guest`].
    fn read(&mut self, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError>;

    /// Makes the transform of a rule from its cipher and key.
    ///
    /// # Errors
    /// Why the key cannot be used.
    fn transform(&mut self, rule: &DiskRule) -> Result<Arc<dyn SectorTransform>, String>;
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
    pub cipher: Cipher,
    pub first_lba: u64,
    pub sectors: u64,
}

/// A rule that found its range.
struct Match<'a> {
    rule: &'a DiskRule,
    disk: usize,
    range: Range,
    note: String,
}

impl Match<'_> {
    fn applied(&self) -> Applied {
        let Range { first_lba, sectors, .. } = self.range;
        Applied { name: self.rule.name.clone(), cipher: self.rule.cipher, first_lba, sectors }
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
    let mut matches = Vec::new();
    for rule in rules {
        matches.push(find(rule, disks, machine).map_err(|problem| ResolveError { rule: rule.name.clone(), problem })?);
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
    let name = |i: usize| own.get(i).map(|found| found.rule.name.clone()).unwrap_or_default();
    let ranges = own.iter().map(|found| found.range.clone()).collect();
    RangeTable::new(ranges, info.sector_bytes as usize).map_err(|e| match e {
        RangeError::Overlap(a, b) => ResolveError { rule: name(b), problem: Problem::Overlap { other: name(a) } },
        // `find` has looked at each range alone; kept as an error all the same.
        RangeError::Extent(i) | RangeError::SectorBytes(i) => {
            ResolveError { rule: name(i), problem: Problem::SectorBytes(info.sector_bytes) }
        }
    })
}

fn find<'a>(rule: &'a DiskRule, disks: &[DiskInfo], machine: &mut dyn Machine) -> Result<Match<'a>, Problem> {
    let (disk, info) = find_disk(&rule.disk, disks)?;
    let transform = machine.transform(rule).map_err(Problem::Key)?;
    let mut read = |lba, data: &mut [u8]| machine.read(disk, lba, data);
    if !(512..=4096).contains(&info.sector_bytes) || !info.sector_bytes.is_power_of_two() {
        return Err(Problem::SectorBytes(info.sector_bytes));
    }
    let mut device = Disk { sectors: info.sectors, sector_bytes: info.sector_bytes as usize, read: &mut read };
    let (first_lba, sectors) = find_range(&rule.range, &mut device)?;
    if sectors == 0 || first_lba.checked_add(sectors).is_none_or(|end| end > info.sectors) {
        return Err(Problem::Outside { first: first_lba, sectors, disk_sectors: info.sectors });
    }
    let range = Range { first_lba, sectors, transform, trim: rule.trim };
    let holds = match rule.check {
        KeyCheck::Signature => check_key(&range, &mut device)?,
        KeyCheck::None => "contents not checked",
    };
    let note =
        format!("disk rule `{}`: {}, {sectors} sectors from LBA {first_lba}: {holds}", rule.name, describe(info));
    Ok(Match { rule, disk, range, note })
}

fn find_disk<'a>(selector: &DiskSelector, disks: &'a [DiskInfo]) -> Result<(usize, &'a DiskInfo), Problem> {
    let fits = |info: &DiskInfo| match selector {
        DiskSelector::Identity { model: None, serial: None } => false,
        DiskSelector::Identity { model, serial } => {
            model.as_ref().is_none_or(|model| *model == info.model)
                && serial.as_ref().is_none_or(|serial| *serial == info.serial)
        }
        DiskSelector::Position { channel, unit } => {
            (u32::from(*channel), u32::from(*unit)) == (info.channel, info.unit)
        }
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
    let tweak = at_bytes.checked_div(range.transform.sector_bytes() as u64).unwrap_or(0);
    range.transform.decrypt(tweak, &mut data);
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
