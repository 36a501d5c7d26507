//! DHCP and DHCPv6, by messages written by hand.

use super::*;
use std::collections::BTreeMap;

const TRANSACTION: [u8; 4] = [0xDE, 0xAD, 0xBE, 0xEF];

/// A client's message: its type, its address, its options.
fn message(kind: u8, flags: u16, own: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut data = vec![1, 1, 6, 0];
    data.extend(TRANSACTION);
    data.extend([0, 9]);
    data.extend(flags.to_be_bytes());
    data.extend(own.octets());
    data.extend([0; 12]);
    data.extend(GUEST);
    data.resize(236, 0);
    data.extend([99, 130, 83, 99, 53, 1, kind]);
    data.extend(options);
    data.push(255);
    data
}

fn ask(inside: &mut Inside, data: &[u8]) -> Option<Vec<u8>> {
    let frame = udp(emit::BROADCAST, (Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), data);
    assert!(send(inside, &frame).is_empty(), "DHCP went into the tunnel");
    answer(inside)
}

/// Options of a reply in a frame, once its fixed part is as it should be.
fn options(frame: &[u8], own: Ipv4Addr) -> BTreeMap<u8, Vec<u8>> {
    let packet = packet_of(frame);
    let data = &packet.payload()[8..];
    assert_eq!(
        (data[0], &data[4..8], &data[16..20], &data[28..34]),
        (2, &TRANSACTION[..], &own.octets()[..], &GUEST[..])
    );
    assert_eq!(data[236..240], [99, 130, 83, 99]);
    let mut options = BTreeMap::new();
    let mut rest = &data[240..];
    while rest[0] != 255 {
        let len = usize::from(rest[1]);
        options.insert(rest[0], rest[2..2 + len].to_vec());
        rest = &rest[2 + len..];
    }
    options
}

#[test]
fn discover_and_request_give_the_tunnels_address_with_all_that_the_guest_needs() {
    let mut inside = inside();
    let frame = ask(&mut inside, &message(1, 0, Ipv4Addr::UNSPECIFIED, &[61, 2, 1, 9])).expect("an offer");
    // The guest has no address yet, so it goes by its hardware address (RFC 2131 s. 4.1).
    assert_eq!((&frame[..6], packet_of(&frame).destination), (&GUEST[..], OWN.into()));
    let offer = options(&frame, OWN);
    assert_eq!(offer[&53], [2]);
    assert_eq!((offer[&54].as_slice(), offer[&61].as_slice()), (&[10, 9, 0, 1][..], &[1, 9][..]));
    let chosen = [50, 4, 10, 9, 0, 2, 54, 4, 10, 9, 0, 1];
    let frame = ask(&mut inside, &message(3, 0x8000, Ipv4Addr::UNSPECIFIED, &chosen)).expect("an acknowledgement");
    assert_eq!((&frame[..6], packet_of(&frame).destination), (&[0xFF; 6][..], Ipv4Addr::BROADCAST.into()));
    let ack = options(&frame, OWN);
    assert_eq!(ack[&53], [5]);
    assert_eq!(ack[&1], [255, 255, 255, 0]);
    assert_eq!(ack[&3], [10, 9, 0, 1]);
    assert_eq!(ack[&6], [10, 9, 0, 53]);
    assert_eq!(ack[&26], [0x05, 0x8C]);
    assert_eq!(ack[&51], 86_400u32.to_be_bytes());
    assert_eq!(ack[&58], 43_200u32.to_be_bytes());
    assert_eq!(ack[&59], 75_600u32.to_be_bytes());
}

#[test]
fn an_address_alone_in_its_subnet_has_a_router_that_stands_for_nobody() {
    let mut inside = Inside::new(link(32), GUEST);
    let frame = ask(&mut inside, &message(1, 0, Ipv4Addr::UNSPECIFIED, &[])).expect("an offer");
    let offer = options(&frame, OWN);
    assert_eq!((offer[&1].as_slice(), offer[&3].as_slice()), (&[255; 4][..], &[169, 254, 1, 1][..]));
}

