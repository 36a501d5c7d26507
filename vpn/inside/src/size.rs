//! Packets of the guest that are longer than the tunnel's MTU.

use crate::emit::{self, Ends};
use crate::{Inside, Reason};
use alloc::vec::Vec;
use core::net::IpAddr;
use frames::{ICMP, ICMPV6, Packet};
use smoltcp::wire::Ipv4Packet;

/// "Destination unreachable: fragmentation needed" (RFC 792, RFC 1191 s. 4), and "packet too big" (RFC 4443 s. 3.2).
const FRAGMENTATION_NEEDED: [u8; 6] = [3, 4, 0, 0, 0, 0];
const PACKET_TOO_BIG: [u8; 6] = [2, 0, 0, 0, 0, 0];
/// How much of the packet goes back: all that fits in what every host must take (RFC 1812 s. 4.3.2.3; RFC 4443 s. 3.2), less headers.
const QUOTED_V4: usize = 576 - 20 - 8;
const QUOTED_V6: usize = 1280 - 40 - 8;
const HOP_LIMIT: u8 = 64;
const HEADER_BYTES: usize = 20;
/// Offsets of fragments count in these.
const FRAGMENT_UNIT_BYTES: usize = 8;

impl Inside {
    /// Cut, or refused and told to the guest.
    pub(crate) fn shorten(&mut self, packet: &Packet<'_>, out: &mut dyn FnMut(&[u8])) -> Result<(), Reason> {
        if packet.source.is_ipv4() && !packet.dont_fragment && packet.payload_at == HEADER_BYTES {
            return self.cut(packet, out).ok_or(Reason::Malformed);
        }
        self.tell(packet);
        Err(Reason::TooBig)
    }

    fn tell(&mut self, packet: &Packet<'_>) {
        if is_error(packet) || !packet.is_first() {
            return;
        }
        let (from, kind, quoted): (IpAddr, _, _) = match packet.source {
            IpAddr::V4(_) => (self.link.router.into(), FRAGMENTATION_NEEDED, QUOTED_V4),
            IpAddr::V6(_) => (self.link.gateway_v6().into(), PACKET_TOO_BIG, QUOTED_V6),
        };
        let mut message = Vec::with_capacity(quoted.saturating_add(8));
        message.extend(kind);
        message.extend(self.link.mtu.to_be_bytes());
        message.extend(packet.bytes.iter().take(quoted));
        let ends = Ends { to_mac: self.guest, from_mac: self.link.gateway_mac, from, to: packet.source };
        let pushed = emit::icmp(&mut self.to_guest, ends, HOP_LIMIT, &message);
        if self.answered(pushed).is_err() {
            self.counters.drop_for(Reason::NoRoom);
        }
    }

    /// RFC 791 s. 3.2, of a packet without options: those would go into some of the fragments only, and nobody sends them.
    fn cut(&mut self, packet: &Packet<'_>, out: &mut dyn FnMut(&[u8])) -> Option<()> {
        let room = usize::from(self.link.mtu).checked_sub(HEADER_BYTES)?;
        let step = room.checked_sub(room.checked_rem(FRAGMENT_UNIT_BYTES)?)?;
        let (offset, more) = packet.fragment.map_or((0, false), |fragment| (fragment.offset, fragment.more));
        let payload = packet.payload();
        let mut at = 0usize;
        while at < payload.len() {
            let end = at.checked_add(step)?.min(payload.len());
            self.scratch.clear();
            self.scratch.extend_from_slice(packet.bytes.get(..HEADER_BYTES)?);
            self.scratch.extend_from_slice(payload.get(at..end)?);
            let len = u16::try_from(self.scratch.len()).ok()?;
            let mut header = Ipv4Packet::new_unchecked(self.scratch.as_mut_slice());
            header.set_total_len(len);
            header.set_more_frags(more || end < payload.len());
            header.set_frag_offset(offset.checked_add(u16::try_from(at).ok()?)?);
            header.fill_checksum();
            out(&self.scratch);
            self.counters.to_tunnel = self.counters.to_tunnel.wrapping_add(1);
            at = end;
        }
        Some(())
    }
}

/// Errors are not answered with errors (RFC 1122 s. 3.2.2; RFC 4443 s. 2.4 e).
fn is_error(packet: &Packet<'_>) -> bool {
    let kind = packet.payload().first().copied().unwrap_or_default();
    match packet.protocol {
        ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        ICMPV6 => kind < 128,
        _ => false,
    }
}
