//! Captures made by hand: the right one is accepted, and each that differs in one thing is not.

use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OURS: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 100);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const PORT: u16 = 51820;

fn rules() -> Rules {
    Rules {
        card: CARD,
        peers: vec![SocketAddr::new(PEER.into(), PORT), "[fd66::1]:51820".parse().unwrap()],
        tunnel_mtu: 1420,
        addresses: vec![],
        dhcp: true,
        ipv6: true,
        dns: vec![PEER.into()],
        names: vec!["endpoint.test".into()],
        secrets: vec![b"PLAINTEXT".to_vec()],
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(LEAST_FRAME), 0);
    frame
}

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

fn ipv4(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut header =
        [&[0x45, 0][..], &len.to_be_bytes(), &[0, 1, 0x40, 0, 64, protocol, 0, 0], &from.octets(), &to.octets()]
            .concat();
    let checksum = sum(&[&header]);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&header, payload].concat()
}

fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let len = ((8 + payload.len()) as u16).to_be_bytes();
    let mut datagram = [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &len, &[0, 0], payload].concat();
    let checksum = sum(&[&from.0.octets(), &to.0.octets(), &[0, UDP], &len, &datagram]);
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    ipv4(UDP, from.0, to.0, &datagram)
}

fn dhcp(operation: u8, yours: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut message = vec![operation, 1, 6, 0, 1, 2, 3, 4];
    message.resize(240, 0);
    message[16..20].copy_from_slice(&yours.octets());
    message[28..34].copy_from_slice(&CARD);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    [&message, options, &[255]].concat()
}

fn discover(options: &[u8]) -> Vec<u8> {
    let nobody = Ipv4Addr::UNSPECIFIED;
    let message = dhcp(1, nobody, &[&[53, 1, 1, 61, 7, 1][..], &CARD, options].concat());
    ethernet([0xFF; 6], CARD, IPV4, &udp((nobody, 68), (Ipv4Addr::BROADCAST, 67), &message))
}

fn ack() -> Vec<u8> {
    ethernet(CARD, GATEWAY, IPV4, &udp((PEER, 67), (OURS, 68), &dhcp(2, OURS, &[53, 1, 5])))
}

fn arp(hardware: [u8; 6], sender: Ipv4Addr) -> Vec<u8> {
    let message = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &hardware, &sender.octets(), &[0; 6], &PEER.octets()].concat();
    ethernet([0xFF; 6], CARD, ARP, &message)
}

fn to_peer(payload: &[u8]) -> Vec<u8> {
    ethernet(GATEWAY, CARD, IPV4, &udp((OURS, 49200), (PEER, PORT), payload))
}

fn message(kind: u8, len: usize, ephemeral: u8) -> Vec<u8> {
    let mut message = vec![ephemeral; len];
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    message
}

fn data(receiver: u8, counter: u64, len: usize) -> Vec<u8> {
    let mut message = message(4, len, 7);
    message[4..8].copy_from_slice(&[receiver; 4]);
    message[8..16].copy_from_slice(&counter.to_le_bytes());
    message
}

fn question(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    let message = [&[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &labels.collect::<Vec<_>>(), &[0, 0, 1, 0, 1]].concat();
    ethernet(GATEWAY, CARD, IPV4, &udp((OURS, 49300), (PEER, 53), &message))
}

fn solicitation(options: &[u8], hop_limit: u8) -> Vec<u8> {
    let from: Ipv6Addr = "fe80::5054:ff:fe12:3456".parse().unwrap();
    let to: Ipv6Addr = "ff02::1:ff00:1".parse().unwrap();
    let target: Ipv6Addr = "fd66::1".parse().unwrap();
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), options].concat();
    let len = message.len() as u32;
    let checksum = sum(&[&from.octets(), &to.octets(), &len.to_be_bytes(), &[0, 0, 0, 58], &message]);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let header = [&[0x60, 0, 0, 0, 0, len as u8, 58, hop_limit][..], &from.octets(), &to.octets()].concat();
    ethernet([0x33, 0x33, 0xFF, 0, 0, 1], CARD, IPV6, &[header, message].concat())
}