#[test]
fn a_request_for_another_address_is_refused_to_all() {
    let mut inside = inside();
    for (own, asked) in [(Ipv4Addr::UNSPECIFIED, &[50, 4, 192, 168, 0, 5][..]), (Ipv4Addr::new(192, 168, 0, 5), &[])] {
        let frame = ask(&mut inside, &message(3, 0, own, asked)).expect("a refusal");
        assert_eq!(frame[..6], [0xFF; 6]);
        let nak = options(&frame, Ipv4Addr::UNSPECIFIED);
        assert_eq!(nak[&53], [6]);
        assert!(!nak.contains_key(&51) && !nak.contains_key(&1));
    }
}

#[test]
fn a_renewal_is_answered_to_the_address_that_asks() {
    let mut inside = inside();
    let data = message(3, 0, OWN, &[]);
    // As a client in the state RENEWING sends it: to the server.
    let frame = udp(GATEWAY, (OWN, 68), (Ipv4Addr::new(10, 9, 0, 1), 67), &data);
    assert!(send(&mut inside, &frame).is_empty());
    let frame = answer(&mut inside).expect("an acknowledgement");
    assert_eq!(packet_of(&frame).destination, OWN);
    assert_eq!(options(&frame, OWN)[&53], [5]);
}

#[test]
fn inform_gets_the_options_without_a_lease() {
    let mut inside = inside();
    let frame = ask(&mut inside, &message(8, 0, OWN, &[])).expect("an acknowledgement");
    let ack = options(&frame, Ipv4Addr::UNSPECIFIED);
    assert_eq!((ack[&53].as_slice(), ack.contains_key(&51), ack.contains_key(&6)), (&[5][..], false, true));
}

#[test]
fn release_decline_other_servers_and_relays_get_no_answer() {
    let mut inside = inside();
    let to_other = [50, 4, 10, 9, 0, 2, 54, 4, 10, 9, 0, 9];
    for data in [message(7, 0, OWN, &[]), message(4, 0, OWN, &[]), message(3, 0, OWN, &to_other)] {
        assert!(ask(&mut inside, &data).is_none());
    }
    let mut relayed = message(1, 0, Ipv4Addr::UNSPECIFIED, &[]);
    relayed[24] = 10;
    assert!(ask(&mut inside, &relayed).is_none());
    let mut endless = message(1, 0, Ipv4Addr::UNSPECIFIED, &[12, 200]);
    assert!(ask(&mut inside, &endless).is_none());
    endless.truncate(239);
    assert!(ask(&mut inside, &endless).is_none());
    assert_eq!((inside.counters().dropped(Reason::Local), inside.counters().dropped(Reason::Malformed)), (3, 3));
}

