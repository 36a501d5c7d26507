//! What the guest's link is like.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use mediator::net::MacAddr;

pub const MAX_ADDRESSES: usize = 8;
pub const MAX_DNS_SERVERS: usize = 8;
/// A router for addresses that are alone in their subnet. Link-local (RFC 3927), so it stands for nobody beyond the link.
const LONE_ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// IPv4 must take 576 bytes (RFC 791 s. 3.1), IPv6 1280 (RFC 8200 s. 5).
const MIN_MTU: u16 = 576;
const MIN_MTU_V6: u16 = 1280;
const MAX_MTU: u16 = 1500;

/// Why there can be no such link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkError(pub &'static str);

/// The link, checked.
#[derive(Clone, Debug)]
pub struct Link {
    pub(crate) gateway_mac: MacAddr,
    /// Of the tunnel, with lengths of their prefixes. The first of each family is given out; all may be used.
    addresses: Vec<(IpAddr, u8)>,
    dns: Vec<IpAddr>,
    /// What holds now, and the most that there may be.
    pub(crate) mtu: u16,
    max_mtu: u16,
    pub(crate) router: Ipv4Addr,
}

impl Link {
    /// `gateway_mac`: of the station that the guest sees, locally administered. `addresses`: the tunnel's, with lengths of prefixes. `mtu`: longest
    /// packet in the tunnel, in bytes.
    ///
    /// # Errors
    /// [`LinkError`]: what is wrong with it.
    pub fn new(
        gateway_mac: MacAddr,
        addresses: Vec<(IpAddr, u8)>,
        dns: Vec<IpAddr>,
        mtu: u16,
    ) -> Result<Self, LinkError> {
        let [first, ..] = gateway_mac;
        let bad_prefix = |(address, prefix): &(IpAddr, u8)| *prefix > if address.is_ipv4() { 32 } else { 128 };
        let least = least_mtu(&addresses);
        let wrong = if first & 3 != 2 {
            Some("the gateway's hardware address is not a locally administered one of one station")
        } else if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            Some("the tunnel has no address, or too many")
        } else if addresses.iter().any(bad_prefix) {
            Some("the length of a prefix is longer than its address")
        } else if !addresses.iter().all(|(address, _)| frames::is_unicast(*address) && !is_link_local(*address)) {
            Some("an address of the tunnel is not one host's")
        } else if dns.len() > MAX_DNS_SERVERS || !dns.iter().all(|server| frames::is_unicast(*server)) {
            Some("a DNS server is not one host's address, or there are too many")
        } else if !(least..=MAX_MTU).contains(&mtu) {
            Some("the MTU is not one that the protocols take")
        } else {
            None
        };
        match wrong {
            Some(why) => Err(LinkError(why)),
            None => {
                let mut link = Self { gateway_mac, addresses, dns, mtu, max_mtu: mtu, router: LONE_ROUTER };
                let router = |(address, prefix)| router_of(address, prefix, &link.addresses);
                link.router = link.v4().map_or(LONE_ROUTER, router);
                Ok(link)
            }
        }
    }

    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The way of the tunnel takes packets of this length, in bytes. The MTU follows, between what was set up and what the versions of IP need.
    pub(crate) fn limit_mtu(&mut self, limit: u16) {
        self.mtu = self.max_mtu.min(limit).max(least_mtu(&self.addresses));
    }

    /// The IPv4 address that the guest gets.
    #[must_use]
    pub fn v4(&self) -> Option<(Ipv4Addr, u8)> {
        self.addresses.iter().find_map(|(address, prefix)| match address {
            IpAddr::V4(v4) => Some((*v4, *prefix)),
            IpAddr::V6(_) => None,
        })
    }

    /// Likewise IPv6.
    #[must_use]
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        })
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
    }

    pub(crate) fn dns4(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.dns.iter().filter_map(|server| match server {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
    }

    pub(crate) fn dns6(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.dns.iter().filter_map(|server| match server {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        })
    }

    /// The gateway's own IPv6 address: link-local, by its hardware address (RFC 4291 appendix A).
    pub(crate) fn gateway_v6(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.gateway_mac;
        Ipv6Addr::from([0xFE, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xFF, 0xFE, d, e, f])
    }

    /// Is it for the link, or for nobody: not to be routed?
    pub(crate) fn is_local(&self, destination: IpAddr) -> bool {
        let is_broadcast = |(own, prefix): &(IpAddr, u8)| match (own, destination) {
            (IpAddr::V4(own), IpAddr::V4(to)) if *prefix < 31 => {
                let hosts = u32::MAX.checked_shr((*prefix).into()).unwrap_or_default();
                to.to_bits() == own.to_bits() | hosts
            }
            _ => false,
        };
        !frames::is_unicast(destination)
            || is_link_local(destination)
            || self.has(destination)
            || self.addresses.iter().any(is_broadcast)
    }
}

fn least_mtu(addresses: &[(IpAddr, u8)]) -> u16 {
    if addresses.iter().any(|(address, _)| address.is_ipv6()) { MIN_MTU_V6 } else { MIN_MTU }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Which address the router has in the guest's eyes. Packets to it go into the tunnel as any other do; it stands for nothing but the way out.
/// The other one of a link of two (RFC 3021); else the first one of the subnet that is a host's, and none of the tunnel's own.
fn router_of(own: Ipv4Addr, prefix: u8, addresses: &[(IpAddr, u8)]) -> Ipv4Addr {
    let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or_default();
    let network = own.to_bits() & !hosts;
    let (first, last) = match prefix {
        ..31 => (network | 1, network | hosts.saturating_sub(1)),
        31 => (own.to_bits() ^ 1, own.to_bits() ^ 1),
        _ => return LONE_ROUTER,
    };
    let is_free = |router: &Ipv4Addr| {
        let router = IpAddr::V4(*router);
        frames::is_unicast(router) && !is_link_local(router) && addresses.iter().all(|(own, _)| *own != router)
    };
    // One more than there may be addresses of our own.
    let candidates = (first..=last).take(MAX_ADDRESSES.saturating_add(1));
    candidates.map(Ipv4Addr::from_bits).find(is_free).unwrap_or(LONE_ROUTER)
}
