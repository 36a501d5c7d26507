//! What our stack gets to see: a list. It keeps hostile frames away from code that has no use for them.

use crate::counters::Unwanted;
use crate::egress::{DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DNS_PORT, Egress};
use core::net::IpAddr;
use frames::{Packet, be16};

const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Of a header of IPv6 without extensions.
const IPV6_HEADER_BYTES: usize = 40;
/// Neighbour discovery comes from the link itself (RFC 4861 s. 6.1.2, 7.1.1).
const NDP_HOP_LIMIT: u8 = 255;
/// Ports that questions come from are above these.
const LEAST_OWN_PORT: u16 = 1024;

/// Where a frame goes.
#[derive(PartialEq, Eq, Debug)]
pub enum Judged<'a> {
    /// To the stack as it is.
    Stack,
    /// To the stack: an answer of a DHCP server.
    Dhcp,
    /// A piece of a packet for us.
    Fragment(Packet<'a>),
    /// A router tells of itself; the source, and the message.
    RouterAdvertisement(Packet<'a>),
}

/// Judges a frame by what we send (`egress`) and who we are.
pub fn judge<'a>(frame: &'a [u8], egress: &Egress, is_own: &dyn Fn(IpAddr) -> bool) -> Result<Judged<'a>, Unwanted> {
    let (ether_type, payload) = frames::split_frame(frame).ok_or(Unwanted::Malformed)?;
    let [to_group, from_group] = [0usize, 6].map(|at| frame.get(at).is_some_and(|first| first & 1 != 0));
    if from_group {
        return Err(Unwanted::Malformed);
    }
    if !to_group && !frame.starts_with(&egress.mac) {
        return Err(Unwanted::OtherStation);
    }
    match ether_type {
        frames::ARP => Ok(Judged::Stack),
        frames::IPV4 | frames::IPV6 => {
            let packet = Packet::of_frame(ether_type, payload).ok_or(Unwanted::Malformed)?;
            judge_ip(packet, egress, is_own)
        }
        _ => Err(Unwanted::NotIp),
    }
}

fn judge_ip<'a>(packet: Packet<'a>, egress: &Egress, is_own: &dyn Fn(IpAddr) -> bool) -> Result<Judged<'a>, Unwanted> {
    let is_v6 = packet.source.is_ipv6();
    if packet.protocol == frames::ICMPV6 && is_v6 {
        return judge_ndp(packet);
    }
    // The stack looks up routes to whoever sent, which must be a host for that.
    if !frames::is_unicast(packet.source) {
        return Err(Unwanted::OtherAddress);
    }
    if packet.protocol != frames::UDP {
        return Err(Unwanted::NoListener);
    }
    if packet.fragment.is_some() {
        return if is_own(packet.destination) { Ok(Judged::Fragment(packet)) } else { Err(Unwanted::OtherAddress) };
    }
    if is_v6 && packet.payload_at != IPV6_HEADER_BYTES {
        return Err(Unwanted::NoListener);
    }
    let (Some(from), Some(to)) = (be16(packet.payload(), 0), be16(packet.payload(), 2)) else {
        return Err(Unwanted::Malformed);
    };
    // An answer of DHCP comes to the address that it brings, or to all.
    if egress.dhcp && !is_v6 && (from, to) == (DHCP_SERVER_PORT, DHCP_CLIENT_PORT) {
        return Ok(Judged::Dhcp);
    }
    if !is_own(packet.destination) {
        return Err(Unwanted::OtherAddress);
    }
    let is_answer = from == DNS_PORT && to >= LEAST_OWN_PORT && egress.dns.contains(&packet.source);
    if egress.ports.contains(&to) || is_answer { Ok(Judged::Stack) } else { Err(Unwanted::NoListener) }
}

fn judge_ndp(packet: Packet<'_>) -> Result<Judged<'_>, Unwanted> {
    if packet.hop_limit != NDP_HOP_LIMIT || packet.fragment.is_some() || packet.payload_at != IPV6_HEADER_BYTES {
        return Err(Unwanted::NoListener);
    }
    match packet.payload().first_chunk() {
        Some([NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT, 0]) => Ok(Judged::Stack),
        Some([ROUTER_ADVERTISEMENT, 0]) => {
            let sum = frames::sum(packet.source, packet.destination, frames::ICMPV6, packet.payload());
            if sum == u16::MAX { Ok(Judged::RouterAdvertisement(packet)) } else { Err(Unwanted::Malformed) }
        }
        _ => Err(Unwanted::NoListener),
    }
}
