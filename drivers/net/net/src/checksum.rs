//! The Internet checksum (RFC 1071), and what of a received frame a card checks.

use crate::{HEADER_BYTES, TAG_BYTES, be16};

/// A ones' complement sum of big-endian 16-bit words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// With these bytes, the first of which is the upper half of a word; an odd one at the end is followed by a 0.
    #[must_use]
    pub fn bytes(self, data: &[u8]) -> Self {
        // 2^16 is 1 modulo 2^16 - 1, so words of 32 bits add up to the same; 2^32 of them fit.
        let halves = |bytes: [u8; 8]| {
            let [a, b, c, d, e, f, g, h] = bytes;
            u64::from(u32::from_be_bytes([a, b, c, d])).wrapping_add(u32::from_be_bytes([e, f, g, h]).into())
        };
        let (whole, rest) = data.as_chunks::<8>();
        let sum = whole.iter().fold(self.0, |sum, bytes| sum.wrapping_add(halves(*bytes)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Self(sum.wrapping_add(halves(last)))
    }

    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word.into()))
    }

    /// The sum itself.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        // At most 16 bits are left.
        sum as u16
    }

    /// As it stands in a header: complemented, and never 0, which in UDP means that there is none.
    pub fn checksum(self) -> u16 {
        match !self.folded() {
            0 => 0xffff,
            other => other,
        }
    }
}

/// What was checked in a received frame, and whether it was right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// The header checksum of IPv4.
    pub network: Option<bool>,
    /// The checksum of TCP or UDP.
    pub transport: Option<bool>,
    /// It was UDP's.
    pub udp: bool,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_HEADER_BYTES: usize = 40;
/// More fragments, and the fragment's offset (RFC 791 s. 3.1).
const FRAGMENT: u16 = 0x3fff;
/// Where a UDP header has its checksum.
const UDP_CHECKSUM: usize = 6;

/// Checks a received frame, with a VLAN tag or without. What is no IP packet, is a fragment, or has extension headers is not checked.
pub fn verify(frame: &[u8]) -> Verified {
    let (kind, start) = match be16(frame, 12) {
        Some(VLAN) => (be16(frame, 16), HEADER_BYTES.saturating_add(TAG_BYTES)),
        kind => (kind, HEADER_BYTES),
    };
    let packet = frame.get(start..).unwrap_or_default();
    match kind {
        Some(IPV4) => ipv4(packet),
        Some(IPV6) => ipv6(packet).unwrap_or_default(),
        _ => Verified::default(),
    }
}

fn ipv4(packet: &[u8]) -> Verified {
    let header_len = usize::from(packet.first().copied().unwrap_or(0) & 0xf).saturating_mul(4);
    let header =
        packet.get(..header_len).filter(|header| header.len() >= 20 && header.first().is_some_and(|b| b >> 4 == 4));
    let Some(header) = header else { return Verified::default() };
    let network = Some(Sum::default().bytes(header).folded() == 0xffff);
    let checked = || {
        let payload = packet.get(header_len..usize::from(be16(packet, 2)?))?;
        let whole = be16(packet, 6)? & FRAGMENT == 0;
        let pseudo = Sum::default().bytes(packet.get(12..20)?);
        if whole { transport(pseudo, *packet.get(9)?, payload) } else { None }
    };
    let (transport, udp) = checked().map_or((None, false), |(good, udp)| (Some(good), udp));
    Verified { network, transport, udp }
}

fn ipv6(packet: &[u8]) -> Option<Verified> {
    let end = usize::from(be16(packet, 4)?).checked_add(IPV6_HEADER_BYTES)?;
    let payload = packet.get(IPV6_HEADER_BYTES..end)?;
    let pseudo = Sum::default().bytes(packet.get(8..IPV6_HEADER_BYTES)?);
    let (good, udp) = transport(pseudo, *packet.get(6)?, payload)?;
    Some(Verified { network: None, transport: Some(good), udp })
}

/// Is the checksum of the payload right, and is it UDP's? `None`: it has none, or is of another protocol.
fn transport(pseudo: Sum, protocol: u8, payload: &[u8]) -> Option<(bool, bool)> {
    let udp = protocol == UDP;
    if !udp && protocol != TCP || udp && be16(payload, UDP_CHECKSUM)? == 0 {
        return None;
    }
    let len = u16::try_from(payload.len()).ok()?;
    Some((pseudo.word(protocol.into()).word(len).bytes(payload).folded() == 0xffff, udp))
}
