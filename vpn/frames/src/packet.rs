//! An IP packet by its headers.

use crate::{IPV4, IPV6};
use core::net::IpAddr;
use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

/// Extension headers of IPv6 that are walked through; a packet with more is refused.
const MAX_EXTENSIONS: usize = 8;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const FRAGMENT_HEADER_BYTES: usize = 8;

/// Which piece of a packet this one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    pub id: u32,
    /// Of the payload in the whole one's, in bytes.
    pub offset: u16,
    /// There are more behind it.
    pub more: bool,
}

/// An IP packet whose lengths hold: `bytes` is exactly the packet, and the payload lies within it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    pub bytes: &'a [u8],
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Of the payload. Of IPv6: behind the extension headers, or behind the fragment header of a later fragment.
    pub protocol: u8,
    /// Where the payload begins in `bytes`.
    pub payload_at: usize,
    /// Of a fragment: where the fragment header of IPv6 begins; of IPv4 the header's end.
    pub unfragmentable_bytes: usize,
    pub fragment: Option<Fragment>,
    pub dont_fragment: bool,
    /// Hop limit or time to live.
    pub hop_limit: u8,
}

impl<'a> Packet<'a> {
    /// The packet in a frame of this EtherType; what lies behind it is padding. `None`: no IP, or its headers contradict themselves.
    #[must_use]
    pub fn of_frame(ether_type: u16, payload: &'a [u8]) -> Option<Self> {
        match (ether_type, payload.first()? >> 4) {
            (IPV4, 4) => Self::parse_v4(payload),
            (IPV6, 6) => Self::parse_v6(payload),
            _ => None,
        }
    }

    /// A packet by itself; its version tells what it is.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::parse_v4(bytes),
            6 => Self::parse_v6(bytes),
            _ => None,
        }
    }

    #[must_use]
    pub fn ether_type(&self) -> u16 {
        if self.source.is_ipv4() { IPV4 } else { IPV6 }
    }

    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload_at..).unwrap_or_default()
    }

    /// Does it begin with the header of its protocol?
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset == 0)
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        let header = Ipv4Packet::new_checked(bytes).ok()?;
        let header_bytes = usize::from(header.header_len());
        let (offset, more) = (header.frag_offset(), header.more_frags());
        let fragment = Fragment { id: header.ident().into(), offset, more };
        Some(Self {
            bytes: bytes.get(..header.total_len().into())?,
            source: header.src_addr().into(),
            destination: header.dst_addr().into(),
            protocol: header.next_header().into(),
            payload_at: header_bytes,
            unfragmentable_bytes: header_bytes,
            fragment: (offset != 0 || more).then_some(fragment),
            dont_fragment: header.dont_frag(),
            hop_limit: header.hop_limit(),
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let header = Ipv6Packet::new_checked(bytes).ok()?;
        let bytes = bytes.get(..header.total_len())?;
        let mut packet = Self {
            bytes,
            source: header.src_addr().into(),
            destination: header.dst_addr().into(),
            protocol: header.next_header().into(),
            payload_at: header.header_len(),
            unfragmentable_bytes: 0,
            fragment: None,
            dont_fragment: true,
            hop_limit: header.hop_limit(),
        };
        for _ in 0..MAX_EXTENSIONS {
            match packet.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => packet.skip_options()?,
                FRAGMENT if packet.fragment.is_none() => {
                    packet.take_fragment_header()?;
                    if !packet.is_first() {
                        return Some(packet);
                    }
                }
                FRAGMENT => return None,
                _ => return Some(packet),
            }
        }
        None
    }

    /// RFC 8200 s. 4.2: next header, length in units of eight bytes without the first.
    fn skip_options(&mut self) -> Option<()> {
        let next = *self.bytes.get(self.payload_at)?;
        let units = *self.bytes.get(self.payload_at.checked_add(1)?)?;
        let len_bytes = usize::from(units).checked_add(1)?.checked_mul(8)?;
        self.payload_at = self.payload_at.checked_add(len_bytes).filter(|end| *end <= self.bytes.len())?;
        self.protocol = next;
        Some(())
    }

    /// RFC 8200 s. 4.5.
    fn take_fragment_header(&mut self) -> Option<()> {
        let header = self.bytes.get(self.payload_at..)?.first_chunk::<FRAGMENT_HEADER_BYTES>()?;
        let [next, _, high, low, id @ ..] = *header;
        let place = u16::from_be_bytes([high, low]);
        self.fragment = Some(Fragment { id: u32::from_be_bytes(id), offset: place & !7, more: place & 1 != 0 });
        self.unfragmentable_bytes = self.payload_at;
        self.payload_at = self.payload_at.checked_add(FRAGMENT_HEADER_BYTES)?;
        self.protocol = next;
        Some(())
    }
}

/// Could a host have this address for itself?
#[must_use]
pub fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            // 0/8 means "this network", 240/4 is reserved (RFC 6890).
            (1..224).contains(&first) && !v4.is_loopback()
        }
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified() && !v6.is_loopback(),
    }
}