const AGENTS: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 1, 2);
const AGENTS_MAC: MacAddr = [0x33, 0x33, 0, 1, 0, 2];
const SERVER: [u8; 14] = [0, 2, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const CLIENT: [u8; 8] = [0, 1, 0, 4, 0, 9, 7, 7];
/// IA_NA 00000005 without addresses.
const ASSOCIATION: [u8; 16] = [0, 3, 0, 12, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
/// The answer's, with the tunnel's address.
const GIVEN: [u8; 44] = [
    0, 3, 0, 40, 0, 0, 0, 5, 0, 0, 0x54, 0x60, 0, 0, 0x87, 0, // T1 21,600 s, T2 34,560 s
    0, 5, 0, 24, 0xFD, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0xA8, 0xC0, 0, 1, 0x51, 0x80,
];
const DNS: [u8; 20] = [0, 23, 0, 16, 0xFD, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53];

fn ask6(inside: &mut Inside, kind: u8, options: &[&[u8]]) -> Option<Vec<u8>> {
    let data = [&[kind, 1, 2, 3], options.concat().as_slice()].concat();
    let frame = udp(AGENTS_MAC, (GUEST_LOCAL, 546), (AGENTS, 547), &data);
    assert!(send(inside, &frame).is_empty(), "DHCPv6 went into the tunnel");
    let frame = answer(inside)?;
    let packet = packet_of(&frame);
    assert_eq!((packet.source, packet.destination), (link(24).gateway_v6().into(), GUEST_LOCAL.into()));
    assert_eq!(packet.payload()[..4], [2, 0x23, 2, 0x22]);
    Some(packet.payload()[8..].to_vec())
}

#[test]
fn solicit_and_request_give_the_tunnels_ipv6_address() {
    let mut inside = inside();
    let advertise = ask6(&mut inside, 1, &[&CLIENT, &ASSOCIATION]).expect("an advertisement");
    assert_eq!(advertise, [&[2, 1, 2, 3], &CLIENT[..], &SERVER, &GIVEN, &DNS].concat());
    for kind in [3, 5] {
        let reply = ask6(&mut inside, kind, &[&CLIENT, &SERVER, &ASSOCIATION]).expect("a reply");
        assert_eq!(reply, [&[7, 1, 2, 3], &CLIENT[..], &SERVER, &GIVEN, &DNS].concat());
    }
    let reply = ask6(&mut inside, 1, &[&CLIENT, &[0, 14, 0, 0], &ASSOCIATION]).expect("a reply at once");
    assert_eq!(reply[..26], [&[7, 1, 2, 3], &CLIENT[..], &SERVER].concat());
    assert_eq!(reply[26..], [&[0, 14, 0, 0], &GIVEN[..], &DNS].concat());
}

#[test]
fn another_address_ends_and_a_second_association_gets_none() {
    let mut inside = inside();
    let mut held = ASSOCIATION.to_vec();
    held[3] = 40;
    held.extend([0, 5, 0, 24]);
    held.extend(FAR6.octets());
    held.extend([0, 0, 1, 0, 0, 0, 1, 0]);
    let reply = ask6(&mut inside, 6, &[&CLIENT, &held, &ASSOCIATION]).expect("a reply");
    let mut first = GIVEN.to_vec();
    first[3] = 68;
    first.extend([0, 5, 0, 24]);
    first.extend(FAR6.octets());
    first.extend([0; 8]);
    let second = [&[0, 3, 0, 18], &GIVEN[4..16], &[0, 13, 0, 2, 0, 2]].concat();
    assert_eq!(reply, [&[7, 1, 2, 3], &CLIENT[..], &SERVER, &first, &second, &DNS].concat());
    let confirm = ask6(&mut inside, 4, &[&CLIENT, &held]).expect("a reply");
    assert_eq!(confirm, [&[7, 1, 2, 3], &CLIENT[..], &SERVER, &[0, 13, 0, 2, 0, 4], &DNS].concat());
}

#[test]
fn information_and_release_are_answered_and_messages_for_others_are_not() {
    let mut inside = inside();
    let reply = ask6(&mut inside, 11, &[]).expect("a reply");
    assert_eq!(reply, [&[7, 1, 2, 3], &SERVER[..], &DNS].concat());
    let reply = ask6(&mut inside, 8, &[&CLIENT, &SERVER, &ASSOCIATION]).expect("a reply");
    assert_eq!(reply, [&[7, 1, 2, 3], &CLIENT[..], &SERVER, &[0, 13, 0, 2, 0, 0], &DNS].concat());
    let other = [0, 2, 0, 4, 9, 9, 9, 9];
    assert!(ask6(&mut inside, 3, &[&CLIENT, &other, &ASSOCIATION]).is_none());
    assert!(ask6(&mut inside, 1, &[&ASSOCIATION]).is_none(), "a solicitation without a name");
    assert!(ask6(&mut inside, 12, &[&CLIENT]).is_none(), "a relay's");
    assert!(ask6(&mut inside, 1, &[&CLIENT, &[0, 3, 0, 99]]).is_none(), "an option beyond the message");
}

#[test]
fn a_confirmation_of_no_address_is_not_answered() {
    let mut inside = inside();
    assert!(ask6(&mut inside, 4, &[&CLIENT, &ASSOCIATION]).is_none());
    assert!(ask6(&mut inside, 4, &[&CLIENT]).is_none());
    let held = [&[0, 3, 0, 40], &GIVEN[4..]].concat();
    assert!(ask6(&mut inside, 4, &[&CLIENT, &held]).is_some());
}
