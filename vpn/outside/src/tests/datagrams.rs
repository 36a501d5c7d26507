//! The tunnel's datagrams, and names.

use super::*;
use crate::{SendError, Unwanted};
use smoltcp::wire::Ipv4Packet;

#[test]
fn a_datagram_goes_by_the_router_and_routers_may_cut_it() {
    let mut outside = outside();
    let frames = send(&mut outside, (PEER, 1000).into(), b"sealed");
    assert_eq!(frames.len(), 1);
    assert_eq!((&frames[0][..6], &frames[0][6..12]), (&ROUTER_MAC[..], &MAC[..]));
    let header = Ipv4Packet::new_checked(&frames[0][14..]).unwrap();
    assert!(header.verify_checksum() && !header.dont_frag());
    assert_eq!((header.src_addr(), header.dst_addr()), (OWN, PEER));
    assert_eq!(header.payload(), datagram((OWN.into(), PORT), (PEER.into(), 1000), b"sealed"));
    let again = send(&mut outside, (PEER, 1000).into(), b"sealed");
    assert_ne!(Ipv4Packet::new_checked(&again[0][14..]).unwrap().ident(), header.ident());
}

#[test]
fn a_datagram_over_ipv6_goes_by_the_router() {
    let mut outside = outside();
    let frames = send(&mut outside, (PEER6, 1000).into(), b"sealed");
    assert_eq!(frames.len(), 1);
    let packet = Packet::parse(&frames[0][14..]).unwrap();
    assert_eq!((packet.source, packet.destination), (OWN6.into(), PEER6.into()));
    assert_eq!(packet.payload(), datagram((OWN6.into(), PORT), (PEER6.into(), 1000), b"sealed"));
}

#[test]
fn datagrams_for_the_port_are_taken_with_their_sender() {
    let mut outside = outside();
    outside.on_frame(NOW, &udp((PEER, 7), (OWN, PORT), b"one"));
    outside.on_frame(NOW, &udp((PEER6, 8), (OWN6, PORT), b"two"));
    assert_eq!(received(&mut outside), Some(((PEER, 7).into(), b"one".to_vec())));
    assert_eq!(received(&mut outside), Some(((PEER6, 8).into(), b"two".to_vec())));
    assert_eq!(received(&mut outside), None);
}

#[test]
fn a_datagram_fits_the_wire_or_is_not_sent() {
    let mut outside = outside();
    let (v4, v6) = (SocketAddr::from((PEER, 1)), SocketAddr::from((PEER6, 1)));
    assert_eq!([v4, v6].map(|to| outside.max_datagram_bytes(to.ip())), [1472, 1452]);
    assert_eq!(outside.send(NOW, 0, v4, &[0; 1473]), Err(SendError::TooLong));
    assert_eq!(outside.send(NOW, 0, v6, &[0; 1453]), Err(SendError::TooLong));
    assert_eq!(send(&mut outside, v4, &[0; 1472])[0].len(), 1514);
    assert_eq!(send(&mut outside, v6, &[0; 1452])[0].len(), 1514);
}

#[test]
fn places_that_are_no_hosts_or_of_a_family_without_address_are_unreachable() {
    let mut outside = plugged_in(Config { ipv6: Ipv6::Off, ..config() });
    let places: [SocketAddr; 5] = [
        (Ipv4Addr::BROADCAST, 1).into(),
        (Ipv4Addr::new(224, 0, 0, 1), 1).into(),
        (Ipv4Addr::UNSPECIFIED, 1).into(),
        (PEER, 0).into(),
        (PEER6, 1).into(),
    ];
    for to in places {
        assert_eq!(outside.send(NOW, 0, to, b"x"), Err(SendError::Unreachable), "{to}");
    }
    assert_eq!(outside.send(NOW, 1, (PEER, 1).into(), b"x"), Err(SendError::NoSuchPort));
    assert!(sent(&mut outside).is_empty());
}

#[test]
fn a_neighbour_that_never_answers_does_not_hold_datagrams_for_ever() {
    let mut outside = outside();
    let dead = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 99), 1));
    assert!((0..100).any(|_| outside.send(NOW, 0, dead, b"x") == Err(SendError::NoRoom)), "bounded");
    outside.on_timeout(Instant(NOW.0 + 3 * S + 1));
    let later = Instant(NOW.0 + 4 * S);
    sent(&mut outside);
    outside.send(later, 0, (PEER, 1).into(), b"through").unwrap();
    for frame in sent(&mut outside) {
        arp_reply(&frame).into_iter().for_each(|reply| outside.on_frame(later, &reply));
    }
    outside.on_timeout(Instant(later.0 + 2 * S));
    let frames = sent(&mut outside);
    assert!(frames.iter().any(|frame| frame.ends_with(b"through")), "{frames:?}");
}

#[test]
fn datagrams_that_nobody_takes_out_are_bounded() {
    let mut outside = outside();
    (0..1000).for_each(|_| outside.on_frame(NOW, &udp((PEER, 7), (OWN, PORT), &[1; 1000])));
    let taken = core::iter::from_fn(|| received(&mut outside)).count();
    assert!((60..=64).contains(&taken), "{taken}");
}

#[test]
fn without_a_cable_nothing_is_sent_or_asked() {
    let mut outside = outside();
    outside.on_link(NOW, false);
    assert_eq!(outside.send(NOW, 0, (PEER, 1).into(), b"x"), Err(SendError::Unreachable));
    outside.on_frame(NOW, &udp((PEER, 7), (OWN, PORT), b"one"));
    assert_eq!((received(&mut outside), outside.poll_timeout(NOW)), (None, None));
    outside.on_link(NOW, true);
    assert_eq!(send(&mut outside, (PEER, 1).into(), b"x").len(), 1);
}

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

