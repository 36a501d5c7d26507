//! What is asked of an inner packet (RFC 791 s. 3.1, RFC 8200 s. 3): is it one, how long is it, from where to where.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const V4_HEADER_BYTES: usize = 20;
const V6_HEADER_BYTES: usize = 40;

pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Header and payload; what lies behind it is padding.
    pub length: usize,
}

impl Packet {
    /// `None`: not the version, the header or the length of a packet that is there whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let packet = match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes.first_chunk()?),
            6 => Self::parse_v6(bytes.first_chunk()?),
            _ => None,
        }?;
        (packet.length <= bytes.len()).then_some(packet)
    }

    fn parse_v4(header: &[u8; V4_HEADER_BYTES]) -> Option<Self> {
        let [_, _, high, low, _, _, _, _, _, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        (length >= V4_HEADER_BYTES).then_some(Self {
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
            length,
        })
    }

    fn parse_v6(header: &[u8; V6_HEADER_BYTES]) -> Option<Self> {
        let (front, destination) = header.split_last_chunk::<16>()?;
        let (front, source) = front.split_last_chunk::<16>()?;
        let [_, _, _, _, high, low, ..] = *front.first_chunk::<8>()?;
        Some(Self {
            source: Ipv6Addr::from(*source).into(),
            destination: Ipv6Addr::from(*destination).into(),
            length: usize::from(u16::from_be_bytes([high, low])).saturating_add(V6_HEADER_BYTES),
        })
    }
}
