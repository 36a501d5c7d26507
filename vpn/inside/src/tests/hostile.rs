//! Any bytes.

use super::*;
use proptest::prelude::*;

/// Frames with some sense: a header that leads into the parsers.
fn frames_of_a_guest() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![Just(frames::ARP), Just(frames::IPV4), Just(frames::IPV6), any::<u16>()];
    let macs = prop_oneof![Just(GATEWAY), Just(emit::BROADCAST), Just([0x33, 0x33, 0, 0, 0, 1]), any::<[u8; 6]>()];
    let noise = prop::collection::vec(any::<u8>(), 0..400);
    let plain = (macs, kinds, noise.clone()).prop_map(|(to, kind, bytes)| ethernet(to, kind, &bytes));
    let ports = prop_oneof![Just(67u16), Just(547), any::<u16>()];
    let datagram = (any::<bool>(), ports, noise.clone()).prop_map(|(v6, port, data)| match v6 {
        true => udp(GATEWAY, (OWN6, 546), (FAR6, port), &data),
        false => udp(GATEWAY, (OWN, 68), (FAR, port), &data),
    });
    let message = (any::<bool>(), 0..40usize, noise.clone()).prop_map(|(_, kind, mut bytes)| {
        bytes.resize(bytes.len().max(8), 0);
        bytes[0] = 120 + kind as u8;
        icmp(GATEWAY, GUEST_LOCAL, FAR6, 255, &bytes)
    });
    let changed = (noise, prop::collection::vec((0..120usize, any::<u8>()), 0..6)).prop_map(|(data, changes)| {
        let mut frame = udp(GATEWAY, (OWN, 1), (FAR, 2), &data);
        for (at, value) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame
    });
    prop_oneof![plain, datagram, message, changed, prop::collection::vec(any::<u8>(), 0..100)]
}

/// What goes into the tunnel is from the guest's address, to a host, and no longer than the MTU.
fn check(packet: &[u8]) {
    let packet = Packet::parse(packet).expect("no packet");
    assert!([IpAddr::from(OWN), OWN6.into()].contains(&packet.source));
    assert!(frames::is_unicast(packet.destination) && packet.bytes.len() <= MTU.into());
}

proptest! {
    #[test]
    fn nothing_of_a_hostile_guest_goes_into_the_tunnel_but_packets_of_its_own(
        input in prop::collection::vec(frames_of_a_guest(), 1..20)
    ) {
        let mut inside = inside();
        for frame in input {
            send(&mut inside, &frame).iter().for_each(|packet| check(packet));
        }
        while let Some(frame) = answer(&mut inside) {
            prop_assert_eq!(&frame[6..12], &GATEWAY[..]);
        }
    }

    #[test]
    fn nothing_of_a_hostile_peer_reaches_the_guest_but_packets_for_it(
        input in prop::collection::vec(frames_of_a_guest(), 1..20)
    ) {
        let mut inside = inside();
        for frame in input {
            inside.on_packet(frame.get(14..).unwrap_or_default());
        }
        while let Some(frame) = answer(&mut inside) {
            let packet = Packet::parse(&frame[14..]).unwrap();
            prop_assert!([IpAddr::from(OWN), OWN6.into()].contains(&packet.destination) && packet.bytes.len() <= 1500);
        }
    }
}
