//! Frames of the gateway's own making.

use core::net::IpAddr;
use frames::{ETHERNET_BYTES, FrameQueue};
use mediator::net::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, IpRepr};

pub const BROADCAST: MacAddr = [0xFF; 6];
/// Where the checksum lies in a header of UDP and of ICMP.
const UDP_CHECKSUM_AT: usize = 6;
const ICMP_CHECKSUM_AT: usize = 2;
const UDP_HEADER_BYTES: u16 = 8;
const HOP_LIMIT: u8 = 64;

pub fn ethernet(to: MacAddr, from: MacAddr, ether_type: u16) -> [u8; ETHERNET_BYTES] {
    let mut header = [0; ETHERNET_BYTES];
    frames::put(&mut header, 0, &to);
    frames::put(&mut header, 6, &from);
    frames::put(&mut header, 12, &ether_type.to_be_bytes());
    header
}

/// Who sends to whom on the link. Both addresses are of one family.
#[derive(Clone, Copy)]
pub struct Ends {
    pub to_mac: MacAddr,
    pub from_mac: MacAddr,
    pub from: IpAddr,
    pub to: IpAddr,
}

/// An ICMP or ICMPv6 message, without checksum. False: it was not sent, for lack of room.
pub fn icmp(queue: &mut FrameQueue, ends: Ends, hop_limit: u8, message: &[u8]) -> bool {
    let protocol = if ends.from.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
    ip(queue, ends, protocol, hop_limit, &[message], ICMP_CHECKSUM_AT)
}

/// A datagram between two ports of `ends`.
pub fn udp(queue: &mut FrameQueue, ends: Ends, ports: (u16, u16), data: &[u8]) -> bool {
    let Some(len) = u16::try_from(data.len()).ok().and_then(|len| len.checked_add(UDP_HEADER_BYTES)) else {
        return false;
    };
    let [a, b] = ports.0.to_be_bytes();
    let [c, d] = ports.1.to_be_bytes();
    let [e, f] = len.to_be_bytes();
    ip(queue, ends, IpProtocol::Udp, HOP_LIMIT, &[&[a, b, c, d, e, f, 0, 0], data], UDP_CHECKSUM_AT)
}

/// An IP packet whose payload is the parts, one behind the other, and wants a checksum at an offset.
fn ip(
    queue: &mut FrameQueue,
    ends: Ends,
    protocol: IpProtocol,
    hop_limit: u8,
    parts: &[&[u8]],
    checksum_at: usize,
) -> bool {
    if ends.from.is_ipv4() != ends.to.is_ipv4() {
        return false;
    }
    let payload_bytes = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
    let header = IpRepr::new(ends.from.into(), ends.to.into(), protocol, payload_bytes, hop_limit);
    let header_bytes = header.header_len();
    let ether_type = if ends.from.is_ipv4() { frames::IPV4 } else { frames::IPV6 };
    let whole = ETHERNET_BYTES.saturating_add(header_bytes).saturating_add(payload_bytes);
    let Some(frame) = queue.push_empty(whole) else { return false };
    frames::put(frame, 0, &ethernet(ends.to_mac, ends.from_mac, ether_type));
    let Some((packet, payload)) = frame.get_mut(ETHERNET_BYTES..).and_then(|ip| ip.split_at_mut_checked(header_bytes))
    else {
        return false;
    };
    header.emit(packet, &ChecksumCapabilities::default());
    let mut at = 0usize;
    for part in parts {
        frames::put(payload, at, part);
        at = at.saturating_add(part.len());
    }
    let sum = !frames::sum(ends.from, ends.to, protocol.into(), payload);
    // Zero means "no checksum" in UDP (RFC 768).
    let sum = if protocol == IpProtocol::Udp && sum == 0 { u16::MAX } else { sum };
    frames::put(payload, checksum_at, &sum.to_be_bytes());
    true
}
