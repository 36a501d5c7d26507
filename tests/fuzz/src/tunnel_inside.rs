//! A hostile guest behind a tunnel: any frames, any times.
//!
//! Input: as `tunnel_rig` tells; step kinds 0, 1 and 2 are IPv4, IPv6 and ARP behind a header of Ethernet from the guest's card to the gateway (bit 0: to
//! all), 3 to 5 whole frames.

use crate::tunnel_rig::{GUEST, GUEST6, MAC, Rig, frame, icmp6, step, udp4};
use mediator::net::Side;
use std::net::{Ipv4Addr, Ipv6Addr};
use tunnel::GATEWAY_MAC;

/// Runs one input.
pub fn run(data: &[u8]) {
    Rig::new(false).run(data, Side::Guest, |what, bytes| frame(what, GATEWAY_MAC, MAC, bytes));
}

/// DHCP, DHCPv6, ARP, NDP, packets that pass, that are cut, that are refused; TCP with an MSS.
pub fn seeds() -> Vec<Vec<u8>> {
    let far = Ipv4Addr::new(198, 51, 100, 7);
    let mut discover = vec![1, 1, 6, 0, 1, 2, 3, 4];
    discover.resize(236, 0);
    discover[28..34].copy_from_slice(&MAC);
    discover.extend([99, 130, 83, 99, 53, 1, 1, 61, 2, 1, 9, 255]);
    let discover = step(1, &udp4((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &discover));
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &MAC, &GUEST.octets(), &[0; 6], &far.octets()].concat();
    let local = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 5);
    let routers = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 2);
    let solicits = icmp6(local, routers, &[133, 0, 0, 0, 0, 0, 0, 0]);
    let asks = icmp6(local, routers, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &GUEST6.octets()].concat());
    let mut syn = udp4((GUEST, 0), (far, 0), &[0; 16]);
    syn[9] = frames::TCP;
    syn[20..44].copy_from_slice(&[0, 9, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 4, 0, 0, 0, 0, 0, 2, 4, 5, 0xB4]);
    let mut solicit = vec![1, 7, 7, 7, 0, 1, 0, 4, 9, 9, 9, 9, 0, 3, 0, 12];
    solicit.extend([0; 12]);
    let len = solicit.len() as u16 + 8;
    let mut dhcp6 = vec![0x60, 0, 0, 0, 0, len as u8, 17, 64];
    dhcp6.extend(local.octets());
    dhcp6.extend(routers.octets());
    dhcp6.extend([546, 547, len, 0].map(u16::to_be_bytes).concat());
    dhcp6.extend(solicit);
    vec![
        [discover, step(0x40, &arp), step(0, &udp4((GUEST, 1), (far, 2), b"data"))].concat(),
        [step(0x20, &solicits), step(0x20, &asks), step(0x20, &dhcp6), step(0xFF, &[0; 200])].concat(),
        [step(0, &udp4((GUEST, 1), (far, 2), &[7; 1600])), step(0xC0, &[]), step(0xC1, &[])].concat(),
        [step(0, &syn), step(0x80, &[0xFF; 60])].concat(),
    ]
}