fn own_address() -> Vec<u8> {
    [&[1, 1][..], &CARD].concat()
}

/// What a tunnel's life looks like.
fn right() -> Vec<(Direction, Vec<u8>)> {
    let out = |bytes| (Direction::FromMachine, bytes);
    vec![
        out(discover(&[])),
        (Direction::ToMachine, ack()),
        out(arp(CARD, OURS)),
        out(solicitation(&own_address(), 255)),
        out(question("endpoint.test")),
        out(to_peer(&message(1, 148, 1))),
        (Direction::ToMachine, ethernet(CARD, GATEWAY, IPV4, &udp((PEER, PORT), (OURS, 49200), &message(2, 92, 9)))),
        out(to_peer(&data(5, 0, 32))),
        out(to_peer(&data(5, 1, 32 + 96))),
        // As long as the tunnel lets a packet be.
        out(to_peer(&data(5, 3, 32 + 1420))),
        // A rekey: another session begins at 0, the old one goes on.
        out(to_peer(&message(1, 148, 2))),
        out(to_peer(&data(6, 0, 48))),
        out(to_peer(&data(5, 4, 48))),
        out(to_peer(&message(2, 92, 3))),
        out(to_peer(&message(3, 64, 3))),
    ]
}

fn verdict(frames: Vec<(Direction, Vec<u8>)>) -> Verdict {
    let numbered = frames.into_iter().zip(1..).map(|((direction, bytes), number)| {
        Ok(Frame { number, time_ns: 5_000_000_000 + number * 1_000_000, direction, bytes })
    });
    judge(rules(), numbered).unwrap()
}

#[test]
fn the_life_of_a_tunnel_is_accepted_and_counted() {
    let verdict = verdict(right());
    verdict.accept().unwrap();
    assert_eq!((verdict.sent, verdict.received), (13, 2));
    assert_eq!((verdict.arp, verdict.ndp, verdict.dhcp, verdict.dns), (1, 1, 1, 1));
    assert_eq!((verdict.messages, verdict.keepalives), ([2, 1, 1, 5], 1));
}

