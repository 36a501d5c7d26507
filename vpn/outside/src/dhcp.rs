//! Answers of DHCP servers, as smoltcp can read them.

use alloc::vec::Vec;
use frames::{ETHERNET_BYTES, Packet};

/// Of the header of UDP, and of DHCP up to its options (RFC 2131 s. 2).
const OPTIONS_AT: usize = 8 + 240;
const UDP_CHECKSUM_AT: usize = 6;
const PAD: u8 = 0;
const END: u8 = 255;
const ROUTER: u8 = 3;
const ADDRESS_BYTES: usize = 4;

/// The frame of an answer that names several routers (RFC 2132 s. 3.5), with the first of them alone: smoltcp 0.14 takes the option with one
/// address only, and leaves us without any router otherwise. `None`: there is nothing to change, or its checksum is wrong.
pub fn with_one_router(frame: &[u8]) -> Option<Vec<u8>> {
    let (ether_type, payload) = frames::split_frame(frame)?;
    let packet = Packet::of_frame(ether_type, payload)?;
    let at = packet.payload_at.checked_add(ETHERNET_BYTES)?;
    let (value, len) = routers(packet.payload())?;
    let has_sum = frames::be16(packet.payload(), UDP_CHECKSUM_AT)? != 0;
    if has_sum && frames::sum(packet.source, packet.destination, frames::UDP, packet.payload()) != u16::MAX {
        return None;
    }
    let mut frame = frame.to_vec();
    let options = frame.get_mut(at..)?;
    // The other addresses become padding, so that no length changes. The checksum was looked at: now there is none (RFC 768).
    *options.get_mut(value.checked_sub(1)?)? = u8::try_from(ADDRESS_BYTES).ok()?;
    options.get_mut(value..)?.get_mut(ADDRESS_BYTES..len)?.fill(PAD);
    frames::put(options, UDP_CHECKSUM_AT, &[0, 0]);
    Some(frame)
}

/// Where in the datagram the value of an option with several routers begins, and its length.
fn routers(datagram: &[u8]) -> Option<(usize, usize)> {
    let mut at = OPTIONS_AT;
    loop {
        let kind = *datagram.get(at)?;
        at = at.checked_add(1)?;
        match kind {
            PAD => continue,
            END => return None,
            _ => {}
        }
        let len = usize::from(*datagram.get(at)?);
        at = at.checked_add(1)?;
        let end = at.checked_add(len).filter(|end| *end <= datagram.len())?;
        if kind == ROUTER && len > ADDRESS_BYTES && len.is_multiple_of(ADDRESS_BYTES) {
            return Some((at, len));
        }
        at = end;
    }
}
