//! Who answers on the link.

use super::*;

fn arp(operation: u16, asks: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4];
    payload.extend(operation.to_be_bytes());
    payload.extend(GUEST);
    payload.extend(asks.octets());
    payload.extend([0; 6]);
    payload.extend(wanted.octets());
    ethernet(emit::BROADCAST, frames::ARP, &payload)
}

#[test]
fn the_gateway_has_every_address_that_the_guest_asks_for() {
    let mut inside = inside();
    for wanted in [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 77), FAR] {
        assert!(send(&mut inside, &arp(1, OWN, wanted)).is_empty());
        let frame = answer(&mut inside).expect("an answer");
        assert_eq!((&frame[..6], &frame[6..12]), (&GUEST[..], &GATEWAY[..]));
        let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
        reply.extend(GATEWAY);
        reply.extend(wanted.octets());
        reply.extend(GUEST);
        reply.extend(OWN.octets());
        assert_eq!(&frame[14..], &reply);
    }
}

#[test]
fn the_guests_own_address_is_never_said_to_be_taken() {
    let mut inside = inside();
    let probe = arp(1, Ipv4Addr::UNSPECIFIED, OWN);
    for frame in [probe, arp(1, OWN, OWN), arp(2, OWN, FAR), arp(1, FAR, FAR)] {
        refused(&mut inside, &frame, Reason::Local);
        assert!(answer(&mut inside).is_none());
    }
}

#[test]
fn the_routers_address_is_defended_against_a_guest_that_probes_for_it() {
    let mut inside = inside();
    send(&mut inside, &arp(1, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 9, 0, 1)));
    assert!(answer(&mut inside).is_some());
}

#[test]
fn a_short_arp_message_is_malformed() {
    let mut inside = inside();
    let frame = arp(1, OWN, FAR);
    refused(&mut inside, &frame[..41], Reason::Malformed);
}

fn solicitation(from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    if !from.is_unspecified() {
        message.extend([1, 1]);
        message.extend(GUEST);
    }
    let [.., a, b, c] = target.octets();
    let to = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 1, 0xFF00 | u16::from(a), u16::from_be_bytes([b, c]));
    icmp([0x33, 0x33, 0xFF, a, b, c], from, to, 255, &message)
}

#[test]
fn the_gateway_advertises_itself_for_every_ipv6_address() {
    let mut inside = inside();
    let gateway = link(24).gateway_v6();
    for (from, target) in [(GUEST_LOCAL, gateway), (OWN6, FAR6), (GUEST_LOCAL, FAR6)] {
        assert!(send(&mut inside, &solicitation(from, target)).is_empty());
        let frame = answer(&mut inside).expect("an answer");
        let packet = packet_of(&frame);
        assert_eq!((packet.source, packet.destination, packet.hop_limit), (target.into(), from.into(), 255));
        // Flags R, S and O.
        assert_eq!((packet.payload()[0], packet.payload()[4]), (136, 0xE0));
        assert_eq!(packet.payload()[8..24], target.octets());
        assert_eq!(packet.payload()[24..], [2, 1, 2, 0, 0, 0, 0, 1]);
    }
}

#[test]
fn duplicate_address_detection_finds_no_duplicate_but_the_gateway() {
    let mut inside = inside();
    for target in [OWN6, GUEST_LOCAL] {
        refused(&mut inside, &solicitation(Ipv6Addr::UNSPECIFIED, target), Reason::Local);
    }
    assert!(answer(&mut inside).is_none());
    send(&mut inside, &solicitation(Ipv6Addr::UNSPECIFIED, link(24).gateway_v6()));
    let frame = answer(&mut inside).expect("an answer to all");
    assert_eq!(&frame[..6], &[0x33, 0x33, 0, 0, 0, 1]);
}

#[test]
fn solicitations_from_beyond_the_link_or_with_a_wrong_checksum_are_malformed() {
    let mut inside = inside();
    let mut far = solicitation(GUEST_LOCAL, FAR6);
    far[14 + 7] = 254;
    refused(&mut inside, &far, Reason::Malformed);
    let mut wrong = solicitation(GUEST_LOCAL, FAR6);
    wrong[14 + 40 + 2] ^= 1;
    refused(&mut inside, &wrong, Reason::Malformed);
}

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 2);
const ALL_ROUTERS_MAC: MacAddr = [0x33, 0x33, 0, 0, 0, 2];