/// Frames that must not be, each behind the right ones, with a word of the reason.
fn wrong() -> Vec<(Vec<u8>, &'static str)> {
    let echo = ipv4(1, OURS, PEER, &[8, 0, 0xF7, 0xFF, 0, 0, 0, 0]);
    let stranger = Ipv4Addr::new(10, 77, 0, 2);
    let mut foreign = to_peer(&data(5, 9, 48));
    foreign[6..12].copy_from_slice(&[2, 2, 2, 2, 2, 2]);
    let mut padded = arp(CARD, OURS);
    padded[59] = 1;
    let mut long = arp(CARD, OURS);
    long.extend([0; 4]);
    let mut fragment = udp((OURS, 49200), (PEER, PORT), &data(5, 9, 48));
    fragment[6..8].copy_from_slice(&[0x20, 0]);
    fragment[10..12].copy_from_slice(&[0, 0]);
    let checksum = sum(&[&fragment[..20]]);
    fragment[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut broken = udp((OURS, 49200), (PEER, PORT), &data(5, 9, 48));
    broken[40] ^= 1;
    let of = |payload: &[u8]| ethernet(GATEWAY, CARD, IPV4, payload);
    vec![
        (of(&echo), "IP protocol 1,"),
        (of(&ipv4(6, OURS, PEER, &[0; 20])), "IP protocol 6,"),
        (of(&udp((OURS, 5353), (PEER, 5353), b"hello")), "UDP port 5353"),
        (of(&udp((OURS, 49200), (Ipv4Addr::new(10, 66, 0, 9), PORT), &data(5, 9, 48))), "UDP port 51820"),
        (of(&udp((stranger, 49200), (PEER, PORT), &data(5, 9, 48))), "does not have that address"),
        (of(&fragment), "a fragment"),
        (of(&broken), "checksum of UDP"),
        (foreign, "02:02:02:02:02:02"),
        (arp(CARD, stranger), "does not have outside"),
        (arp([2; 6], OURS), "another hardware address"),
        (padded, "behind its packet"),
        (long, "behind its packet"),
        (discover(&[12, 3, b'b', b'o', b'x']), "the option 12"),
        (discover(&[60, 5, b'u', b'd', b'h', b'c', b'p']), "the option 60"),
        (question("www.example.org"), "asks for www.example.org"),
        (to_peer(b"GET / HTTP/1.1"), "no WireGuard message"),
        (to_peer(&message(5, 148, 1)), "of type 5"),
        (to_peer(&message(1, 149, 8)), "with 149 bytes"),
        (to_peer(&message(1, 148, 1)), "sent before"),
        (to_peer(&data(5, 9, 40)), "with 40 bytes"),
        (to_peer(&data(5, 9, 32 + 1419)), "with 1451 bytes"),
        (to_peer(&data(5, 4, 48)), "data number 4 behind 4"),
        (to_peer(&data(5, 2, 48)), "data number 2 behind 4"),
        (to_peer(&[&data(5, 9, 39)[..], b"PLAINTEXT"].concat()), "it holds \"PLAINTEXT\""),
        (solicitation(&own_address(), 64), "hop limit"),
        (solicitation(&[1, 1, 2, 2, 2, 2, 2, 2], 255), "another hardware address"),
        (solicitation(&[5, 1, 0, 0, 0, 0, 5, 0xDC], 255), "option 5"),
        (ethernet([0xFF; 6], CARD, 0x88CC, b"a name"), "88cc"),
        (ethernet([1; 6], CARD, 46, b"a bridge"), "002e"),
        (vec![1, 2, 3], "too short"),
        (ethernet(GATEWAY, CARD, IPV4, &[0x46; 24]), "begins with 46"),
        (ethernet(GATEWAY, CARD, IPV6, &[0x60; 20]), "shorter"),
    ]
}

#[test]
fn each_planted_frame_is_found_and_named() {
    for (frame, word) in wrong() {
        let mut frames = right();
        frames.push((Direction::FromMachine, frame));
        let verdict = verdict(frames);
        assert_eq!(verdict.wrong, 1, "{word}: {:?}", verdict.violations);
        let told = verdict.violations[0].to_string();
        assert!(told.starts_with("frame 16 at 0.015 s: ") && told.contains(word), "{told} without {word}");
        assert!(verdict.accept().is_err());
    }
}

#[test]
fn a_secret_in_what_the_machine_gets_is_found_too() {
    let mut frames = right();
    frames.push((Direction::ToMachine, ethernet(CARD, GATEWAY, 0x1234, b"some PLAINTEXT")));
    assert_eq!(verdict(frames).wrong, 1);
}

/// Before the server has given it, the address is nobody's.
#[test]
fn an_address_counts_from_its_lease_on() {
    let mut frames = right();
    frames.remove(1);
    assert!(verdict(frames).violations.iter().any(|violation| violation.why.contains("does not have")));
}

#[test]
fn without_dhcp_or_ipv6_in_the_rules_their_frames_are_wrong() {
    let judged = |rules: Rules, frame: Vec<u8>| {
        let frame = Frame { number: 1, time_ns: 0, direction: Direction::FromMachine, bytes: frame };
        judge(rules, std::iter::once(Ok(frame))).unwrap().wrong
    };
    assert_eq!(judged(Rules { dhcp: false, ..rules() }, discover(&[])), 1);
    assert_eq!(judged(Rules { ipv6: false, ..rules() }, solicitation(&own_address(), 255)), 1);
}

/// The judge itself takes anything: each right or wrong frame with any of its bytes changed, and cut off anywhere.
#[test]
fn no_frame_makes_the_judge_fall_over() {
    let mut oracle = Oracle::new(rules());
    let mut take = |direction, bytes| oracle.take(&Frame { number: 1, time_ns: 0, direction, bytes });
    let planted = wrong().into_iter().map(|(bytes, _)| (Direction::FromMachine, bytes));
    for (direction, bytes) in right().into_iter().chain(planted) {
        for at in 0..bytes.len().min(400) {
            for value in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] = value;
                take(direction, changed);
            }
            take(direction, bytes[..at].to_vec());
            take(direction.other(), bytes[..at].to_vec());
        }
    }
    assert!(oracle.verdict.wrong > 1000);
}
