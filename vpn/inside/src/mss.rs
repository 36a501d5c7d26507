//! The largest segment that TCP's ends agree on (RFC 9293 s. 3.7.1): what a SYN offers is lowered to what the tunnel takes.

use alloc::vec::Vec;
use frames::{Packet, TCP, be16, put, updated_checksum};
use smoltcp::wire::TcpPacket;

const OPTION_END: u8 = 0;
const OPTION_PAD: u8 = 1;
const OPTION_MSS: u8 = 2;
const MSS_BYTES: u8 = 4;
const CHECKSUM_AT: usize = 16;
const OPTIONS_AT: usize = 20;
/// Headers of IP and TCP without options.
const HEADERS_V4: u16 = 40;
const HEADERS_V6: u16 = 60;

/// Is it a SYN that offers more than an MTU allows? Then `changed` is the packet with less.
pub fn clamped(packet: &Packet<'_>, mtu: u16, changed: &mut Vec<u8>) -> bool {
    let headers = if packet.source.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    let Some((at, old, checksum)) = offer(packet) else { return false };
    let most = mtu.saturating_sub(headers);
    if old <= most {
        return false;
    }
    // At an odd offset the number's bytes lie in two words of the sum: there it counts with its bytes swapped.
    let (old_word, new_word) = if at.is_multiple_of(2) { (old, most) } else { (old.swap_bytes(), most.swap_bytes()) };
    let checksum = updated_checksum(checksum, old_word, new_word);
    changed.clear();
    changed.extend_from_slice(packet.bytes);
    if let Some(segment) = changed.get_mut(packet.payload_at..) {
        put(segment, at, &most.to_be_bytes());
        put(segment, CHECKSUM_AT, &checksum.to_be_bytes());
    }
    true
}

/// Where in the segment the number is, what it is, and the segment's checksum.
fn offer(packet: &Packet<'_>) -> Option<(usize, u16, u16)> {
    if packet.protocol != TCP || !packet.is_first() {
        return None;
    }
    let segment = packet.payload();
    let header = TcpPacket::new_checked(segment).ok().filter(|header| header.syn())?;
    let end = usize::from(header.header_len());
    let mut at = OPTIONS_AT;
    while at < end {
        match *segment.get(at)? {
            OPTION_END => return None,
            OPTION_PAD => at = at.checked_add(1)?,
            kind => {
                let len = *segment.get(at.checked_add(1)?)?;
                if len < 2 {
                    return None;
                }
                if kind == OPTION_MSS && len == MSS_BYTES && at.checked_add(len.into())? <= end {
                    let at = at.checked_add(2)?;
                    return Some((at, be16(segment, at)?, header.checksum()));
                }
                at = at.checked_add(len.into())?;
            }
        }
    }
    None
}
