//! Our addresses, routes and DNS servers: from the configuration, DHCP and routers to smoltcp.

use crate::config::{Config, Ipv4, Ipv6, MAX_DNS_SERVERS};
use crate::slaac::{self, Slaac};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::iface::Interface;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{IpCidr, Ipv4Cidr, Ipv6Cidr};

/// What a DHCP server has given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    address: Ipv4Addr,
    prefix: u8,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
}

impl Lease {
    /// `None`: the address is no host's.
    pub fn of(given: &dhcpv4::Config<'_>) -> Option<Self> {
        let is_host = |address: &Ipv4Addr| frames::is_unicast((*address).into());
        let address = Some(given.address.address()).filter(is_host)?;
        Some(Self {
            address,
            prefix: given.address.prefix_len(),
            router: given.router.filter(is_host),
            dns: given.dns_servers.iter().copied().filter(is_host).collect(),
        })
    }
}

/// An address with its prefix, and the router to all beyond it.
type Place<T> = (T, u8, Option<T>);

/// What holds now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    pub v4: Option<Place<Ipv4Addr>>,
    pub v6: Option<Place<Ipv6Addr>>,
    link_local: Option<Ipv6Addr>,
    pub dns: Vec<IpAddr>,
}

impl Addresses {
    pub fn of(config: &Config, lease: Option<&Lease>, slaac: Option<&Slaac>) -> Self {
        let v4 = match config.ipv4 {
            Ipv4::Off => None,
            Ipv4::Static { address, prefix, router } => Some((address, prefix, router)),
            Ipv4::Dhcp => lease.map(|lease| (lease.address, lease.prefix, lease.router)),
        };
        let v6 = match config.ipv6 {
            Ipv6::Off => None,
            Ipv6::Static { address, prefix, router } => Some((address, prefix, router)),
            // Nothing is said to be on the link: all goes by the router.
            Ipv6::Slaac => slaac.and_then(|slaac| Some((slaac.address()?, 128, slaac.router()))),
        };
        let told = lease.iter().flat_map(|lease| &lease.dns).map(|server| IpAddr::V4(*server));
        let told = told.chain(slaac.iter().flat_map(|slaac| slaac.dns()).map(IpAddr::V6));
        let dns: Vec<_> = if config.dns.is_empty() { told.collect() } else { config.dns.clone() };
        Self {
            v4,
            v6,
            link_local: (config.ipv6 != Ipv6::Off).then(|| slaac::link_local(config.mac)),
            dns: dns.into_iter().filter(|_| config.names).take(MAX_DNS_SERVERS).collect(),
        }
    }

    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.is_some_and(|(own, ..)| own == v4),
            IpAddr::V6(v6) => self.v6.is_some_and(|(own, ..)| own == v6) || self.link_local == Some(v6),
        }
    }

    /// The neighbour that packets to this one go to: itself if it is on the link, else the router.
    pub fn next_hop(&self, to: IpAddr) -> Option<IpAddr> {
        match to {
            IpAddr::V4(to) => {
                let (own, prefix, router) = self.v4?;
                let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or_default();
                let on_link = (own.to_bits() ^ to.to_bits()) & !hosts == 0;
                if on_link { Some(to.into()) } else { router.map(IpAddr::V4) }
            }
            IpAddr::V6(to) => {
                let (own, prefix, router) = self.v6?;
                let hosts = u128::MAX.checked_shr(prefix.into()).unwrap_or_default();
                let on_link = (own.to_bits() ^ to.to_bits()) & !hosts == 0 || to.is_unicast_link_local();
                if on_link { Some(to.into()) } else { router.map(IpAddr::V6) }
            }
        }
    }

    /// Hands it to the stack. Every address is a host's, as `check_ip_addrs` of smoltcp wants it.
    pub fn apply(&self, interface: &mut Interface) {
        let v4 = self.v4.map(|(address, prefix, _)| IpCidr::Ipv4(Ipv4Cidr::new(address, prefix.min(32))));
        let v6 = self.v6.map(|(address, prefix, _)| IpCidr::Ipv6(Ipv6Cidr::new(address, prefix.min(128))));
        let link_local = self.link_local.map(|address| IpCidr::Ipv6(Ipv6Cidr::new(address, 64)));
        interface.update_ip_addrs(|list| {
            list.clear();
            // There is room for four.
            let _ = list.extend_from_slice(v4.as_slice());
            let _ = list.extend_from_slice(v6.as_slice());
            let _ = list.extend_from_slice(link_local.as_slice());
        });
        let routes = interface.routes_mut();
        routes.remove_default_ipv4_route();
        routes.remove_default_ipv6_route();
        // There is room for one of each family.
        if let Some((_, _, Some(router))) = self.v4 {
            let _ = routes.add_default_ipv4_route(router);
        }
        if let Some((_, _, Some(router))) = self.v6 {
            let _ = routes.add_default_ipv6_route(router);
        }
    }
}