#[test]
fn a_router_advertisement_tells_of_dhcpv6_mtu_and_dns_and_of_no_prefix() {
    let mut inside = inside();
    assert_eq!(inside.poll_timeout(), None, "nobody has asked yet");
    send(&mut inside, &icmp(ALL_ROUTERS_MAC, GUEST_LOCAL, ALL_ROUTERS, 255, &[133, 0, 0, 0, 0, 0, 0, 0]));
    let frame = answer(&mut inside).expect("an advertisement");
    let packet = packet_of(&frame);
    assert_eq!((packet.source, packet.destination), (link(24).gateway_v6().into(), GUEST_LOCAL.into()));
    assert_eq!(packet.hop_limit, 255);
    let message = packet.payload();
    assert_eq!((message[0], message[4], message[5]), (134, 64, 0xC0));
    assert_eq!(message[6..16], [0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]);
    let options = &message[16..];
    assert_eq!(options[..8], [1, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(options[8..16], [5, 1, 0, 0, 0, 0, 0x05, 0x8C]);
    assert_eq!(options[16..24], [25, 3, 0, 0, 0, 0, 0x07, 0x08]);
    assert_eq!(options[24..], [0xFD, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53]);
}

#[test]
fn the_router_says_again_that_it_is_there_before_its_lifetime_ends() {
    let mut inside = inside();
    send(&mut inside, &icmp(ALL_ROUTERS_MAC, GUEST_LOCAL, ALL_ROUTERS, 255, &[133, 0, 0, 0, 0, 0, 0, 0]));
    answer(&mut inside).unwrap();
    let due = inside.poll_timeout().expect("a time");
    assert!(due.0 - NOW.0 < 1_800_000_000_000 / 2);
    inside.on_timeout(Instant(due.0 - 1));
    assert!(answer(&mut inside).is_none());
    inside.on_timeout(due);
    assert_eq!(&answer(&mut inside).expect("an advertisement to all")[..6], &[0x33, 0x33, 0, 0, 0, 1]);
    assert!(inside.poll_timeout().unwrap() > due);
}

#[test]
fn a_tunnel_without_ipv6_has_no_router_and_one_without_ipv4_no_arp() {
    let only4 = Link::new(GATEWAY, vec![(OWN.into(), 32)], vec![], MTU).unwrap();
    let mut inside = Inside::new(only4, GUEST);
    let solicits = icmp(ALL_ROUTERS_MAC, GUEST_LOCAL, ALL_ROUTERS, 255, &[133, 0, 0, 0, 0, 0, 0, 0]);
    refused(&mut inside, &solicits, Reason::Local);
    let only6 = Link::new(GATEWAY, vec![(OWN6.into(), 128)], vec![], MTU).unwrap();
    let mut inside = Inside::new(only6, GUEST);
    refused(&mut inside, &arp(1, OWN, FAR), Reason::Local);
}

#[test]
fn a_guest_that_changes_its_hardware_address_gets_its_frames_there() {
    let mut inside = inside();
    let mut frame = udp(GATEWAY, (OWN, 1), (FAR, 2), b"x");
    frame[6..12].copy_from_slice(&[2, 7, 7, 7, 7, 7]);
    assert_eq!(send(&mut inside, &frame).len(), 1);
    let back = udp(GATEWAY, (FAR, 2), (OWN, 1), b"y");
    inside.on_packet(&back[14..]);
    assert_eq!(answer(&mut inside).unwrap()[..6], [2, 7, 7, 7, 7, 7]);
}

#[test]
fn links_that_cannot_be_are_refused() {
    let v4 = |prefix| vec![(IpAddr::from(OWN), prefix)];
    let wrong = [
        Link::new([0, 0, 0, 0, 0, 1], v4(24), vec![], MTU),
        Link::new([3, 0, 0, 0, 0, 1], v4(24), vec![], MTU),
        Link::new(GATEWAY, vec![], vec![], MTU),
        Link::new(GATEWAY, v4(33), vec![], MTU),
        Link::new(GATEWAY, vec![(Ipv4Addr::new(224, 0, 0, 1).into(), 32)], vec![], MTU),
        Link::new(GATEWAY, v4(24), vec![Ipv4Addr::UNSPECIFIED.into()], MTU),
        Link::new(GATEWAY, v4(24), vec![], 575),
        Link::new(GATEWAY, v4(24), vec![], 1501),
        Link::new(GATEWAY, vec![(OWN6.into(), 64)], vec![], 1279),
    ];
    assert!(wrong.iter().all(Result::is_err), "{wrong:?}");
    assert!(Link::new(GATEWAY, v4(0), vec![], 576).is_ok());
}
