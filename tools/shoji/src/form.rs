//! The TOML form of the configuration -> the schema shared with the VMM.
//!
//! The tables are taken apart by hand, not by serde, because serde ends at the first error and forgets where the
//! others are.

use std::ops::RangeInclusive;
use std::path::Path;

use config::{
    Access, Boot, Config, Dbgsh, Debug, DiskRule, DiskSelector, DmCrypt, Format, GuestCalls, HeaderSelector, Log,
    Login, Memory, RangeSelector, RuleIndex,
};
use config::{SHELL_KEY_BYTES, ShellKey, XtsKey, validate};
use toml::de::DeTable;
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{self, XTS_KEY_BYTES};
use crate::network;
use crate::report::{Report, Severity};
use crate::table::{Notes, Table};
use crate::words::{ACCESS, AFTER_FAILURE, CALLERS, CHECK, CIPHER, FORMAT, Form, KEYBOARD, LEVEL, ON_FAILURE, SERIAL};

/// Reads the TOML form. `file` is where the text comes from: key files are named relative to it. The configuration is
/// there when the report has no errors.
pub fn read(text: &str, file: &Path) -> (Option<Config>, Report) {
    let notes = Notes::new(text);
    let config = match DeTable::parse_recoverable(text) {
        (table, errors) if errors.is_empty() => {
            let root = Table::new(&notes, String::new(), 0..0, table.into_inner());
            Some(read_root(root, file, &notes))
        }
        (_, errors) => {
            for error in errors {
                let span = error.span().unwrap_or_default();
                // Only here the span is a name; elsewhere it may be the value of a key.
                let name = Some(&text[span.clone()]).filter(|_| error.message() == "duplicate key");
                let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
                notes.add(
                    Severity::Error,
                    &span,
                    "",
                    format!("{}{name}; correct the TOML syntax here (text stands in double quotes)", error.message()),
                );
            }
            None
        }
    };
    let report = notes.into_report();
    (config.filter(|_| !report.has_errors()), report)
}

fn read_root(mut root: Table<'_, '_>, file: &Path, notes: &Notes<'_>) -> Config {
    let memory = root.table("memory", "[memory]").map(read_memory).unwrap_or_default();
    let boot = root.table("boot", "[boot]").map(read_boot).unwrap_or_default();
    let log = root.table("log", "[log]").map(read_log).unwrap_or_default();
    let login = root.table("login", "[login]").map(read_login).unwrap_or_default();
    let guest_calls = root.table("guest-calls", "[guest-calls]").map(read_guest_calls).unwrap_or_default();
    let debug = root.table("debug", "[debug]").map(read_debug).unwrap_or_default();
    let has_dbgsh = root.has("dbgsh");
    let dbgsh = root.table("dbgsh", "[dbgsh]").and_then(|table| read_dbgsh(table, file));
    if !root.has("disk") && !root.has("network") {
        let message = "there is no `[[disk]]`, so Shoji will encrypt nothing; add a rule for each range to protect";
        notes.add(Severity::Warning, &(0..0), "disk", message.into());
    }
    let (rules, cards) = (root.tables("disk"), root.tables("network"));
    root.finish();
    let (paths, disks) = read_rules(rules, |table| read_rule(table, file));
    let (cards, networks) = read_rules(cards, |table| network::read_rule(table, file));
    let config = Config { memory, boot, log, login, guest_calls, debug, disks, dbgsh, networks };
    for problem in validate(&config) {
        // A key file that cannot be read has been reported.
        if problem.key == "guest-calls.shell" && has_dbgsh {
            continue;
        }
        let rule = match problem.rule {
            Some(RuleIndex::Disk(index)) => format!("{}.", paths[index]),
            Some(RuleIndex::Network(index)) => format!("{}.", cards[index]),
            None => String::new(),
        };
        let message = format!("`{}` {}", problem.key, problem.message);
        notes.add_at(Severity::Error, &format!("{rule}{}", problem.key), message);
    }
    config
}

/// Paths and rules. A rule that cannot be read has been reported, and the others keep the path that they have in the file.
fn read_rules<'n, 't, T>(
    tables: Vec<Table<'n, 't>>,
    read: impl Fn(Table<'n, 't>) -> Option<T>,
) -> (Vec<String>, Vec<T>) {
    let with_path = |table: Table<'n, 't>| {
        let path = table.path.clone();
        read(table).map(|rule| (path, rule))
    };
    tables.into_iter().filter_map(with_path).unzip()
}

