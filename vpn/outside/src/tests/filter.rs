//! What may leave, kind by kind; and that smoltcp cannot send anything else.

use super::*;
use crate::Refused;
use crate::egress::Egress;

fn egress() -> Egress {
    Egress { mac: MAC, ports: vec![PORT], dhcp: true, dns: vec![ROUTER.into()] }
}

/// A frame as if our stack had made it.
fn own(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&ROUTER_MAC);
    frame[6..12].copy_from_slice(&MAC);
    frame
}

fn arp(operation: u8, sender: MacAddr) -> Vec<u8> {
    let start = [&[0xFF; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation], &sender].concat();
    [&start[..], &OWN.octets(), &[0; 6], &ROUTER.octets()].concat()
}

#[test]
fn each_kind_that_is_on_the_list_leaves() {
    let neighbour = |kind: u8| own(icmp6(OWN6, ROUTER6, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[9; 24]].concat()));
    let listed = [
        arp(1, MAC),
        arp(2, MAC),
        neighbour(135),
        neighbour(136),
        own(icmp6(OWN6, ROUTER6, &[133, 0, 0, 0, 0, 0, 0, 0])),
        own(udp((OWN, PORT), (PEER, 9), b"sealed")),
        own(udp((OWN6, PORT), (PEER6, 9), b"sealed")),
        own(udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), b"discover")),
        own(udp((OWN, 4000), (ROUTER, 53), b"question")),
    ];
    for frame in listed {
        assert_eq!(egress().check(&frame), Ok(()), "{frame:?}");
    }
}

#[test]
fn each_kind_that_is_not_on_the_list_is_refused() {
    let icmp = |message: &[u8]| own(ip(MAC, OWN.into(), PEER.into(), 1, 64, message));
    let tcp = [&[0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 4][..], &[0; 6]].concat();
    let datagram = datagram((OWN.into(), PORT), (PEER.into(), 9), b"sealed");
    let mut fragment = own(udp((OWN, PORT), (PEER, 9), b"sealed"));
    fragment[20] |= 0x20;
    let mut from_other = own(udp((OWN, PORT), (PEER, 9), b"sealed"));
    from_other[11] ^= 1;
    let mut hop_limit = own(icmp6(OWN6, ROUTER6, &[136; 32]));
    hop_limit[21] = 64;
    let mut lying = own(udp((OWN, PORT), (PEER, 9), b"sealed"));
    lying[39] -= 1;
    let cases = [
        (icmp(&[0; 16]), Refused::Icmp),
        (icmp(&[3, 3, 0, 0, 0, 0, 0, 0]), Refused::Icmp),
        (own(ip(MAC, OWN.into(), PEER.into(), 6, 64, &tcp)), Refused::Tcp),
        (own(ip(MAC, OWN6.into(), PEER6.into(), 6, 64, &tcp)), Refused::Tcp),
        (own(ip(MAC, OWN.into(), PEER.into(), 2, 1, &[0x16; 8])), Refused::Protocol),
        (own(ip(MAC, OWN.into(), PEER.into(), 50, 64, &[0; 40])), Refused::Protocol),
        (own(ip(MAC, OWN.into(), PEER.into(), 58, 64, &[135; 32])), Refused::Protocol),
        // Echo reply, unreachable, router advertisement, redirect, multicast listener report; too long; not of the link.
        (own(icmp6(OWN6, PEER6, &[129; 16])), Refused::Icmpv6),
        (own(icmp6(OWN6, PEER6, &[1, 4, 0, 0, 0, 0, 0, 0])), Refused::Icmpv6),
        (own(icmp6(OWN6, PEER6, &[134; 16])), Refused::Icmpv6),
        (own(icmp6(OWN6, PEER6, &[137; 40])), Refused::Icmpv6),
        (own(icmp6(OWN6, PEER6, &[143; 28])), Refused::Icmpv6),
        (own(icmp6(OWN6, PEER6, &[&[135, 0, 0, 0][..], &[7; 40]].concat())), Refused::Icmpv6),
        (hop_limit, Refused::Icmpv6),
        (
            own(ip(MAC, OWN6.into(), PEER6.into(), 0, 1, &[[17, 0, 0, 0, 0, 0, 0, 0].as_slice(), &datagram].concat())),
            Refused::Fragment,
        ),
        (fragment, Refused::Fragment),
        // UDP: from another port, to other servers, DHCP's other direction.
        (own(udp((OWN, PORT + 1), (PEER, PORT), b"sealed")), Refused::Udp),
        (own(udp((OWN, 4000), (PEER, 53), b"question")), Refused::Udp),
        (own(udp((OWN, 67), (PEER, 68), b"offer")), Refused::Udp),
        (own(udp((OWN6, 68), (PEER6, 67), b"discover")), Refused::Udp),
        (own(udp((OWN, 5353), (Ipv4Addr::new(224, 0, 0, 251), 5353), b"here")), Refused::Udp),
        ([&own(udp((OWN, PORT), (PEER, 9), b"sealed"))[..], b"hidden"].concat(), Refused::Malformed),
        (lying, Refused::Malformed),
        (from_other, Refused::Malformed),
        (arp(3, MAC), Refused::Malformed),
        (arp(2, ROUTER_MAC), Refused::Malformed),
        ([&arp(1, MAC)[..], &[0; 4]].concat(), Refused::Malformed),
        (own([&[0; 12][..], &[0x88, 0xCC, 1, 2, 3]].concat()), Refused::NotIp),
        (vec![0; 13], Refused::Malformed),
    ];
    for (frame, why) in cases {
        assert_eq!(egress().check(&frame), Err(why), "{frame:?}");
    }
    let no_dhcp = Egress { dhcp: false, dns: vec![], ..egress() };
    let discover = own(udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), b"discover"));
    assert_eq!(no_dhcp.check(&discover), Err(Refused::Udp));
    assert_eq!(no_dhcp.check(&own(udp((OWN, 4000), (ROUTER, 53), b"question"))), Err(Refused::Udp));
}

