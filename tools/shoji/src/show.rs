//! Shows a configuration in its TOML form or as JSON; keys are left out.

use config::{Config, DiskRule, DiskSelector, RangeSelector};
use serde_json::{Value, json};

use crate::words::{CHECK, CIPHER, LEVEL, ON_FAILURE, SERIAL, word};

/// Stands for a key of a disk.
const REDACTED: &str = "(64 bytes, not shown)";

/// The same tree and words as the TOML file; absent values are null.
pub fn to_json(config: &Config) -> Value {
    json!({
        "memory": { "reserve": format!("{} MiB", config.memory.reserve_mib) },
        "boot": { "drive": config.boot.drive, "on-failure": word(ON_FAILURE, config.boot.on_failure) },
        "log": { "level": word(LEVEL, config.log.level), "serial": word(SERIAL, config.log.serial) },
        "debug": { "hypercalls": config.debug.hypercalls, "defects": config.debug.defects },
        "disk": config.disks.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &DiskRule) -> Value {
    let disk = match &rule.disk {
        DiskSelector::Identity { model, serial } => json!({ "model": model, "serial": serial }),
        DiskSelector::Position { channel, unit } => json!({ "channel": channel, "unit": unit }),
    };
    let range = match &rule.range {
        RangeSelector::Partition(number) => json!({ "partition": number }),
        RangeSelector::PartitionGuid(guid) => json!({ "guid": uuid::Uuid::from_bytes_le(*guid).to_string() }),
        RangeSelector::Lba { first, sectors } => json!({ "first-lba": first, "sectors": sectors }),
    };
    json!({
        "name": rule.name,
        "disk": disk,
        "range": range,
        "cipher": word(CIPHER, rule.cipher),
        "key": REDACTED,
        "check": word(CHECK, rule.check),
        "trim": rule.trim,
    })
}

/// The TOML form.
pub fn to_toml(config: &Config) -> String {
    let mut out = String::new();
    for (key, value) in to_json(config).as_object().into_iter().flatten() {
        match value {
            Value::Array(tables) => tables.iter().for_each(|table| section(&mut out, &format!("[[{key}]]"), table)),
            table => section(&mut out, &format!("[{key}]"), table),
        }
    }
    out
}

fn section(out: &mut String, heading: &str, table: &Value) {
    let blank = if out.is_empty() { "" } else { "\n" };
    *out += &format!("{blank}{heading}\n");
    for line in pairs(table) {
        *out += &format!("{line}\n");
    }
}

/// `key = value` for each value that is there.
fn pairs(table: &Value) -> impl Iterator<Item = String> {
    let present = table.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    present.map(|(key, value)| match value {
        Value::Object(_) => format!("{key} = {{ {} }}", pairs(value).collect::<Vec<_>>().join(", ")),
        Value::Number(drive) if key == "drive" => format!("{key} = {:#04x}", drive.as_u64().unwrap_or_default()),
        // Text is printable ASCII, for which JSON and TOML have the same escapes.
        value => format!("{key} = {value}"),
    })
}
