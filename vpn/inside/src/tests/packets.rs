//! Packets into the tunnel and out of it.

use super::*;
use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket};

#[test]
fn a_packet_to_beyond_the_link_goes_into_the_tunnel_as_it_is() {
    let mut inside = inside();
    let mut frame = udp(GATEWAY, (OWN, 1000), (FAR, 53), b"question");
    let packet = frame[14..].to_vec();
    frame.extend([0xEE; 20]);
    assert_eq!(send(&mut inside, &frame), [packet], "padding stays behind");
    let frame = udp(GATEWAY, (OWN6, 1000), (FAR6, 53), b"question");
    assert_eq!(send(&mut inside, &frame), [&frame[14..]]);
    assert_eq!(inside.counters().to_tunnel, 2);
}

#[test]
fn what_is_for_the_local_network_never_leaves() {
    let mut inside = inside();
    let local = [
        (OWN.into(), IpAddr::V4(Ipv4Addr::BROADCAST)),
        (OWN.into(), Ipv4Addr::new(10, 9, 0, 255).into()),
        (OWN.into(), Ipv4Addr::new(224, 0, 0, 251).into()),
        (OWN.into(), Ipv4Addr::new(169, 254, 3, 3).into()),
        (OWN.into(), Ipv4Addr::LOCALHOST.into()),
        (OWN.into(), Ipv4Addr::new(240, 0, 0, 1).into()),
        (OWN.into(), OWN.into()),
        (OWN6.into(), Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 0xFB).into()),
        (OWN6.into(), Ipv6Addr::new(0xFF0E, 0, 0, 0, 0, 0, 0, 1).into()),
        (OWN6.into(), link(24).gateway_v6().into()),
        (OWN6.into(), IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ];
    for (from, to) in local {
        let from: IpAddr = from;
        refused(&mut inside, &udp(GATEWAY, (from, 5353), (to, 5353), b"here"), Reason::Local);
    }
    // A unicast packet in a broadcast frame is no way out either.
    refused(&mut inside, &udp(emit::BROADCAST, (OWN, 1), (FAR, 2), b"x"), Reason::Local);
    // Reports of multicast listeners (RFC 3810).
    let report =
        icmp([0x33, 0x33, 0, 0, 0, 22], GUEST_LOCAL, Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 22), 1, &[143; 28]);
    refused(&mut inside, &report, Reason::Local);
    assert!(answer(&mut inside).is_none());
}

#[test]
fn packets_from_other_addresses_than_the_tunnels_are_dropped() {
    let mut inside = inside();
    for from in [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 3)), Ipv4Addr::UNSPECIFIED.into()] {
        refused(&mut inside, &udp(GATEWAY, (from, 1), (FAR, 2), b"x"), Reason::WrongSource);
    }
    for from in [GUEST_LOCAL, FAR6] {
        refused(&mut inside, &udp(GATEWAY, (from, 1), (FAR6, 2), b"x"), Reason::WrongSource);
    }
}

#[test]
fn frames_that_are_no_ip_have_a_tag_or_are_for_another_station_are_dropped() {
    let mut inside = inside();
    let good = udp(GATEWAY, (OWN, 1), (FAR, 2), b"x");
    let tagged = [&good[..12], &[0x81, 0, 0, 5], &good[12..]].concat();
    refused(&mut inside, &tagged, Reason::Vlan);
    refused(&mut inside, &ethernet([1, 0x80, 0xC2, 0, 0, 0], 0x26, &[0x42; 38]), Reason::NotIp);
    refused(&mut inside, &ethernet(emit::BROADCAST, 0x88CC, &[0; 46]), Reason::NotIp);
    let mut other = good.clone();
    other[0..6].copy_from_slice(&[0, 1, 2, 3, 4, 5]);
    refused(&mut inside, &other, Reason::OtherStation);
    refused(&mut inside, &good[..13], Reason::Malformed);
    refused(&mut inside, &good[..good.len() - 1], Reason::Malformed);
    let mut from_group = good.clone();
    from_group[6] |= 1;
    refused(&mut inside, &from_group, Reason::Malformed);
    let mut wrong_type = good;
    wrong_type[12..14].copy_from_slice(&frames::IPV6.to_be_bytes());
    refused(&mut inside, &wrong_type, Reason::Malformed);
}

