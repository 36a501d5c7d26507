//! What may leave: a list. A frame that is not on it does not go to the wire, whoever made it.

use crate::counters::Refused;
use alloc::vec::Vec;
use core::net::IpAddr;
use frames::{ETHERNET_BYTES, Packet, be16};
use mediator::net::MacAddr;

/// An ARP message of Ethernet and IPv4.
const ARP_BYTES: usize = 28;
/// How it begins: Ethernet, IPv4, lengths of addresses.
const ARP_START: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_SENDER_AT: usize = 8;
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
pub const DNS_PORT: u16 = 53;
pub const DHCP_SERVER_PORT: u16 = 67;
pub const DHCP_CLIENT_PORT: u16 = 68;
/// Types of neighbour discovery (RFC 4861 s. 4), and their greatest length: an address and one option with a hardware address.
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const MAX_NDP_BYTES: usize = 32;
const NDP_HOP_LIMIT: u8 = 255;

/// The list.
#[derive(Debug)]
pub struct Egress {
    pub mac: MacAddr,
    /// Ports of the tunnel.
    pub ports: Vec<u16>,
    pub dhcp: bool,
    /// Servers that may be asked for names.
    pub dns: Vec<IpAddr>,
}

impl Egress {
    /// # Errors
    /// Why the frame must not leave.
    pub fn check(&self, frame: &[u8]) -> Result<(), Refused> {
        let (ether_type, payload) = frames::split_frame(frame).ok_or(Refused::Malformed)?;
        if frame.get(6..12) != Some(&self.mac) {
            return Err(Refused::Malformed);
        }
        match ether_type {
            frames::ARP => self.check_arp(payload),
            frames::IPV4 | frames::IPV6 => {
                let packet = Packet::of_frame(ether_type, payload).ok_or(Refused::Malformed)?;
                // Bytes behind the packet would be seen by nobody's filter.
                if packet.bytes.len().checked_add(ETHERNET_BYTES) != Some(frame.len()) {
                    return Err(Refused::Malformed);
                }
                self.check_ip(&packet)
            }
            _ => Err(Refused::NotIp),
        }
    }

    fn check_arp(&self, message: &[u8]) -> Result<(), Refused> {
        let operation = be16(message, 6);
        let is_ours = message.get(ARP_SENDER_AT..).is_some_and(|sender| sender.starts_with(&self.mac));
        let is_arp = message.len() == ARP_BYTES && message.starts_with(&ARP_START) && matches!(operation, Some(1 | 2));
        if is_arp && is_ours { Ok(()) } else { Err(Refused::Malformed) }
    }

    fn check_ip(&self, packet: &Packet<'_>) -> Result<(), Refused> {
        let header_bytes = if packet.source.is_ipv4() { IPV4_HEADER_BYTES } else { IPV6_HEADER_BYTES };
        if packet.fragment.is_some() || packet.payload_at != header_bytes {
            return Err(Refused::Fragment);
        }
        match packet.protocol {
            frames::UDP => self.check_udp(packet),
            frames::ICMPV6 if packet.source.is_ipv6() => check_ndp(packet),
            frames::ICMP => Err(Refused::Icmp),
            frames::TCP => Err(Refused::Tcp),
            _ => Err(Refused::Protocol),
        }
    }

    fn check_udp(&self, packet: &Packet<'_>) -> Result<(), Refused> {
        let datagram = packet.payload();
        let (Some(from), Some(to), Some(len)) = (be16(datagram, 0), be16(datagram, 2), be16(datagram, 4)) else {
            return Err(Refused::Malformed);
        };
        if usize::from(len) != datagram.len() {
            return Err(Refused::Malformed);
        }
        let is_dhcp = self.dhcp && packet.source.is_ipv4() && (from, to) == (DHCP_CLIENT_PORT, DHCP_SERVER_PORT);
        let is_question = to == DNS_PORT && self.dns.contains(&packet.destination);
        let is_tunnel = self.ports.contains(&from);
        if is_tunnel || is_dhcp || is_question { Ok(()) } else { Err(Refused::Udp) }
    }

    /// Is it a datagram of the tunnel? Of a frame that [`Egress::check`] lets through.
    pub fn is_of_tunnel(&self, packet: &Packet<'_>) -> bool {
        packet.protocol == frames::UDP && be16(packet.payload(), 0).is_some_and(|from| self.ports.contains(&from))
    }
}

fn check_ndp(packet: &Packet<'_>) -> Result<(), Refused> {
    let message = packet.payload();
    let is_known = matches!(
        message.first_chunk(),
        Some([ROUTER_SOLICITATION | NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT, 0])
    );
    let fits = message.len() <= MAX_NDP_BYTES && packet.hop_limit == NDP_HOP_LIMIT;
    if is_known && fits { Ok(()) } else { Err(Refused::Icmpv6) }
}
