//! A hostile wire below a tunnel: any frames, any times.
//!
//! Input: a byte (bit 0: addresses by DHCP and SLAAC, and a name to ask for), then as `tunnel_rig` tells; step kinds 0, 1 and 2 are IPv4, IPv6 and ARP
//! behind a header of Ethernet to the card (bit 0: to all), 3 is a packet that the peer has sealed, 4 and 5 are whole frames.

use crate::tunnel_rig::{GUEST, MAC, OUTER, PEER, PORT, Rig, SEAL, frame, icmp6, step, udp4};
use mediator::net::Side;
use std::net::{Ipv4Addr, Ipv6Addr};

const PEER_MAC: [u8; 6] = [0x52, 0x54, 0, 1, 1, 1];

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else { return };
    Rig::new(flags & 1 != 0).run(data, Side::Wire, |what, bytes| match what >> 5 {
        3 => {
            let sealed = [&SEAL[..], &bytes.iter().map(|byte| byte ^ 0x5A).collect::<Vec<_>>()].concat();
            frame(0, MAC, PEER_MAC, &udp4((PEER, PORT), (OUTER, PORT), &sealed))
        }
        _ => frame(what, MAC, PEER_MAC, bytes),
    });
}

/// A packet of the peer's, pieces, ARP, DHCP, router advertisements, what nobody listens to.
pub fn seeds() -> Vec<Vec<u8>> {
    let inner = udp4((Ipv4Addr::new(198, 51, 100, 7), 2), (GUEST, 1), b"answer");
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &PEER_MAC, &PEER.octets(), &[0; 6], &OUTER.octets()].concat();
    let mut piece = udp4((PEER, PORT), (OUTER, PORT), &[1; 32]);
    piece[6] = 0x20;
    let mut offer = vec![2, 1, 6, 0, 0, 0, 0, 1];
    offer.resize(236, 0);
    offer[16..20].copy_from_slice(&OUTER.octets());
    offer[28..34].copy_from_slice(&MAC);
    offer.extend([99, 130, 83, 99, 53, 1, 2, 54, 4, 192, 0, 2, 1, 1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 255]);
    let offer = udp4((PEER, 67), (Ipv4Addr::BROADCAST, 68), &offer);
    let router = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1);
    let nodes = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
    let mut advertisement =
        vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xC0, 0, 0, 99, 0, 0, 0, 9, 0];
    advertisement.extend([0, 0, 0, 0, 0x20, 1, 0x0D, 0xB8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let advertisement = icmp6(router, nodes, &advertisement);
    vec![
        [&[0][..], &step(0x40, &arp), &step(0x60, &inner), &step(0x60, &[0x45; 40])].concat(),
        [&[0][..], &step(0, &piece), &step(0, &udp4((PEER, 9), (OUTER, 9), b"closed"))].concat(),
        [&[1][..], &step(1, &offer), &step(0x21, &advertisement), &step(0xFF, &[9; 100])].concat(),
        [&[1][..], &step(0xC0, &[]), &step(0xC1, &[]), &step(0xE1, &[]), &step(0x80, &[0xFF; 60])].concat(),
    ]
}
