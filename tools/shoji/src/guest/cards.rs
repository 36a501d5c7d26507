//! Network cards and their tunnels, as `shoji status` shows them.

use super::escaped;
use super::status::duration;
use crate::wireguard::key_text;
use abi::status::{Card, Peer, Tunnel};
use serde_json::{Value, json};
use std::fmt::{self, Write};

/// As `ip link` shows it.
pub fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// As `lspci` shows it.
pub fn function(card: &Card) -> String {
    format!("{:02x}:{:02x}.{:x}", card.bus, card.device, card.function)
}

/// For people; peers as `wg show` tells them.
pub fn write_text(card: &Card, out: &mut String) -> fmt::Result {
    write!(out, "card `{}` ({}", escaped(&card.name), function(card))?;
    let policy = escaped(&card.policy);
    match &card.driven {
        None => writeln!(out, "): {policy}, not driven by Shoji")?,
        Some(driven) => {
            let link = if driven.link_up { "up" } else { "down" };
            writeln!(out, ", {}): {policy}, link {link}", mac(driven.mac))?;
            let frames = driven.frames;
            let (sent, received, dropped) = (frames.guest_sent, frames.guest_received, frames.guest_dropped);
            writeln!(out, "  guest: {sent} frames sent, {received} received, {dropped} of its own dropped")?;
            let (sent, received, dropped) = (frames.wire_sent, frames.wire_received, frames.wire_dropped);
            writeln!(out, "  wire: {sent} frames sent, {received} received, {dropped} of its own dropped")?;
        }
    }
    card.tunnel.iter().try_for_each(|tunnel| write_tunnel(tunnel, out))
}

fn write_tunnel(tunnel: &Tunnel, out: &mut String) -> fmt::Result {
    let addresses = tunnel.wire_ipv4.map(|address| address.to_string()).into_iter();
    let addresses: Vec<String> = addresses.chain(tunnel.wire_ipv6.map(|address| address.to_string())).collect();
    let addresses = if addresses.is_empty() { "no address".into() } else { addresses.join(", ") };
    writeln!(out, "  tunnel {}, on the wire: {addresses}", if tunnel.is_up { "up" } else { "down" })?;
    for Peer { public_key, endpoint, handshake_age_s, rx_bytes, tx_bytes } in &tunnel.peers {
        writeln!(out, "  peer: {}", key_text(public_key))?;
        if let Some(endpoint) = endpoint {
            writeln!(out, "    endpoint: {endpoint}")?;
        }
        if let Some(seconds) = handshake_age_s {
            writeln!(out, "    latest handshake: {} ago", duration(seconds.saturating_mul(1_000_000_000)))?;
        }
        if (*rx_bytes, *tx_bytes) != (0, 0) {
            writeln!(out, "    transfer: {} received, {} sent", size(*rx_bytes), size(*tx_bytes))?;
        }
    }
    match tunnel.more_peers {
        0 => Ok(()),
        1 => writeln!(out, "  and 1 peer more"),
        more => writeln!(out, "  and {more} peers more"),
    }
}

/// In the unit that fits, with two digits behind the point.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut bytes, mut unit) = (bytes, UNITS[0]);
    for larger in &UNITS[1..] {
        if bytes < 1 << 20 {
            break;
        }
        (bytes, unit) = (bytes / 1024, larger);
    }
    format!("{}.{:02} {unit}", bytes / 1024, bytes % 1024 * 100 / 1024)
}

/// One object.
pub fn to_json(card: &Card) -> Value {
    let peer = |peer: &Peer| {
        json!({
            "public_key": key_text(&peer.public_key), "endpoint": peer.endpoint,
            "handshake_age_s": peer.handshake_age_s, "rx_bytes": peer.rx_bytes, "tx_bytes": peer.tx_bytes,
        })
    };
    let tunnel = card.tunnel.as_ref().map(|tunnel| {
        json!({
            "up": tunnel.is_up, "wire_ipv4": tunnel.wire_ipv4, "wire_ipv6": tunnel.wire_ipv6,
            "peers": tunnel.peers.iter().map(peer).collect::<Vec<_>>(), "more_peers": tunnel.more_peers,
        })
    });
    let driven = card.driven.map(|driven| {
        let frames = driven.frames;
        json!({
            "mac": mac(driven.mac), "link_up": driven.link_up,
            "guest_sent": frames.guest_sent, "guest_received": frames.guest_received, "guest_dropped": frames.guest_dropped,
            "wire_sent": frames.wire_sent, "wire_received": frames.wire_received, "wire_dropped": frames.wire_dropped,
        })
    });
    json!({
        "name": card.name, "function": function(card), "policy": card.policy, "driven": driven, "tunnel": tunnel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            ((1 << 20) - 1, "1023.99 KiB"),
            (1 << 20, "1.00 MiB"),
            (53_084_160, "50.62 MiB"),
            (1 << 50, "1.00 PiB"),
            (u64::MAX, "16383.99 PiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