#[test]
fn only_packets_for_the_guest_come_out_of_the_tunnel() {
    let mut inside = inside();
    let good = udp(GATEWAY, (FAR, 2), (OWN, 1), b"answer");
    inside.on_packet(&good[14..]);
    let frame = answer(&mut inside).expect("a frame");
    assert_eq!((&frame[..6], &frame[6..12], &frame[14..]), (&GUEST[..], &GATEWAY[..], &good[14..]));
    inside.on_packet(&udp(GATEWAY, (FAR, 2), (Ipv4Addr::new(10, 9, 0, 3), 1), b"x")[14..]);
    inside.on_packet(&udp(GATEWAY, (Ipv4Addr::BROADCAST, 2), (OWN, 1), b"x")[14..]);
    inside.on_packet(&good[14..30]);
    inside.on_packet(&udp(GATEWAY, (FAR, 2), (OWN, 1), &[0; 1473])[14..]);
    assert!(answer(&mut inside).is_none());
    let dropped = [Reason::NotForGuest, Reason::MalformedInside, Reason::TooLong].map(|r| inside.counters().dropped(r));
    assert_eq!(dropped, [2, 1, 1]);
}

#[test]
fn a_peer_cannot_speak_for_the_guests_link() {
    let mut inside = inside();
    let advertisement = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &FAR6.octets()].concat();
    inside.on_packet(&icmp(GATEWAY, FAR6, OWN6, 255, &advertisement)[14..]);
    inside.on_packet(&icmp(GATEWAY, FAR6, OWN6, 255, &[134; 16])[14..]);
    for from in [Ipv4Addr::new(169, 254, 1, 1), OWN, Ipv4Addr::LOCALHOST] {
        inside.on_packet(&udp(GATEWAY, (from, 67), (OWN, 68), b"offer")[14..]);
    }
    assert!(answer(&mut inside).is_none());
    assert_eq!(inside.counters().dropped(Reason::NotForGuest), 5);
    inside.on_packet(&icmp(GATEWAY, FAR6, OWN6, 64, &[129; 16])[14..]);
    assert!(answer(&mut inside).is_some(), "a ping's answer does come");
}

#[test]
fn a_guest_that_takes_nothing_fills_a_bounded_queue() {
    let mut inside = inside();
    let packet = udp(GATEWAY, (FAR, 2), (OWN, 1), b"answer");
    (0..1000).for_each(|_| inside.on_packet(&packet[14..]));
    assert_eq!(inside.counters().to_guest, 256);
    assert_eq!(inside.counters().dropped(Reason::NoRoom), 744);
}

