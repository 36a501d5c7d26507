//! What a file says, in the form that the configuration of Shoji can hold.
//!
//! The serde form of these types is a wire format: changing a field, or the order of fields or variants, makes another one.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use serde::{Deserialize, Serialize};
use wireguard::{IpPrefix, PresharedKey, PrivateKey, PublicKey};

/// Bytes that an inner packet may be allowed to have: what every IPv4 host takes, up to what cards can.
pub const MTU: RangeInclusive<u16> = 576..=9000;

/// One interface and its peers.
#[derive(Serialize, Deserialize)]
pub struct TunnelConfig {
    #[serde(with = "crate::wire::private_key")]
    pub private_key: PrivateKey,
    /// UDP port of ours; `None`: any.
    pub listen_port: Option<u16>,
    /// Inner addresses of ours.
    pub addresses: Vec<Address>,
    /// DNS servers, to be reached through the tunnel.
    pub dns: Vec<IpAddr>,
    /// DNS search domains.
    pub search: Vec<String>,
    /// Bytes of the largest inner packet, within [`MTU`]; `None`: by the way to the peer.
    pub mtu: Option<u16>,
    pub peers: Vec<Peer>,
}

#[derive(Serialize, Deserialize)]
pub struct Peer {
    #[serde(with = "crate::wire::public_key")]
    pub public_key: PublicKey,
    #[serde(with = "crate::wire::preshared_key")]
    pub preshared_key: Option<PresharedKey>,
    /// `None`: it will come to us.
    pub endpoint: Option<Endpoint>,
    #[serde(with = "crate::wire::prefixes")]
    pub allowed_ips: Vec<IpPrefix>,
    /// 0: off.
    pub persistent_keepalive_s: u16,
}

/// Where a peer is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Endpoint {
    Address(SocketAddr),
    /// To be resolved outside of the tunnel.
    Name {
        host: String,
        port: u16,
    },
}

/// An address, and how many bits of it its network has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "(IpAddr, u8)", into = "(IpAddr, u8)")]
pub struct Address {
    address: IpAddr,
    len: u8,
}

/// The network of an address has more bits than the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnAddress;

impl core::fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the network of an address has more bits than the address")
    }
}

impl Address {
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The network that it is in.
    #[must_use]
    pub fn network(&self) -> Option<IpPrefix> {
        IpPrefix::new(self.address, self.len).ok()
    }
}

impl TryFrom<(IpAddr, u8)> for Address {
    type Error = NotAnAddress;

    fn try_from((address, len): (IpAddr, u8)) -> Result<Self, NotAnAddress> {
        IpPrefix::new(address, len).map(|_| Self { address, len }).map_err(|_| NotAnAddress)
    }
}

impl From<Address> for (IpAddr, u8) {
    fn from(Address { address, len }: Address) -> Self {
        (address, len)
    }
}
