//! From a configuration to a tunnel.

use crate::glue::Tunnel;
use crate::names::Name;
use crate::wg::{OVERHEAD_BYTES, WireGuard, ms};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use inside::{Inside, Link, LinkError};
use mediator::Instant;
use mediator::net::MacAddr;
use outside::{ConfigError, Outside};
use wg_quick::{Endpoint, TunnelConfig};
use wireguard::{AddPeerError, Options, PeerConfig, Platform};

/// The station that a guest sees at the other end of its link: a locally administered address (IEEE 802c) of our own.
pub const GATEWAY_MAC: MacAddr = [0x02, b'S', b'H', b'O', b'J', b'I'];
/// Longest packet on the guest's link.
const LINK_MTU: u16 = 1500;
/// Ports of nobody (RFC 6335 s. 6), of which one is taken where none is configured.
const DYNAMIC_PORTS: u16 = 0xC000;

/// The card and the network it is on.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The card's own hardware address.
    pub mac: MacAddr,
    /// Longest IP packet of the wire, in bytes: 1500 for most.
    pub mtu: u16,
    pub ipv4: outside::Ipv4,
    pub ipv6: outside::Ipv6,
    /// Servers for the names of endpoints; none: those that the network tells.
    pub dns: Vec<IpAddr>,
    /// Drawn anew at each start; nobody on the wire may foretell it.
    pub seed: u64,
}

/// Why there can be no such tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetupError {
    Inside(LinkError),
    Outside(ConfigError),
    Peer(AddPeerError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside(error) => f.write_str(error.0),
            Self::Outside(error) => f.write_str(error.0),
            Self::Peer(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SetupError {}

/// A tunnel by WireGuard.
///
/// # Errors
/// [`SetupError`]: what cannot be.
pub fn wireguard<P: Platform + Send>(
    config: TunnelConfig,
    wire: Wire,
    platform: P,
    now: Instant,
) -> Result<Tunnel<WireGuard<P>>, SetupError> {
    let most = wire.mtu.saturating_sub(OVERHEAD_BYTES).min(LINK_MTU);
    let mtu = config.mtu.map_or(most, |wanted| wanted.min(most));
    let addresses = config.addresses.iter().map(|address| (*address).into()).collect();
    let link = Link::new(GATEWAY_MAC, addresses, config.dns, mtu).map_err(SetupError::Inside)?;
    let mac = wire.mac;
    let names = names(&config.peers);
    let outside = outside::Config {
        mac,
        mtu: wire.mtu,
        ipv4: wire.ipv4,
        ipv6: wire.ipv6,
        ports: vec![config.listen_port.unwrap_or_else(|| port_of(wire.seed))],
        names: !names.is_empty(),
        dns: wire.dns,
        seed: wire.seed,
    };
    let outside = Outside::new(outside, now).map_err(SetupError::Outside)?;
    let mut protocol = wireguard::Tunnel::new(platform, config.private_key, Options { mtu, ..Options::default() });
    for peer in config.peers {
        let endpoint = match peer.endpoint {
            Some(Endpoint::Address(address)) => Some(address),
            Some(Endpoint::Name { .. }) | None => None,
        };
        let peer = PeerConfig {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key,
            endpoint,
            allowed_ips: peer.allowed_ips,
            persistent_keepalive_s: peer.persistent_keepalive_s,
        };
        protocol.add_peer(ms(now), peer).map_err(SetupError::Peer)?;
    }
    Ok(Tunnel::new(Inside::new(link, mac), outside, WireGuard(protocol), names, now))
}

fn names(peers: &[wg_quick::Peer]) -> Vec<Name> {
    let name = |(peer, of): (usize, &wg_quick::Peer)| match &of.endpoint {
        Some(Endpoint::Name { host, port }) => Some(Name { peer, host: host.to_string(), port: *port }),
        Some(Endpoint::Address(_)) | None => None,
    };
    peers.iter().enumerate().filter_map(name).collect()
}

/// A dynamic port, from the upper half of the seed: the lower one begins identifications.
fn port_of(seed: u64) -> u16 {
    let [high, low, ..] = seed.to_be_bytes();
    u16::from_be_bytes([high, low]) | DYNAMIC_PORTS
}
