//! What both sides of a tunnel do with frames: bounded queues, and the look at an IP packet's headers.
//!
//! Everything here is read from hostile bytes and bounded by their length. Sources: RFC 791 (IPv4), RFC 8200 (IPv6).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod packet;
mod queue;
#[cfg(test)]
mod tests;

use core::net::IpAddr;
use smoltcp::wire::checksum;

pub use packet::{Fragment, Packet, is_unicast};
pub use queue::FrameQueue;

/// An Ethernet header: destination, source, EtherType.
pub const ETHERNET_BYTES: usize = 14;
/// EtherTypes (IEEE 802 numbers).
pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86DD;
/// Tags of IEEE 802.1Q and 802.1ad.
pub const VLAN: [u16; 2] = [0x8100, 0x88A8];
/// Protocol numbers of IP (IANA).
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

/// Reads a big-endian number at an offset.
#[must_use]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

/// Likewise, of four bytes.
#[must_use]
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// Writes `value` at an offset; outside of `bytes` nothing happens.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

/// An Internet checksum after one of its 16-bit words has changed (RFC 1624 s. 3, equation 3).
#[must_use]
pub fn updated_checksum(checksum: u16, old: u16, new: u16) -> u16 {
    let fold = |sum: u32| (sum & 0xFFFF).wrapping_add(sum >> 16);
    let sum = u32::from(!checksum).wrapping_add(u32::from(!old)).wrapping_add(u32::from(new));
    // Two folds bring three words into one.
    !u16::try_from(fold(fold(sum))).unwrap_or(u16::MAX)
}

/// The one's complement sum of a payload of ICMPv6, TCP or UDP with its pseudo header (RFC 9293 s. 3.1, RFC 8200 s. 8.1): all ones if its
/// checksum is right. ICMP of IPv4 has no pseudo header.
#[must_use]
pub fn sum(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let pseudo = match (from, to) {
        _ if protocol == ICMP => 0,
        (IpAddr::V4(from), IpAddr::V4(to)) => checksum::pseudo_header_v4(&from, &to, protocol.into(), len),
        (IpAddr::V6(from), IpAddr::V6(to)) => checksum::pseudo_header_v6(&from, &to, protocol.into(), len),
        _ => 0,
    };
    checksum::combine(&[pseudo, checksum::data(payload)])
}

/// The Ethernet header's EtherType and what follows it.
#[must_use]
pub fn split_frame(frame: &[u8]) -> Option<(u16, &[u8])> {
    Some((be16(frame, 12)?, frame.get(ETHERNET_BYTES..)?))
}
