//! The status in Prometheus' text form, for the textfile collector of its node exporter.
//!
//! Specification: Prometheus' "Exposition formats", text format 0.0.4.

use super::cards::{function, mac};
use crate::wireguard::key_text;
use abi::status::{Card, Peer, Status};
use std::fmt::{Display, Write};

/// The kinds of metrics that are used here.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

type Labels = Vec<(&'static str, String)>;

/// All metrics.
pub fn to_text(status: &Status) -> String {
    let mut out = Text::default();
    let memory = &status.memory;
    out.one("info", Kind::Gauge, "Version of the Shoji that runs.", vec![("version", status.version.clone())], 1);
    let uptime = format!("{}.{:09}", status.uptime_ns / 1_000_000_000, status.uptime_ns % 1_000_000_000);
    out.one("uptime_seconds", Kind::Gauge, "Time since Shoji started, without sleep.", vec![], uptime);
    out.one("memory_reserved_bytes", Kind::Gauge, "RAM that the guest does not have.", vec![], memory.reserved_bytes);
    out.one("heap_size_bytes", Kind::Gauge, "Size of Shoji's heap.", vec![], memory.heap_bytes);
    out.one("heap_used_bytes", Kind::Gauge, "What of Shoji's heap is in use.", vec![], memory.heap_used_bytes);
    out.one("log_records_total", Kind::Counter, "Records written to Shoji's log.", vec![], status.log_records);

    out.head("exits_total", Kind::Counter, "How often the guest was left, by CPU and cause.");
    for cpu in &status.cpus {
        for (name, count) in status.exit_names.iter().zip(&cpu.exits) {
            out.sample("exits_total", &vec![("cpu", cpu.number.to_string()), ("reason", name.clone())], count);
        }
    }
    let place = |disk: &abi::status::Disk| ("disk", format!("{}/{}", disk.channel, disk.unit));
    out.head("disk_size_bytes", Kind::Gauge, "Size of a disk that Shoji guards.");
    for disk in &status.disks {
        let labels = vec![place(disk), ("model", disk.model.clone()), ("serial", disk.serial.clone())];
        out.sample("disk_size_bytes", &labels, disk.sectors.saturating_mul(disk.sector_bytes.into()));
    }
    out.head("disk_protected_bytes", Kind::Gauge, "What a rule encrypts of a disk.");
    for disk in &status.disks {
        for rule in &disk.rules {
            let labels = vec![place(disk), ("rule", rule.name.clone()), ("cipher", rule.cipher.clone())];
            out.sample("disk_protected_bytes", &labels, rule.sectors.saturating_mul(disk.sector_bytes.into()));
        }
    }
    write_cards(&status.cards, &mut out);
    let domains = || status.domains.iter().map(|domain| (domain, vec![("domain", domain.name.clone())]));
    out.head("domain_state", Kind::Gauge, "1: the protection domain is in the state that the label tells.");
    for (domain, mut labels) in domains() {
        labels.push(("state", domain.state.clone()));
        out.sample("domain_state", &labels, 1);
    }
    out.head("domain_restarts_total", Kind::Counter, "How often a protection domain was started anew.");
    domains().for_each(|(domain, labels)| out.sample("domain_restarts_total", &labels, domain.restarts));
    out.head("domain_memory_bytes", Kind::Gauge, "Memory of a protection domain.");
    domains().for_each(|(domain, labels)| out.sample("domain_memory_bytes", &labels, domain.memory_bytes));
    out.0
}

fn write_cards(cards: &[Card], out: &mut Text) {
    let label = |card: &Card| ("card", card.name.clone());
    let driven = || cards.iter().filter_map(|card| Some((card, card.driven?)));
    let tunnels = || cards.iter().filter_map(|card| Some((card, card.tunnel.as_ref()?)));
    out.head("card_info", Kind::Gauge, "Network cards that have a rule.");
    for card in cards {
        let mut labels = vec![label(card), ("function", function(card)), ("policy", card.policy.clone())];
        labels.extend(card.driven.map(|driven| ("mac", mac(driven.mac))));
        out.sample("card_info", &labels, 1);
    }
    out.head("card_link_up", Kind::Gauge, "1: the cable of a card that Shoji drives is plugged in.");
    driven().for_each(|(card, driven)| out.sample("card_link_up", &vec![label(card)], u8::from(driven.link_up)));
    out.head("card_frames_total", Kind::Counter, "Frames sent, received and dropped on each side of a card.");
    for (card, driven) in driven() {
        let frames = driven.frames;
        let guest =
            [("sent", frames.guest_sent), ("received", frames.guest_received), ("dropped", frames.guest_dropped)];
        let wire = [("sent", frames.wire_sent), ("received", frames.wire_received), ("dropped", frames.wire_dropped)];
        for (side, counters) in [("guest", guest), ("wire", wire)] {
            for (what, count) in counters {
                let labels = vec![label(card), ("side", side.into()), ("what", what.into())];
                out.sample("card_frames_total", &labels, count);
            }
        }
    }
    out.head("tunnel_up", Kind::Gauge, "1: packets of the guest get through the tunnel of a card.");
    tunnels().for_each(|(card, tunnel)| out.sample("tunnel_up", &vec![label(card)], u8::from(tunnel.is_up)));
    let mut of_peers = |name, kind, help, value: fn(&Peer) -> Option<u64>| {
        out.head(name, kind, help);
        for (card, peer) in tunnels().flat_map(|(card, tunnel)| tunnel.peers.iter().map(move |peer| (card, peer))) {
            let labels = vec![label(card), ("public_key", key_text(&peer.public_key))];
            value(peer).into_iter().for_each(|value| out.sample(name, &labels, value));
        }
    };
    let help = "Time since the latest handshake with a peer; none: no sample.";
    of_peers("wireguard_handshake_age_seconds", Kind::Gauge, help, |peer| peer.handshake_age_s);
    of_peers("wireguard_received_bytes_total", Kind::Counter, "Bytes from a peer.", |peer| Some(peer.rx_bytes));
    of_peers("wireguard_sent_bytes_total", Kind::Counter, "Bytes to a peer.", |peer| Some(peer.tx_bytes));
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.0, "# HELP shoji_{name} {help}\n# TYPE shoji_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &Labels, value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "shoji_{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: Kind, help: &str, labels: Labels, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &labels, value);
    }
}

/// A label's value; other control characters are none of a terminal's there.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