#[test]
fn what_smoltcp_answers_of_its_own_accord_does_not_leave() {
    let mut outside = outside();
    // Both know each other's hardware addresses, so that answers are not held back for that.
    send(&mut outside, (PEER, 1).into(), b"x");
    send(&mut outside, (PEER6, 1).into(), b"x");
    let unreachable = [udp((PEER, 7), (OWN, 9), b"to a closed port"), udp((PEER6, 7), (OWN6, 9), b"likewise")];
    unreachable.iter().for_each(|frame| outside.force(NOW, frame));
    outside.force(NOW, &ip(MAC, PEER.into(), OWN.into(), 99, 64, b"unknown protocol"));
    outside.force(NOW, &ip(MAC, PEER6.into(), OWN6.into(), 99, 64, b"unknown next header"));
    assert!(sent(&mut outside).is_empty());
    let refused = [Refused::Icmp, Refused::Icmpv6].map(|why| outside.counters().refused(why));
    assert_eq!(refused, [2, 2], "smoltcp has tried");
}

#[test]
fn the_filter_of_what_comes_in_keeps_the_same_from_smoltcp() {
    let mut outside = outside();
    outside.on_frame(NOW, &udp((PEER, 7), (OWN, 9), b"to a closed port"));
    outside.on_frame(NOW, &ip(MAC, PEER.into(), OWN.into(), 1, 64, &[8, 0, 0xF7, 0xFF, 0, 0, 0, 0]));
    outside.on_frame(NOW, &ip(MAC, PEER.into(), OWN.into(), 6, 64, &[0; 20]));
    assert!(sent(&mut outside).is_empty());
    assert_eq!(outside.counters().unwanted(crate::Unwanted::NoListener), 3);
    assert_eq!(outside.counters().refused(Refused::Icmp), 0);
}

#[test]
fn who_has_our_addresses_is_answered_and_who_has_others_is_not() {
    let mut outside = outside();
    let ask = |wanted: Ipv4Addr| {
        let start = [&[0xFF; 6][..], &ROUTER_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &ROUTER_MAC, &ROUTER.octets()];
        [&start.concat()[..], &[0; 6], &wanted.octets()].concat()
    };
    outside.on_frame(NOW, &ask(OWN));
    let frames = sent(&mut outside);
    assert_eq!((frames.len(), &frames[0][20..28]), (1, &[0, 2, 0x52, 0x54, 0, 0xAA, 0xBB, 0xCC][..]));
    outside.on_frame(NOW, &ask(Ipv4Addr::new(192, 0, 2, 11)));
    assert!(sent(&mut outside).is_empty());
}
