//! Shows a configuration in its TOML form or as JSON; keys are left out.

use config::{CardSelector, NetworkPolicy, NetworkRule, TunnelProtocol, Wire, WireIpv4, WireIpv6};
use config::{Config, DiskRule, DiskSelector, Format, HeaderSelector, Method, Public, RangeSelector, Slot};
use serde_json::{Value, json};

use crate::wireguard;
use crate::words::{
    ACCESS, AFTER_FAILURE, CALLERS, CHECK, CIPHER, FORMAT, Form, KEYBOARD, LEVEL, ON_FAILURE, POLICY, Policy, SERIAL,
    WIRE_IPV4, WIRE_IPV6, word,
};

/// Stands for a key of a disk.
const REDACTED: &str = "(64 bytes, not shown)";

/// The same tree and words as the TOML file; absent values are null.
pub fn to_json(config: &Config) -> Value {
    let mut tree = public_to_json(&config.public());
    let bytes = config.dbgsh.as_ref().map(|dbgsh| format!("({} bytes, not shown)", dbgsh.key.0.len()));
    tree["dbgsh"] = bytes.map_or(Value::Null, |key| json!({ "key": key }));
    tree["disk"] = config.disks.iter().map(rule).collect();
    tree["network"] = config.networks.iter().map(network).collect();
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

fn network(rule: &NetworkRule) -> Value {
    let card = match rule.card {
        CardSelector::Mac(mac) => json!({ "mac": mac.map(|byte| format!("{byte:02x}")).join(":") }),
        CardSelector::Function { bus, device, function } => {
            json!({ "function": format!("{bus:02x}:{device:02x}.{function:x}") })
        }
    };
    let policy = match &rule.policy {
        NetworkPolicy::Pass => Policy::Pass,
        NetworkPolicy::Block => Policy::Block,
        NetworkPolicy::Tunnel(_) => Policy::Tunnel,
    };
    let mut tree = json!({ "name": rule.name, "card": card, "policy": word(POLICY, policy) });
    if let NetworkPolicy::Tunnel(tunnel) = &rule.policy {
        tree["wire"] = wire(&tunnel.wire);
        let TunnelProtocol::WireGuard(secret) = &tunnel.protocol;
        tree["wireguard"] = wireguard::to_json(secret);
    }
    tree
}

fn wire(wire: &Wire) -> Value {
    let ipv4 = match wire.ipv4 {
        WireIpv4::Static { address, prefix_len, gateway } => {
            json!({ "address": format!("{address}/{prefix_len}"), "gateway": gateway })
        }
        other => word(WIRE_IPV4, other).into(),
    };
    let ipv6 = match wire.ipv6 {
        WireIpv6::Static { address, prefix_len, gateway } => {
            json!({ "address": format!("{address}/{prefix_len}"), "gateway": gateway })
        }
        other => word(WIRE_IPV6, other).into(),
    };
    json!({ "mtu": wire.mtu, "ipv4": ipv4, "ipv6": ipv6, "dns": wire.dns })
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
        sections(&mut out, key, value);
    }
    out
}

/// One section, or one for each table of a list.
fn sections(out: &mut String, path: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(tables) => tables.iter().for_each(|table| section(out, path, &format!("[[{path}]]"), table)),
        table => section(out, path, &format!("[{path}]"), table),
    }
}

fn section(out: &mut String, path: &str, heading: &str, table: &Value) {
    let blank = if out.is_empty() { "" } else { "\n" };
    *out += &format!("{blank}{heading}\n");
    for line in pairs(table) {
        *out += &format!("{line}\n");
    }
    for (key, value) in table.as_object().into_iter().flatten().filter(|(_, value)| has_section(value)) {
        sections(out, &format!("{path}.{key}"), value);
    }
}

/// Tables with lists in them, and lists of tables, would make long lines.
fn has_section(value: &Value) -> bool {
    match value {
        Value::Object(table) => table.values().any(Value::is_array),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    }
}

/// `key = value` for each value that is there and has no section of its own.
fn pairs(table: &Value) -> impl Iterator<Item = String> {
    let present = table.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null() && !has_section(value));
    present.map(|(key, value)| match value {
        Value::Object(_) => format!("{key} = {{ {} }}", pairs(value).collect::<Vec<_>>().join(", ")),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            format!("{key} = [{}]", items.join(", "))
        }
        Value::Number(number) if key == "drive" || key == "serial" => {
            format!("{key} = {:#04x}", number.as_u64().unwrap_or_default())
        }
        // Text is printable ASCII, for which JSON and TOML have the same escapes.
        value => format!("{key} = {value}"),
    })
}