fn read_memory(mut table: Table<'_, '_>) -> Memory {
    const EXAMPLE: &str = "reserve = \"16 MiB\"";
    let mut memory = Memory::default();
    memory.reserve_mib = read_size(&mut table, "reserve", EXAMPLE).unwrap_or(memory.reserve_mib);
    table.finish();
    memory
}

/// A size in MiB.
fn read_size(table: &mut Table<'_, '_>, key: &'static str, example: &str) -> Option<u32> {
    let mib = mebibytes(&table.text(key, example)?);
    if mib.is_none() {
        table.error(key, format!("`{key}` is no size in MiB or GiB; write e.g. `{example}`"));
    }
    mib
}

/// `16 MiB`, `1 GiB`.
pub fn mebibytes(text: &str) -> Option<u32> {
    let (number, unit) = text.trim().split_at(text.trim().find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim_start() {
        "MiB" => 1,
        "GiB" => 1024,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(factor)
}

fn read_boot(mut table: Table<'_, '_>) -> Boot {
    let drive = table.number("drive", "drive = 0x80");
    let on_failure = table.choice("on-failure", ON_FAILURE).unwrap_or_default();
    table.finish();
    Boot { drive, on_failure }
}

fn read_log(mut table: Table<'_, '_>) -> Log {
    let mut log = Log::default();
    log.level = table.choice("level", LEVEL).unwrap_or(log.level);
    if table.is_number("serial") {
        log.serial = table.number("serial", "serial = 0x2f8").or(log.serial);
    } else {
        log.serial = table.choice("serial", SERIAL).unwrap_or(log.serial);
    }
    log.speed_baud = table.number("speed", "speed = 115200").unwrap_or(log.speed_baud);
    log.screen = table.flag("screen").unwrap_or(log.screen);
    table.finish();
    log
}

/// OWASP's least for Argon2id is 19 MiB with two passes.
const CHEAP_MIB: u32 = 32;

fn read_login(mut table: Table<'_, '_>) -> Login {
    let mut login = Login::default();
    login.keyboard = table.choice("keyboard", KEYBOARD).unwrap_or(login.keyboard);
    login.tries = table.number("tries", "tries = 3").unwrap_or(login.tries);
    login.after_failure = table.choice("after-failure", AFTER_FAILURE).unwrap_or(login.after_failure);
    login.memory_mib = read_size(&mut table, "memory", "memory = \"256 MiB\"").unwrap_or(login.memory_mib);
    login.passes = table.number("passes", "passes = 3").unwrap_or(login.passes);
    if (1..CHEAP_MIB).contains(&login.memory_mib) {
        let message = format!("`memory` below {CHEAP_MIB} MiB makes it cheap to guess a pass phrase; for tests only");
        table.warn("memory", message);
    }
    table.finish();
    login
}

fn read_guest_calls(mut table: Table<'_, '_>) -> GuestCalls {
    let mut callers = |key| table.choice(key, CALLERS).unwrap_or_default();
    let calls = GuestCalls { status: callers("status"), log: callers("log"), shell: callers("shell") };
    table.finish();
    calls
}

fn read_dbgsh(mut table: Table<'_, '_>, file: &Path) -> Option<Dbgsh> {
    const EXAMPLE: &str = "key-file = \"dbgsh.key\"";
    let name = table.need("key-file", EXAMPLE).text("key-file", EXAMPLE);
    let bytes = name.and_then(|name| read_key_file(&table, &file.with_file_name(name), SHELL_KEY_BYTES));
    table.finish();
    bytes.map(|mut bytes| Dbgsh { key: ShellKey(std::mem::take(&mut *bytes)) })
}

fn read_debug(mut table: Table<'_, '_>) -> Debug {
    let hypercalls = table.flag("hypercalls").unwrap_or_default();
    let defects = table.flag("defects").unwrap_or_default();
    let heartbeat = table.flag("heartbeat").unwrap_or_default();
    table.finish();
    Debug { hypercalls, defects, heartbeat }
}

fn read_rule(mut table: Table<'_, '_>, file: &Path) -> Option<DiskRule> {
    const NAME: &str = "name = \"root\"";
    const DISK: &str = "disk = { model = \"...\", serial = \"...\" }";
    const RANGE: &str = "range = { partition = 2 }";
    let name = table.need("name", NAME).text("name", NAME);
    let disk = table.need("disk", DISK).table("disk", DISK).and_then(read_disk);
    let range = table.need("range", RANGE).table("range", RANGE).and_then(|table| read_range(table, None));
    let form = if table.has("format") { table.choice("format", FORMAT) } else { Some(Form::DmCrypt) };
    let format = match form {
        Some(form) => read_format(&mut table, form, file),
        // What belongs to it cannot be told.
        None => {
            ["cipher", "key-file", "key", "check", "header"].into_iter().for_each(|key| table.skip(key));
            None
        }
    };
    let access = if table.has("access") { table.choice("access", ACCESS) } else { Some(Access::default()) };
    let trim = table.flag("trim").unwrap_or_default();
    table.finish();
    Some(DiskRule { name: name?, disk: disk?, range: range?, format: format?, access: access?, trim })
}

/// Keys that belong to a format; those of another one are refused with the reason.
fn read_format(table: &mut Table<'_, '_>, form: Form, file: &Path) -> Option<Format> {
    const KEYS: [&str; 4] = ["cipher", "key-file", "key", "check"];
    let foreign: &[&'static str] = if form == Form::DmCrypt { &["header"] } else { &KEYS };
    let why = match form {
        Form::DmCrypt => "goes with `format = \"luks2\"`; remove it, or add that",
        Form::Luks2 => "does not go with `format = \"luks2\"`, as the volume's header tells it; remove it",
        Form::Plain => "does not go with `format = \"plain\"`, which is not encrypted; remove one of the two",
    };
    foreign.iter().for_each(|key| table.refuse(key, why));
    match form {
        Form::Plain => {
            table.refuse("header", why);
            Some(Format::Plain)
        }
        Form::Luks2 => {
            let given = table.has("header");
            let header = table.table("header", "header = { file = \"data\" }").and_then(read_header);
            (header.is_some() || !given).then(|| Format::Luks2 { header: header.unwrap_or_default() })
        }
        Form::DmCrypt => {
            let cipher = table.need("cipher", "cipher = \"aes-xts-plain64\"").choice("cipher", CIPHER);
            let key = read_key(table, file);
            let check = table.choice("check", CHECK).unwrap_or_default();
            Some(Format::DmCrypt(DmCrypt { cipher: cipher?, key: key?, check }))
        }
    }
}

fn read_disk(mut table: Table<'_, '_>) -> Option<DiskSelector> {
    let by_identity = table.has("model") || table.has("serial");
    let by_position = table.has("channel") || table.has("unit");
    if by_position && !by_identity {
        table.need("channel", "channel = 0").need("unit", "unit = 0");
    }
    let (model, serial) = (table.text("model", "model = \"...\""), table.text("serial", "serial = \"...\""));
    let (channel, unit) = (table.number("channel", "channel = 0"), table.number("unit", "unit = 0"));
    let selector = match (by_identity, by_position) {
        (true, false) => Some(DiskSelector::Identity { model, serial }),
        (false, true) => channel.zip(unit).map(|(channel, unit)| DiskSelector::Position { channel, unit }),
        (both, _) => {
            let problem = if both { "is given twice" } else { "names no disk" };
            table.error_here(format!("`disk` {problem}; give either `model` and `serial`, or `channel` and `unit`"));
            None
        }
    };
    table.finish();
    selector
}

fn read_header(mut table: Table<'_, '_>) -> Option<HeaderSelector> {
    if !table.has("file") {
        return read_range(table, Some("file")).map(HeaderSelector::Range);
    }
    for key in ["partition", "guid", "first-lba", "sectors"] {
        table.refuse(key, "does not go with `file`; remove one of the two");
    }
    let name = table.text("file", "file = \"data\"");
    table.finish();
    name.map(HeaderSelector::File)
}

/// `instead`: a key that the table could have in place of a range.
fn read_range(mut table: Table<'_, '_>, instead: Option<&'static str>) -> Option<RangeSelector> {
    let by_lba = table.has("first-lba") || table.has("sectors");
    let ways = [table.has("partition"), table.has("guid"), by_lba].into_iter().filter(|given| *given).count();
    if ways != 1 {
        let problem = if ways == 0 { "names no range" } else { "names several ranges" };
        let name = table.path.rsplit('.').next().unwrap_or_default().to_owned();
        let instead = instead.map(|key| format!("`{key}`, ")).unwrap_or_default();
        table.error_here(format!(
            "`{name}` {problem}; give one of {instead}`partition`, `guid`, or `first-lba` and `sectors`"
        ));
    } else if by_lba {
        table.need("first-lba", "first-lba = 2048").need("sectors", "sectors = 4096");
    }
    instead.into_iter().for_each(|key| table.skip(key));
    let partition = table.number("partition", "partition = 2").map(RangeSelector::Partition);
    let guid = read_guid(&mut table).map(RangeSelector::PartitionGuid);
    let lba = table.number("first-lba", "first-lba = 2048").zip(table.number("sectors", "sectors = 4096"));
    table.finish();
    partition.or(guid).or(lba.map(|(first, sectors)| RangeSelector::Lba { first, sectors }))
}

/// A GUID in the usual notation -> its bytes in a GPT entry (UEFI 2.10 appendix A: the first three fields are little
/// endian).
fn read_guid(table: &mut Table<'_, '_>) -> Option<[u8; 16]> {
    const EXAMPLE: &str = "guid = \"01234567-89ab-cdef-0123-456789abcdef\"";
    let text = table.text("guid", EXAMPLE)?;
    let guid = uuid::Uuid::try_parse(&text).ok();
    if guid.is_none() {
        table.error("guid", format!("`guid` is no GUID; copy the PARTUUID that `blkid` shows, e.g. `{EXAMPLE}`"));
    }
    guid.map(|guid| guid.to_bytes_le())
}

fn read_key(table: &mut Table<'_, '_>, file: &Path) -> Option<XtsKey> {
    const EXAMPLE: &str = "key-file = \"root.key\"";
    match (table.has("key-file"), table.has("key")) {
        (true, true) => table.error_here("`key` and `key-file` are both given; keep `key-file`".into()),
        (false, true) => {}
        _ => {
            table.need("key-file", EXAMPLE);
        }
    }
    let from_file = table.text("key-file", EXAMPLE).and_then(|name| {
        let bytes = read_key_file(table, &file.with_file_name(name), XTS_KEY_BYTES..=XTS_KEY_BYTES)?;
        bytes.as_slice().try_into().ok().map(XtsKey)
    });
    let inline = table.text("key", EXAMPLE).and_then(|text| read_hex(table, text, file));
    from_file.or(inline)
}

/// The bytes of a key file whose length is in `lengths`.
fn read_key_file(table: &Table<'_, '_>, path: &Path, lengths: RangeInclusive<usize>) -> Option<Zeroizing<Vec<u8>>> {
    match keys::read(path, lengths) {
        Ok(file) => {
            if file.exposed {
                let path = path.display();
                let message = format!("`key-file` {path} is open to other users; run `chmod 600 {path}`");
                table.warn("key-file", message);
            }
            table.alias("key", "key-file");
            Some(file.bytes)
        }
        Err(why) => {
            table.error("key-file", format!("`key-file` {why}"));
            None
        }
    }
}

fn read_hex(table: &Table<'_, '_>, mut text: String, file: &Path) -> Option<XtsKey> {
    let mut key = XtsKey([0; 64]);
    let decoded = hex::decode_to_slice(&text, &mut key.0);
    let length = text.len();
    text.zeroize();
    if decoded.is_err() {
        let message = format!(
            "`key` must be 128 hexadecimal digits (64 bytes), not these {length} characters; better keep the key in a \
             file: `shoji key new root.key` and `key-file = \"root.key\"`"
        );
        table.error("key", message);
        return None;
    }
    if std::fs::metadata(file).is_ok_and(|metadata| keys::is_exposed(&metadata)) {
        let file = file.display();
        table.warn("key", format!("`key` stands in {file}, which is open to other users; run `chmod 600 {file}`"));
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        let cases = [("16 MiB", Some(16)), ("16MiB", Some(16)), (" 1 GiB ", Some(1024)), ("4194304 GiB", None)];
        let wrong = ["", "16", "MiB", "16 MB", "-1 MiB", "1.5 GiB", "99999999999 MiB"].map(|text| (text, None));
        for (text, size) in cases.into_iter().chain(wrong) {
            assert_eq!(mebibytes(text), size, "{text}");
        }
    }
}
