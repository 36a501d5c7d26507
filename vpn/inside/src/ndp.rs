//! Neighbour discovery (RFC 4861): the gateway is the router, and has every address but the guest's own.

use crate::emit::{self, Ends};
use crate::{Inside, Reason};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use frames::{ICMPV6, Packet};
use mediator::Instant;
use mediator::net::MacAddr;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Messages of neighbour discovery come with this hop limit, or from beyond the link (s. 6.1.1, 7.1.1).
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = [0x33, 0x33, 0, 0, 0, 1];
/// Options (s. 4.6; RFC 8106 s. 5.1).
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
const OPTION_MTU: u8 = 5;
const OPTION_DNS: u8 = 25;
/// Flags M and O: addresses and all else by DHCPv6 (s. 4.2).
const MANAGED_AND_OTHER: u8 = 0xC0;
/// Flags R, S and O of a neighbour advertisement (s. 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// How long the router stands, and how often it says so.
const ROUTER_LIFETIME_S: u16 = 1800;
const ADVERTISE_EVERY_NS: u64 = 600_000_000_000;

impl Inside {
    /// Is an ICMPv6 packet one of the link: neighbour discovery, multicast listener discovery?
    pub(crate) fn is_of_link(&self, packet: &Packet<'_>) -> bool {
        let to_link = match packet.destination {
            IpAddr::V6(to) => to.is_multicast() || to.is_unicast_link_local(),
            IpAddr::V4(_) => return false,
        };
        // A later fragment begins with anything.
        let kind = packet.payload().first().copied().filter(|_| packet.is_first()).unwrap_or_default();
        packet.protocol == ICMPV6 && (to_link || matches!(kind, ROUTER_SOLICITATION..=REDIRECT))
    }

    pub(crate) fn on_ndp(&mut self, now: Instant, packet: &Packet<'_>) -> Result<(), Reason> {
        let message = packet.payload();
        let (IpAddr::V6(source), None) = (packet.source, packet.fragment) else { return Err(Reason::Malformed) };
        let (kind, code) = match message {
            [kind, code, ..] => (*kind, *code),
            _ => return Err(Reason::Malformed),
        };
        if !matches!(kind, ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION) || self.link.v6().is_none() {
            return Err(Reason::Local);
        }
        if packet.hop_limit != HOP_LIMIT
            || code != 0
            || frames::sum(packet.source, packet.destination, ICMPV6, message) != u16::MAX
        {
            return Err(Reason::Malformed);
        }
        if kind == ROUTER_SOLICITATION {
            let to = (!source.is_unspecified()).then_some(source);
            return self.advertise(now, to);
        }
        let target: [u8; 16] =
            message.get(8..).and_then(|rest| rest.first_chunk()).copied().ok_or(Reason::Malformed)?;
        self.on_neighbour_solicitation(source, target.into())
    }

    fn on_neighbour_solicitation(&mut self, source: Ipv6Addr, target: Ipv6Addr) -> Result<(), Reason> {
        // From no address: the guest wants this one for itself (RFC 4862 s. 5.4). Only the gateway's own is taken.
        let is_probe = source.is_unspecified() && target != self.link.gateway_v6();
        let is_own = target == source || self.link.has(IpAddr::V6(target));
        if is_probe || is_own || !frames::is_unicast(IpAddr::V6(target)) {
            return Err(Reason::Local);
        }
        let (to, to_mac, flags) = match source.is_unspecified() {
            true => (ALL_NODES, ALL_NODES_MAC, ROUTER | OVERRIDE),
            false => (source, self.guest, ROUTER | SOLICITED | OVERRIDE),
        };
        let mut message = Vec::with_capacity(32);
        message.extend([NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
        message.extend(target.octets());
        message.extend([OPTION_TARGET_MAC, 1]);
        message.extend(self.link.gateway_mac);
        let ends = Ends { to_mac, from_mac: self.link.gateway_mac, from: target.into(), to: to.into() };
        let pushed = emit::icmp(&mut self.to_guest, ends, HOP_LIMIT, &message);
        self.answered(pushed)
    }

    /// Sends a router advertisement, to all if nobody has asked.
    pub(crate) fn advertise_to(&mut self, to: Option<Ipv6Addr>) -> bool {
        let (to, to_mac) = to.map_or((ALL_NODES, ALL_NODES_MAC), |to| (to, self.guest));
        let [high, low] = ROUTER_LIFETIME_S.to_be_bytes();
        let mut message = Vec::with_capacity(200);
        // Current hop limit 64; reachable and retransmission time unspecified (s. 4.2).
        message.extend([ROUTER_ADVERTISEMENT, 0, 0, 0, 64, MANAGED_AND_OTHER, high, low, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.extend([OPTION_SOURCE_MAC, 1]);
        message.extend(self.link.gateway_mac);
        message.extend([OPTION_MTU, 1, 0, 0]);
        message.extend(u32::from(self.link.mtu).to_be_bytes());
        let servers = u8::try_from(self.link.dns6().count()).unwrap_or_default();
        if servers != 0 {
            // In units of eight bytes: a header of one, each address two.
            message.extend([OPTION_DNS, servers.saturating_mul(2).saturating_add(1), 0, 0]);
            message.extend(u32::from(ROUTER_LIFETIME_S).to_be_bytes());
            self.link.dns6().for_each(|server| message.extend(server.octets()));
        }
        let from = self.link.gateway_v6();
        let ends = Ends { to_mac, from_mac: self.link.gateway_mac, from: from.into(), to: to.into() };
        emit::icmp(&mut self.to_guest, ends, HOP_LIMIT, &message)
    }

    pub(crate) fn advertise(&mut self, now: Instant, to: Option<Ipv6Addr>) -> Result<(), Reason> {
        self.advertise_at = Some(Instant(now.0.saturating_add(ADVERTISE_EVERY_NS)));
        let pushed = self.advertise_to(to);
        self.answered(pushed)
    }
}
