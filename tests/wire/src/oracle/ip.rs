//! IP and UDP headers (RFC 791, 8200, 768), in the one form that is right here: no options, no extensions, no fragments, right checksums.

use super::{IPV4, UDP, Wrong};
use crate::frame::be16;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
/// Of the fragment field: more fragments, and the offset.
const FRAGMENT: u16 = 0x3FFF;

pub struct Packet<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub hop_limit: u8,
    pub payload: &'a [u8],
    /// With its header.
    pub len: usize,
}

pub struct Datagram<'a> {
    pub source: u16,
    pub destination: u16,
    pub payload: &'a [u8],
}

pub fn parse(kind: u16, bytes: &[u8]) -> Result<Packet<'_>, Wrong> {
    if kind == IPV4 { ipv4(bytes) } else { ipv6(bytes) }.ok_or("a packet shorter than its header says")?
}

fn ipv4(bytes: &[u8]) -> Option<Result<Packet<'_>, Wrong>> {
    let header = bytes.get(..IPV4_HEADER)?;
    if header[0] != 0x45 {
        return Some(Err(format!("an IPv4 header that begins with {:02x}", header[0])));
    }
    let len = usize::from(be16(header, 2)?);
    if be16(header, 6)? & FRAGMENT != 0 {
        return Some(Err("a fragment".into()));
    }
    if sum(&[header]) != 0xFFFF {
        return Some(Err("a wrong checksum of IPv4".into()));
    }
    let address = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?)));
    let (source, destination) = (address(12)?, address(16)?);
    let payload = bytes.get(IPV4_HEADER..len)?;
    Some(Ok(Packet { source, destination, protocol: header[9], hop_limit: header[8], payload, len }))
}

fn ipv6(bytes: &[u8]) -> Option<Result<Packet<'_>, Wrong>> {
    let header = bytes.get(..IPV6_HEADER)?;
    if header[0] >> 4 != 6 {
        return Some(Err(format!("an IPv6 header that begins with {:02x}", header[0])));
    }
    let len = usize::from(be16(header, 4)?) + IPV6_HEADER;
    let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?)));
    let (source, destination) = (address(8)?, address(24)?);
    let payload = bytes.get(IPV6_HEADER..len)?;
    // Extension headers are protocols that nobody lets through.
    Some(Ok(Packet { source, destination, protocol: header[6], hop_limit: header[7], payload, len }))
}

pub fn udp<'a>(packet: &Packet<'a>) -> Result<Datagram<'a>, Wrong> {
    let datagram = packet.payload;
    let (Some(source), Some(destination), Some(len), Some(checksum)) =
        (be16(datagram, 0), be16(datagram, 2), be16(datagram, 4), be16(datagram, 6))
    else {
        return Err("UDP without a header".into());
    };
    if usize::from(len) != datagram.len() {
        return Err(format!("UDP of {len} bytes in a packet of {}", datagram.len()));
    }
    // RFC 768: none over IPv4 is allowed; RFC 8200 s. 8.1: over IPv6 it is not.
    let lacks = checksum == 0 && packet.source.is_ipv4();
    if !lacks && !checksum_is_right(packet, UDP) {
        return Err("a wrong checksum of UDP".into());
    }
    Ok(Datagram { source, destination, payload: &datagram[UDP_HEADER..] })
}

/// Of UDP and ICMPv6: with the addresses, the length and the protocol.
pub fn checksum_is_right(packet: &Packet<'_>, protocol: u8) -> bool {
    let bytes = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let len = (packet.payload.len() as u32).to_be_bytes();
    let (source, destination) = (bytes(packet.source), bytes(packet.destination));
    sum(&[&source, &destination, &len, &[0, protocol], packet.payload]) == 0xFFFF
}

/// RFC 1071. All parts but the last have an even length.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from);
    let mut sum: u64 = words.map(word).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}
