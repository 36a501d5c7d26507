//! Questions of ours to the link, as frames. smoltcp has its own for neighbours, but asks for one a second at most, whoever waits for others.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use mediator::net::MacAddr;

const ALL_ROUTERS_MAC: MacAddr = [0x33, 0x33, 0, 0, 0, 2];
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 2);
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const HOP_LIMIT: u8 = 255;

/// RFC 826: who has `target`?
pub fn arp_request(mac: MacAddr, own: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xFF; 6], mac, frames::ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(own.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// RFC 4861 s. 4.3, with our hardware address, to the target's solicited-node address (RFC 4291 s. 2.7.1).
pub fn neighbour_solicitation(mac: MacAddr, own: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let to = Ipv6Addr::from([0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xFF, a, b, c]);
    let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    solicitation(mac, own, ([0x33, 0x33, 0xFF, a, b, c], to), message)
}

/// RFC 4861 s. 4.1, with our hardware address.
pub fn router_solicitation(mac: MacAddr, own: Ipv6Addr) -> Vec<u8> {
    solicitation(mac, own, (ALL_ROUTERS_MAC, ALL_ROUTERS), vec![ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0])
}

fn solicitation(mac: MacAddr, own: Ipv6Addr, to: (MacAddr, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    // The option with the sender's hardware address (s. 4.6.1).
    message.extend([1, 1]);
    message.extend(mac);
    let sum = !frames::sum(own.into(), to.1.into(), frames::ICMPV6, &message);
    frames::put(&mut message, 2, &sum.to_be_bytes());
    let mut frame = ethernet(to.0, mac, frames::IPV6);
    let [high, low] = u16::try_from(message.len()).unwrap_or_default().to_be_bytes();
    frame.extend([0x60, 0, 0, 0, high, low, frames::ICMPV6, HOP_LIMIT]);
    frame.extend(own.octets());
    frame.extend(to.1.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: MacAddr, from: MacAddr, ether_type: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to);
    frame.extend(from);
    frame.extend(ether_type.to_be_bytes());
    frame
}