/// A SYN with these options, in a frame of the guest's, with its checksum.
fn syn(from: impl Into<IpAddr>, to: impl Into<IpAddr>, options: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let mut segment = vec![0u8; 20];
    segment.extend(options);
    segment[0..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
    segment[12] = (segment.len() as u8 / 4) << 4;
    segment[13] = 2;
    TcpPacket::new_unchecked(&mut segment[..]).fill_checksum(&from.into(), &to.into());
    let header = smoltcp::wire::IpRepr::new(from.into(), to.into(), IpProtocol::Tcp, segment.len(), 64);
    let mut packet = vec![0; header.header_len()];
    header.emit(&mut packet[..], &Default::default());
    packet.extend(segment);
    ethernet(GATEWAY, if from.is_ipv4() { frames::IPV4 } else { frames::IPV6 }, &packet)
}

/// The MSS in a packet whose checksum holds; the option's number is at `at` of the segment.
fn mss(packet: &[u8], at: usize) -> u16 {
    let packet = Packet::parse(packet).unwrap();
    assert_eq!(frames::sum(packet.source, packet.destination, packet.protocol, packet.payload()), 0xFFFF);
    frames::be16(packet.payload(), at).unwrap()
}

#[test]
fn a_syn_offers_no_more_than_the_tunnel_takes_both_ways() {
    let mut inside = inside();
    let options = [2, 4, 0x05, 0xB4, 1, 3, 3, 7];
    // At an odd place too, and behind other options.
    let odd = [1, 2, 4, 0x05, 0xB4, 3, 3, 7];
    let behind = [4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, 0x05, 0xB4];
    for (options, at) in [(&options[..], 22), (&odd[..], 23), (&behind[..], 34)] {
        let packets = send(&mut inside, &syn(OWN, FAR, options));
        assert_eq!(mss(&packets[0], at), MTU - 40);
        let packets = send(&mut inside, &syn(OWN6, FAR6, options));
        assert_eq!(mss(&packets[0], at), MTU - 60);
        inside.on_packet(&syn(FAR, OWN, options)[14..]);
        assert_eq!(mss(&answer(&mut inside).unwrap()[14..], at), MTU - 40);
    }
}

#[test]
fn a_smaller_offer_or_none_or_a_broken_one_stays() {
    let mut inside = inside();
    let cases: [&[u8]; 5] = [&[2, 4, 0x02, 0x18], &[], &[1, 1, 1, 1], &[2, 0, 9, 9], &[1, 1, 2, 4]];
    for options in cases {
        let frame = syn(OWN, FAR, options);
        assert_eq!(send(&mut inside, &frame), [&frame[14..]]);
    }
}

#[test]
fn a_packet_that_must_not_be_cut_is_refused_and_the_guest_told_the_mtu() {
    let mut inside = inside();
    let mut frame = udp(GATEWAY, (OWN, 1), (FAR, 2), &[7; 1393]);
    Ipv4Packet::new_unchecked(&mut frame[14..]).set_dont_frag(true);
    refused(&mut inside, &frame, Reason::TooBig);
    let told = answer(&mut inside).expect("an ICMP message");
    let packet = packet_of(&told);
    assert_eq!((packet.protocol, packet.source), (1, Ipv4Addr::new(10, 9, 0, 1).into()));
    assert_eq!(packet.payload()[..2], [3, 4]);
    assert_eq!(packet.payload()[4..8], [0, 0, 0x05, 0x8C]);
    assert_eq!(&packet.payload()[8..], &frame[14..14 + 548]);

    let frame = udp(GATEWAY, (OWN6, 1), (FAR6, 2), &[7; 1373]);
    refused(&mut inside, &frame, Reason::TooBig);
    let told = answer(&mut inside).expect("an ICMPv6 message");
    let packet = packet_of(&told);
    assert_eq!((packet.protocol, packet.destination), (58, OWN6.into()));
    assert_eq!(packet.payload()[..2], [2, 0]);
    assert_eq!(packet.payload()[4..8], [0, 0, 0x05, 0x8C]);
    assert_eq!(packet.bytes.len(), 1280);
}

#[test]
fn a_packet_of_the_mtu_itself_passes() {
    let mut inside = inside();
    for frame in [udp(GATEWAY, (OWN, 1), (FAR, 2), &[7; 1392]), udp(GATEWAY, (OWN6, 1), (FAR6, 2), &[7; 1372])] {
        assert_eq!(frame.len(), 14 + usize::from(MTU));
        assert_eq!(send(&mut inside, &frame), [&frame[14..]]);
    }
}

#[test]
fn errors_and_later_fragments_are_not_answered_with_errors() {
    let mut inside = inside();
    let mut frame = icmp(GATEWAY, OWN, FAR, 64, &[3; 1500]);
    Ipv4Packet::new_unchecked(&mut frame[14..]).set_dont_frag(true);
    refused(&mut inside, &frame, Reason::TooBig);
    refused(&mut inside, &icmp(GATEWAY, OWN6, FAR6, 64, &[1; 1500]), Reason::TooBig);
    let mut frame = udp(GATEWAY, (OWN, 1), (FAR, 2), &[7; 1400]);
    Ipv4Packet::new_unchecked(&mut frame[14..]).set_dont_frag(true);
    Ipv4Packet::new_unchecked(&mut frame[14..]).set_frag_offset(1480);
    refused(&mut inside, &frame, Reason::TooBig);
    assert!(answer(&mut inside).is_none());
}

#[test]
fn a_packet_that_may_be_cut_arrives_in_pieces_that_make_the_whole() {
    let mut inside = inside();
    let data: Vec<u8> = (0..3000u32).map(|i| (i / 7) as u8).collect();
    let mut frame = udp(GATEWAY, (OWN, 1), (FAR, 2), &data);
    {
        let mut header = Ipv4Packet::new_unchecked(&mut frame[14..]);
        header.set_dont_frag(false);
        header.set_ident(0x1234);
    }
    let payload = &frame[34..];
    let mut whole = vec![0; payload.len()];
    let pieces = send(&mut inside, &frame);
    assert_eq!(pieces.len(), 3);
    for (n, piece) in pieces.iter().enumerate() {
        let header = Ipv4Packet::new_checked(&piece[..]).unwrap();
        assert!(header.verify_checksum() && header.ident() == 0x1234 && piece.len() <= MTU.into());
        assert_eq!(header.more_frags(), n != 2);
        let at = usize::from(header.frag_offset());
        assert!(at.is_multiple_of(8));
        whole[at..at + header.payload().len()].copy_from_slice(header.payload());
    }
    assert_eq!(whole, payload);
}

#[test]
fn a_fragment_that_is_cut_again_keeps_its_place() {
    let mut inside = inside();
    let mut frame = udp(GATEWAY, (OWN, 1), (FAR, 2), &[7; 1472]);
    {
        let mut header = Ipv4Packet::new_unchecked(&mut frame[14..]);
        header.set_dont_frag(false);
        header.set_more_frags(true);
        header.set_frag_offset(2960);
    }
    let places: Vec<(u16, bool)> = send(&mut inside, &frame)
        .iter()
        .map(|piece| Ipv4Packet::new_unchecked(&piece[..]))
        .map(|header| (header.frag_offset(), header.more_frags()))
        .collect();
    assert_eq!(places, [(2960, true), (2960 + 1400, true)]);
}

#[test]
fn a_later_fragment_of_a_ping_is_no_neighbour_discovery() {
    let mut inside = inside();
    // A second fragment of an echo request whose data happens to begin with 135.
    let body = [&[58u8, 0, 0x05, 0x58, 0, 0, 0, 1][..], &[135; 100]].concat();
    let header = smoltcp::wire::IpRepr::new(OWN6.into(), FAR6.into(), IpProtocol::from(44), body.len(), 64);
    let mut packet = vec![0; header.header_len()];
    header.emit(&mut packet[..], &Default::default());
    packet.extend(body);
    assert_eq!(send(&mut inside, &ethernet(GATEWAY, frames::IPV6, &packet)), [packet.clone()]);
    // The first one is looked at.
    packet[42..44].copy_from_slice(&[0, 1]);
    assert!(send(&mut inside, &ethernet(GATEWAY, frames::IPV6, &packet)).is_empty());
}

#[test]
fn the_router_is_a_free_address_of_the_link() {
    let router = |addresses: &[([u8; 4], u8)]| {
        let addresses = addresses.iter().map(|(address, prefix)| (IpAddr::from(*address), *prefix)).collect();
        Link::new(GATEWAY, addresses, vec![], MTU).unwrap().router.octets()
    };
    assert_eq!(router(&[([10, 9, 0, 2], 24)]), [10, 9, 0, 1]);
    assert_eq!(router(&[([10, 9, 0, 1], 24)]), [10, 9, 0, 2]);
    assert_eq!(router(&[([10, 9, 0, 2], 31)]), [10, 9, 0, 3], "RFC 3021");
    assert_eq!(router(&[([10, 9, 0, 3], 31)]), [10, 9, 0, 2]);
    assert_eq!(router(&[([10, 9, 0, 2], 32)]), [169, 254, 1, 1]);
    // Neither another address of ours, nor one that is no host's.
    assert_eq!(router(&[([10, 9, 0, 2], 24), ([10, 9, 0, 1], 32)]), [10, 9, 0, 3]);
    assert_eq!(router(&[([10, 9, 0, 2], 31), ([10, 9, 0, 3], 32)]), [169, 254, 1, 1]);
    assert_eq!(router(&[([10, 9, 0, 2], 0)]), [169, 254, 1, 1]);
    assert_eq!(router(&[([10, 9, 0, 1], 30), ([10, 9, 0, 2], 32)]), [169, 254, 1, 1], "never the broadcast address");
}
