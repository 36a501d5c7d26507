//! How the wire's side is set up.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use mediator::net::MacAddr;

/// As many as smoltcp takes.
pub const MAX_DNS_SERVERS: usize = 4;
/// WireGuard has one, IKE and ESP in UDP two.
pub const MAX_PORTS: usize = 4;
/// The least that Ethernet and IPv6 agree on (RFC 8200 s. 5), and what the contract's frames hold.
const MIN_MTU: u16 = 1280;
const MAX_MTU: u16 = 9000;

/// Where the IPv4 address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipv4 {
    Off,
    Dhcp,
    Static { address: Ipv4Addr, prefix: u8, router: Option<Ipv4Addr> },
}

/// Where the IPv6 address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipv6 {
    Off,
    Slaac,
    Static { address: Ipv6Addr, prefix: u8, router: Option<Ipv6Addr> },
}

/// The wire's side.
#[derive(Clone, Debug)]
pub struct Config {
    /// The card's own.
    pub mac: MacAddr,
    /// Longest IP packet of the wire, in bytes.
    pub mtu: u16,
    pub ipv4: Ipv4,
    pub ipv6: Ipv6,
    /// Ports of the tunnel's datagrams.
    pub ports: Vec<u16>,
    /// Are names asked for at all?
    pub names: bool,
    /// Servers to ask; where there are none, those that DHCP and routers tell.
    pub dns: Vec<IpAddr>,
    /// What nobody on the wire can foretell: identifiers and ports of questions come from it.
    pub seed: u64,
}

/// Why there can be no such stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigError(pub &'static str);

impl Config {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = [
            (!is_host(self.mac), "the hardware address is not one station's"),
            (!(MIN_MTU..=MAX_MTU).contains(&self.mtu), "the MTU is below 1280 or above 9000"),
            (self.ipv4 == Ipv4::Off && self.ipv6 == Ipv6::Off, "there is neither IPv4 nor IPv6"),
            (self.has_bad_v4(), "the IPv4 address or its router is not one host's"),
            (self.has_bad_v6(), "the IPv6 address or its router is not one host's"),
            (self.ports.is_empty() || self.ports.len() > MAX_PORTS, "the tunnel has no port, or too many"),
            (self.ports.iter().any(|port| is_reserved(*port)), "a port of the tunnel is 0, DNS's or DHCP's"),
            (self.dns.len() > MAX_DNS_SERVERS, "there are too many DNS servers"),
            (!self.dns.iter().all(|server| frames::is_unicast(*server)), "a DNS server is not one host's address"),
        ];
        wrong.iter().find(|(is_wrong, _)| *is_wrong).map_or(Ok(()), |(_, why)| Err(ConfigError(why)))
    }

    fn has_bad_v4(&self) -> bool {
        let Ipv4::Static { address, prefix, router } = self.ipv4 else { return false };
        let is_host = |address: Ipv4Addr| frames::is_unicast(address.into());
        !is_host(address) || prefix > 32 || router.is_some_and(|router| !is_host(router))
    }

    fn has_bad_v6(&self) -> bool {
        let Ipv6::Static { address, prefix, router } = self.ipv6 else { return false };
        let is_host = |address: Ipv6Addr| frames::is_unicast(address.into());
        !is_host(address) || prefix > 128 || router.is_some_and(|router| !is_host(router))
    }
}

pub(crate) fn is_host(mac: MacAddr) -> bool {
    mac.first().is_some_and(|first| first & 1 == 0) && mac != [0; 6]
}

/// Ports whose frames have rules of their own in the filters.
fn is_reserved(port: u16) -> bool {
    matches!(port, 0 | 53 | 67 | 68)
}
