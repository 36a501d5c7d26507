//! A tunnel for people, as `wg show` tells it, and what was dropped.

use crate::chance::Chance;
use alloc::string::String;
use base64ct::{Base64, Encoding};
use core::fmt::{self, Write};
use inside::Reason;
use mediator::Instant;
use outside::{Refused, Unwanted};
use tunnel::{Tunnel, WireGuard};
use wireguard::{DropReason, PeerStatus};

const NS_PER_MS: u64 = 1_000_000;
const REFUSED: [Refused; 9] = [
    Refused::Malformed,
    Refused::NotIp,
    Refused::Fragment,
    Refused::Icmp,
    Refused::Icmpv6,
    Refused::Tcp,
    Refused::Udp,
    Refused::Protocol,
    Refused::NoRoom,
];
const UNWANTED: [Unwanted; 7] = [
    Unwanted::Malformed,
    Unwanted::OtherStation,
    Unwanted::NotIp,
    Unwanted::OtherAddress,
    Unwanted::NoListener,
    Unwanted::Fragment,
    Unwanted::NoRoom,
];

pub fn of(tunnel: &Tunnel<WireGuard<Chance>>, now: Instant) -> String {
    let mut out = String::new();
    // A string takes everything.
    let _ = write(&mut out, tunnel, now);
    out
}

fn write(out: &mut String, tunnel: &Tunnel<WireGuard<Chance>>, now: Instant) -> fmt::Result {
    let wireguard = &tunnel.protocol().0;
    let mut key = [0; 44];
    let mut base64 = |bytes: [u8; 32]| String::from(Base64::encode(&bytes, &mut key).unwrap_or_default());
    writeln!(out, "  public key: {}", base64(wireguard.public_key().0))?;
    match tunnel.outside().addresses() {
        (None, None) => writeln!(out, "  wire: no address")?,
        (Some(v4), None) => writeln!(out, "  wire: {v4}")?,
        (None, Some(v6)) => writeln!(out, "  wire: {v6}")?,
        (Some(v4), Some(v6)) => writeln!(out, "  wire: {v4}, {v6}")?,
    }
    for peer in wireguard.peers() {
        writeln!(out, "  peer: {}", base64(peer.public_key.0))?;
        write_peer(out, &peer, now)?;
    }
    write_counters(out, tunnel)
}

fn write_peer(out: &mut String, peer: &PeerStatus<'_>, now: Instant) -> fmt::Result {
    if peer.has_preshared_key {
        writeln!(out, "    preshared key: (hidden)")?;
    }
    if let Some(endpoint) = peer.endpoint {
        writeln!(out, "    endpoint: {endpoint}")?;
    }
    write!(out, "    allowed ips:")?;
    for prefix in peer.allowed_ips {
        write!(out, " {}/{}", prefix.address(), prefix.len())?;
    }
    writeln!(out)?;
    if let Some(at_ms) = peer.latest_handshake_ms {
        let ago_ms = (now.0 / NS_PER_MS).saturating_sub(at_ms);
        writeln!(out, "    latest handshake: {} seconds ago", ago_ms / 1000)?;
    }
    writeln!(out, "    transfer: {} B received, {} B sent", peer.rx_bytes, peer.tx_bytes)?;
    match peer.persistent_keepalive_s {
        0 => Ok(()),
        seconds => writeln!(out, "    persistent keepalive: every {seconds} seconds"),
    }
}

/// Those that are not zero.
fn write_counters(out: &mut String, tunnel: &Tunnel<WireGuard<Chance>>) -> fmt::Result {
    let (inside, outside) = (tunnel.inside().counters(), tunnel.outside().counters());
    let (to_tunnel, to_guest, answered) = (inside.to_tunnel, inside.to_guest, inside.answered);
    writeln!(out, "  packets: {to_tunnel} from the guest, {to_guest} to it, {answered} of its questions answered")?;
    writeln!(out, "  frames of the wire: {} sent, {} received", outside.sent, outside.received)?;
    let mut count = |what: &str, why: fmt::Arguments<'_>, count: u64| match count {
        0 => Ok(()),
        count => writeln!(out, "  dropped, {what}: {why}: {count}"),
    };
    for why in Reason::ALL {
        count("guest", format_args!("{why:?}"), inside.dropped(why))?;
    }
    for why in REFUSED {
        count("to the wire", format_args!("{why:?}"), outside.refused(why))?;
    }
    for why in UNWANTED {
        count("from the wire", format_args!("{why:?}"), outside.unwanted(why))?;
    }
    for why in DropReason::ALL {
        count("protocol", format_args!("{}", why.name()), tunnel.protocol().0.drops().of(why))?;
    }
    let carrier = tunnel.counters();
    count("protocol", format_args!("no address on the wire"), carrier.no_wire)?;
    count("datagrams", format_args!("unreachable"), carrier.unreachable)?;
    count("datagrams", format_args!("too long"), carrier.too_long)?;
    count("datagrams", format_args!("no room"), carrier.no_room)
}
