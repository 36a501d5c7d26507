//! What happens to the frames of network cards: the part of the schema that is about networks.
//!
//! As in `schema.rs`, the serde form of these types is the wire format of the blob.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What happens to the frames of one network card.
#[derive(Serialize, Deserialize)]
pub struct NetworkRule {
    /// For messages only.
    pub name: String,
    pub card: CardSelector,
    pub policy: NetworkPolicy,
}

/// Which card a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CardSelector {
    /// Its own hardware address, as its EEPROM tells it.
    Mac([u8; 6]),
    /// Where it is on the first PCI segment.
    Function { bus: u8, device: u8, function: u8 },
}

#[derive(Serialize, Deserialize)]
pub enum NetworkPolicy {
    /// Every frame passes as it is.
    Pass,
    /// No frame in either direction.
    Block,
    /// Nothing but the tunnel's own packets is on the wire.
    Tunnel(TunnelRule),
}

/// A tunnel, and the network that carries it.
#[derive(Serialize, Deserialize)]
pub struct TunnelRule {
    pub wire: Wire,
    pub protocol: TunnelProtocol,
}

/// The outer network: what Shoji itself is on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wire {
    /// Longest IP packet in bytes. Default 1500.
    pub mtu: u16,
    pub ipv4: WireIpv4,
    pub ipv6: WireIpv6,
    /// Servers for the names of peers; none: those that the network tells.
    pub dns: Vec<IpAddr>,
}

impl Default for Wire {
    fn default() -> Self {
        Self { mtu: 1500, ipv4: WireIpv4::default(), ipv6: WireIpv6::default(), dns: Vec::new() }
    }
}

/// Where the outer IPv4 address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum WireIpv4 {
    Off,
    #[default]
    Dhcp,
    /// `prefix_len`: bits of the address that are its network's.
    Static {
        address: Ipv4Addr,
        prefix_len: u8,
        gateway: Option<Ipv4Addr>,
    },
}

/// Where the outer IPv6 address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum WireIpv6 {
    Off,
    /// From the advertisements of routers (RFC 4862).
    #[default]
    Slaac,
    /// `prefix_len`: bits of the address that are its network's.
    Static {
        address: Ipv6Addr,
        prefix_len: u8,
        gateway: Option<Ipv6Addr>,
    },
}

/// What the tunnel speaks.
#[derive(Serialize, Deserialize)]
pub enum TunnelProtocol {
    /// The parameters are `wg_quick::TunnelConfig` in postcard's wire format.
    WireGuard(TunnelSecret),
}

/// Greatest length of a [`TunnelSecret`] in bytes: 32 KiB.
pub const MAX_TUNNEL_SECRET_BYTES: usize = 32 << 10;

/// Parameters of a tunnel in the form that its program in ring 3 decodes; nothing else looks into them. Bounded by
/// [`MAX_TUNNEL_SECRET_BYTES`], not empty, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TunnelSecret(pub Vec<u8>);

impl Serialize for TunnelSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for TunnelSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl de::Visitor<'_> for SecretVisitor {
            type Value = TunnelSecret;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("parameters of 1 to 32768 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<TunnelSecret, E> {
                let fits = (1..=MAX_TUNNEL_SECRET_BYTES).contains(&bytes.len());
                fits.then(|| TunnelSecret(bytes.to_vec())).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(SecretVisitor)
    }
}
