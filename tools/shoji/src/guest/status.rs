//! `shoji status`.

use super::{Vmm, cards, escaped};
use abi::hypercall::{Error, name};
use abi::status::{Cpu, Disk, Rule, Status};
use serde_json::{Map, Value, json};
use std::fmt::{self, Write};

/// Asks.
///
/// # Errors
/// As Shoji says.
pub fn ask(vmm: &impl Vmm) -> Result<Status, Error> {
    let answer = vmm.call(name::STATUS, &[])?;
    postcard::from_bytes(&answer).map_err(|_| Error::Unavailable)
}

/// For people.
pub fn to_text(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_text(status, &mut text);
    text
}

fn write_text(status: &Status, out: &mut String) -> fmt::Result {
    writeln!(out, "Shoji {}, up {}", escaped(&status.version), duration(status.uptime_ns))?;
    let memory = &status.memory;
    let heap = format!("{} of {}", mib(memory.heap_used_bytes), mib(memory.heap_bytes));
    writeln!(out, "memory: {} reserved; heap: {heap} used", mib(memory.reserved_bytes))?;
    for disk in &status.disks {
        let (model, serial) = (escaped(&disk.model), escaped(&disk.serial));
        let size = mib(disk.sectors.saturating_mul(disk.sector_bytes.into()));
        writeln!(out, "disk {}/{}: `{model}` serial `{serial}`, {size}", disk.channel, disk.unit)?;
        for Rule { name, first_lba, sectors, cipher } in &disk.rules {
            let (name, cipher) = (escaped(name), escaped(cipher));
            writeln!(out, "  `{name}`: {sectors} sectors from LBA {first_lba}, {cipher}")?;
        }
        if disk.rules.is_empty() {
            writeln!(out, "  not encrypted")?;
        }
    }
    for card in &status.cards {
        cards::write_text(card, out)?;
    }
    for domain in &status.domains {
        let (name, state) = (escaped(&domain.name), escaped(&domain.state));
        write!(out, "domain {name}: {state}, {}, {} restarts", mib(domain.memory_bytes), domain.restarts)?;
        match domain.last_restart_ns {
            Some(ns) => writeln!(out, ", the last within {} us", ns / 1000)?,
            None => writeln!(out)?,
        }
    }
    for cpu in &status.cpus {
        write!(out, "CPU {} (APIC ID {}): {} exits", cpu.number, cpu.apic_id, cpu.exits.iter().sum::<u64>())?;
        for (n, (name, count)) in exits(status, cpu).filter(|(_, count)| *count > 0).enumerate() {
            write!(out, "{} {name} {count}", if n == 0 { ":" } else { "," })?;
        }
        writeln!(out)?;
    }
    writeln!(out, "log: {} records", status.log_records)
}

/// Names and counts.
fn exits<'a>(status: &'a Status, cpu: &'a Cpu) -> impl Iterator<Item = (String, u64)> + 'a {
    status.exit_names.iter().map(|name| escaped(name)).zip(cpu.exits.iter().copied())
}

fn mib(bytes: u64) -> String {
    const TENTH: u64 = (1 << 20) / 10;
    format!("{}.{} MiB", bytes / TENTH / 10, bytes / TENTH % 10)
}

pub fn duration(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// One object.
pub fn to_json(status: &Status) -> Value {
    let disk = |disk: &Disk| {
        let rules: Vec<Value> = disk
            .rules
            .iter()
            .map(|rule| json!({ "name": rule.name, "first_lba": rule.first_lba, "sectors": rule.sectors, "cipher": rule.cipher }))
            .collect();
        json!({
            "channel": disk.channel, "unit": disk.unit, "model": disk.model, "serial": disk.serial,
            "sectors": disk.sectors, "sector_bytes": disk.sector_bytes, "rules": rules,
        })
    };
    let cpu = |cpu: &Cpu| {
        let exits: Map<String, Value> = exits(status, cpu).map(|(name, count)| (name, count.into())).collect();
        json!({ "number": cpu.number, "apic_id": cpu.apic_id, "exits": exits })
    };
    let memory = &status.memory;
    let domains: Vec<Value> = status
        .domains
        .iter()
        .map(|domain| {
            json!({
                "name": domain.name, "state": domain.state, "restarts": domain.restarts,
                "last_restart_ns": domain.last_restart_ns, "memory_bytes": domain.memory_bytes,
            })
        })
        .collect();
    json!({
        "version": status.version,
        "uptime_ns": status.uptime_ns,
        "memory": {
            "reserved_bytes": memory.reserved_bytes, "heap_bytes": memory.heap_bytes,
            "heap_used_bytes": memory.heap_used_bytes,
        },
        "disks": status.disks.iter().map(disk).collect::<Vec<_>>(),
        "cards": status.cards.iter().map(cards::to_json).collect::<Vec<_>>(),
        "domains": domains,
        "cpus": status.cpus.iter().map(cpu).collect::<Vec<_>>(),
        "log_records": status.log_records,
    })
}