fn asking() -> Outside {
    plugged_in(Config { names: true, dns: vec![SERVER.into()], ipv6: Ipv6::Off, ..config() })
}

/// The question that goes out: its frame.
fn question(outside: &mut Outside) -> Vec<u8> {
    for _ in 0..3 {
        assert_eq!(outside.poll_resolved(NOW), None);
        for frame in sent(outside) {
            match arp_reply(&frame) {
                Some(reply) => outside.on_frame(NOW, &reply),
                None => return frame,
            }
        }
    }
    panic!("no question");
}

#[test]
fn a_name_is_asked_for_and_its_addresses_come_back() {
    let mut outside = asking();
    assert!(outside.resolve("vpn.example.org"));
    let frame = question(&mut outside);
    let packet = Packet::parse(&frame[14..]).unwrap();
    assert_eq!((packet.destination, frames::be16(packet.payload(), 2)), (SERVER.into(), Some(53)));
    let asked = &packet.payload()[8..];
    assert_eq!(asked[12..], *b"\x03vpn\x07example\x03org\0\0\x01\0\x01");
    let mut answer = [&asked[..2], &[0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0], &asked[12..]].concat();
    for address in [PEER.octets(), [224, 0, 0, 1]] {
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    let port = frames::be16(packet.payload(), 0).unwrap();
    outside.on_frame(NOW, &udp((SERVER, 53), (OWN, port), &answer));
    let resolved = outside.poll_resolved(NOW).expect("an answer");
    assert_eq!((resolved.name.as_str(), resolved.addresses), ("vpn.example.org", vec![PEER.into()]));
}

#[test]
fn an_answer_from_somebody_else_is_not_even_seen() {
    let mut outside = asking();
    outside.resolve("vpn.example.org");
    let frame = question(&mut outside);
    let port = frames::be16(&frame, 34).unwrap();
    outside.on_frame(NOW, &udp((PEER, 53), (OWN, port), &[0; 40]));
    assert_eq!(outside.counters().unwanted(Unwanted::NoListener), 1);
}

#[test]
fn a_name_that_nobody_knows_ends_without_addresses() {
    let mut outside = asking();
    outside.resolve("vpn.example.org");
    question(&mut outside);
    let mut now = NOW;
    let resolved = (0..1000).find_map(|_| {
        sent(&mut outside);
        now = outside.poll_timeout(now).unwrap_or(now).max(Instant(now.0 + S / 10));
        outside.on_timeout(now);
        outside.poll_resolved(now)
    });
    assert_eq!(resolved.expect("an end").addresses, Vec::<IpAddr>::new());
}

#[test]
fn names_are_not_asked_for_unless_configured() {
    let mut outside = outside();
    assert!(!outside.resolve("vpn.example.org"));
    let mut outside = asking();
    assert!(!outside.resolve("") && !outside.resolve(&"x".repeat(254)) && !outside.resolve("m\u{fc}nchen"));
    assert_eq!((0..20).filter(|n| outside.resolve(&std::format!("n{n}"))).count(), 8);
}

#[test]
fn a_dead_neighbour_does_not_stop_others() {
    let mut outside = outside();
    // The router is known.
    assert_eq!(send(&mut outside, (PEER, 1000).into(), b"first").len(), 1);
    let mut now = Instant(NOW.0 + 3 * S);
    sent(&mut outside);
    // One peer on the link is switched off; the other one is behind the router, which answers.
    outside.send(now, 0, (Ipv4Addr::new(192, 0, 2, 99), 1).into(), b"to the dead one").unwrap();
    for n in 0..20 {
        outside.send(now, 0, (PEER, 1000).into(), std::format!("to A {n}").as_bytes()).unwrap();
    }
    let mut got = 0;
    for _ in 0..60 {
        for frame in sent(&mut outside) {
            got += usize::from(frame.windows(4).any(|w| w == b"to A"));
            if !frame.ends_with(&[192, 0, 2, 99]) {
                arp_reply(&frame).into_iter().for_each(|reply| outside.on_frame(now, &reply));
            }
        }
        now.0 += S / 10;
        outside.on_timeout(now);
    }
    assert_eq!(got, 20, "datagrams to the living peer that left within 6 s");
}

/// Datagrams go to dead neighbours all the time, then one to `to`, which answers: does it leave within `seconds`?
fn leaves_among_the_dead(dead: u8, to: SocketAddr, seconds: u64) -> bool {
    let (mut outside, mut now) = (outside(), NOW);
    for step in 0..10 * (20 + seconds) {
        for last in 0..dead {
            let _ = outside.send(now, 0, (Ipv4Addr::new(192, 0, 2, 100 + last), 1).into(), b"x");
        }
        if step == 200 {
            outside.send(now, 0, to, b"through").unwrap();
        }
        for frame in sent(&mut outside) {
            if frame.ends_with(b"through") {
                return true;
            }
            if !matches!(frame[38..], [192, 0, 2, last] if last >= 100) {
                let reply = arp_reply(&frame).or_else(|| advertisement(&frame));
                reply.into_iter().for_each(|reply| outside.on_frame(now, &reply));
            }
        }
        now.0 += S / 10;
        outside.on_timeout(now);
    }
    false
}

#[test]
fn a_neighbour_not_yet_known_is_found_while_dead_ones_are_asked_for_all_the_time() {
    for to in [(Ipv4Addr::new(192, 0, 2, 7), 1).into(), (PEER, 1).into(), (PEER6, 1).into()] {
        for dead in 1..=3 {
            assert!(leaves_among_the_dead(dead, to, 4), "{to}, {dead} dead");
        }
    }
}
