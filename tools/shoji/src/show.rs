//! Shows a configuration in its TOML form or as JSON; keys are left out.

use config::{Config, DiskRule, DiskSelector, Format, HeaderSelector, Method, Public, RangeSelector, Slot};
use serde_json::{Value, json};

use crate::words::{
    ACCESS, AFTER_FAILURE, CALLERS, CHECK, CIPHER, FORMAT, Form, KEYBOARD, LEVEL, ON_FAILURE, SERIAL, word,
};

/// Stands for a key of a disk.
const REDACTED: &str = "(64 bytes, not shown)";

/// The same tree and words as the TOML file; absent values are null.
pub fn to_json(config: &Config) -> Value {
    let mut tree = public_to_json(&config.public());
    let bytes = config.dbgsh.as_ref().map(|dbgsh| format!("({} bytes, not shown)", dbgsh.key.0.len()));
    tree["dbgsh"] = bytes.map_or(Value::Null, |key| json!({ "key": key }));
    tree["disk"] = config.disks.iter().map(rule).collect();
    tree
}

/// The part that is known before the login.
pub fn public_to_json(public: &Public) -> Value {
    json!({
        "memory": { "reserve": size(public.memory.reserve_mib) },
        "boot": { "drive": public.boot.drive, "on-failure": word(ON_FAILURE, public.boot.on_failure) },
        "log": {
            "level": word(LEVEL, public.log.level),
            "serial": serial(public.log.serial),
            "speed": public.log.speed_baud,
            "screen": public.log.screen,
        },
        "login": {
            "keyboard": word(KEYBOARD, public.login.keyboard),
            "tries": public.login.tries,
            "after-failure": word(AFTER_FAILURE, public.login.after_failure),
            "memory": size(public.login.memory_mib),
            "passes": public.login.passes,
        },
        "guest-calls": {
            "status": word(CALLERS, public.guest_calls.status),
            "log": word(CALLERS, public.guest_calls.log),
            "shell": word(CALLERS, public.guest_calls.shell),
        },
        "debug": {
            "hypercalls": public.debug.hypercalls,
            "defects": public.debug.defects,
            "heartbeat": public.debug.heartbeat,
        },
    })
}

fn size(mib: u32) -> String {
    format!("{mib} MiB")
}

/// By name where the port has one.
fn serial(port: Option<u16>) -> Value {
    match SERIAL.iter().find(|(_, named)| *named == port) {
        Some((name, _)) => json!(name),
        None => json!(port),
    }
}

fn rule(rule: &DiskRule) -> Value {
    let disk = match &rule.disk {
        DiskSelector::Identity { model, serial } => json!({ "model": model, "serial": serial }),
        DiskSelector::Position { channel, unit } => json!({ "channel": channel, "unit": unit }),
    };
    let mut tree = json!({ "name": rule.name, "disk": disk, "range": range(&rule.range) });
    match &rule.format {
        Format::Plain => tree["format"] = word(FORMAT, Form::Plain).into(),
        Format::DmCrypt(format) => {
            tree["format"] = word(FORMAT, Form::DmCrypt).into();
            tree["cipher"] = word(CIPHER, format.cipher).into();
            tree["key"] = REDACTED.into();
            tree["check"] = word(CHECK, format.check).into();
        }
        Format::Luks2 { header } => {
            tree["format"] = word(FORMAT, Form::Luks2).into();
            tree["header"] = match header {
                HeaderSelector::InRange => Value::Null,
                HeaderSelector::Range(at) => range(at),
                HeaderSelector::File(name) => json!({ "file": name }),
            };
        }
    }
    tree["access"] = word(ACCESS, rule.access).into();
    tree["trim"] = rule.trim.into();
    tree
}

fn range(range: &RangeSelector) -> Value {
    match range {
        RangeSelector::Partition(number) => json!({ "partition": number }),
        RangeSelector::PartitionGuid(guid) => json!({ "guid": uuid::Uuid::from_bytes_le(*guid).to_string() }),
        RangeSelector::Lba { first, sectors } => json!({ "first-lba": first, "sectors": sectors }),
    }
}

/// How a configuration is locked.
pub struct Lock<'a> {
    pub counter: u64,
    pub slots: &'a [Slot],
    /// Whether it was opened: then what is shown is what was written.
    pub opened: bool,
}

impl Lock<'_> {
    pub fn to_json(&self) -> Value {
        let slot = |(number, slot): (usize, &Slot)| {
            let cost = slot.method.cost();
            json!({
                "number": number,
                "name": slot.name,
                "method": method(&slot.method),
                "memory": cost.map(|cost| size(cost.memory_mib)),
                "passes": cost.map(|cost| cost.passes),
            })
        };
        let slots: Vec<Value> = (1..).zip(self.slots).map(slot).collect();
        json!({ "opened": self.opened, "counter": self.counter, "slots": slots })
    }

    /// Comments in front of the TOML form.
    pub fn to_text(&self) -> String {
        let seen = if self.opened { "opened" } else { "only what can be read without opening it, and could be forged" };
        let mut text = format!("# locked: {seen}\n# rollback counter {}\n", self.counter);
        for (number, slot) in (1..).zip(self.slots) {
            let cost = slot.method.cost().map(|cost| format!(", {} {} times", size(cost.memory_mib), cost.passes));
            let cost = cost.unwrap_or_default();
            text += &format!("# slot {number}: {:?}, {}{cost}\n", slot.name, method(&slot.method));
        }
        text + "\n"
    }
}

fn method(method: &Method) -> &'static str {
    match method {
        Method::PassPhrase { .. } => "pass phrase",
        Method::RecoveryKey { .. } => "recovery key",
        Method::RawKey { .. } => "key file",
    }
}

/// The TOML form of a tree.
pub fn to_toml(tree: &Value) -> String {
    let mut out = String::new();
    for (key, value) in tree.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
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
        Value::Number(number) if key == "drive" || key == "serial" => {
            format!("{key} = {:#04x}", number.as_u64().unwrap_or_default())
        }
        // Text is printable ASCII, for which JSON and TOML have the same escapes.
        value => format!("{key} = {value}"),
    })
}
