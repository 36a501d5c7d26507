//! Where addresses come from.

use super::*;
use crate::Unwanted;
use inside::{Inside, Link};

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);

/// A network that gives [`GIVEN`]: the gateway of the other side, whose guest our stack is.
fn network() -> Inside {
    let dns = vec![Ipv4Addr::new(10, 1, 0, 53).into()];
    let link = Link::new([2, 0, 0, 0, 0, 9], vec![(GIVEN.into(), 24)], dns, 1500).unwrap();
    Inside::new(link, MAC)
}

/// Moves frames until both are silent; packets that the stack sends beyond the link.
fn run(outside: &mut Outside, network: &mut Inside, now: Instant) -> Vec<Vec<u8>> {
    let mut beyond = Vec::new();
    let mut frame = vec![0; MAX_FRAME_BYTES];
    for _ in 0..20 {
        for frame in sent(outside) {
            network.on_frame(now, &frame, &mut |packet| beyond.push(packet.to_vec()));
        }
        while let Some(len) = network.poll_frame(&mut frame) {
            outside.on_frame(now, &frame[..len]);
        }
    }
    beyond
}

fn dhcp() -> Outside {
    plugged_in(Config { ipv4: Ipv4::Dhcp, ipv6: Ipv6::Off, names: true, ..config() })
}

#[test]
fn dhcp_gives_address_router_and_dns_server() {
    let (mut outside, mut network) = (dhcp(), network());
    assert_eq!(outside.addresses(), (None, None));
    run(&mut outside, &mut network, NOW);
    assert_eq!(outside.addresses(), (Some(GIVEN), None));
    outside.send(NOW, 0, (PEER, 9).into(), b"sealed").unwrap();
    let packets = run(&mut outside, &mut network, NOW);
    assert_eq!(packets.len(), 1);
    assert!(packets[0].ends_with(b"sealed"));
    assert!(outside.resolve("vpn.example.org"));
    assert_eq!(outside.poll_resolved(NOW), None);
    // smoltcp asks for one neighbour a second.
    let later = Instant(NOW.0 + 2 * S);
    outside.on_timeout(later);
    let packets = run(&mut outside, &mut network, later);
    assert_eq!(Packet::parse(&packets[0]).unwrap().destination, Ipv4Addr::new(10, 1, 0, 53));
}

#[test]
fn a_lease_is_renewed_in_time_and_lost_at_its_end() {
    let (mut outside, mut network) = (dhcp(), network());
    run(&mut outside, &mut network, NOW);
    let mut now = NOW;
    // The network answers for two days.
    while now.0 < NOW.0 + 172_800 * S {
        now = outside.poll_timeout(now).expect("a deadline").max(Instant(now.0 + S));
        outside.on_timeout(now);
        run(&mut outside, &mut network, now);
        assert_eq!(outside.addresses().0, Some(GIVEN));
    }
    // Then it is silent for more than one.
    let end = now.0 + 90_000 * S;
    while now.0 < end {
        now = outside.poll_timeout(now).expect("a deadline").max(Instant(now.0 + S));
        outside.on_timeout(now);
        sent(&mut outside);
    }
    assert_eq!(outside.addresses(), (None, None));
}

#[test]
fn a_new_cable_asks_for_an_address_anew() {
    let (mut outside, mut network) = (dhcp(), network());
    run(&mut outside, &mut network, NOW);
    outside.on_link(NOW, false);
    assert_eq!(outside.addresses(), (None, None));
    outside.on_link(NOW, true);
    run(&mut outside, &mut network, NOW);
    assert_eq!(outside.addresses(), (Some(GIVEN), None));
}

#[test]
fn an_offer_from_no_address_is_not_taken() {
    // smoltcp would later look for a route to the sender, which panics at addresses of no host.
    let mut outside = dhcp();
    let frame = sent(&mut outside).remove(0);
    let mut offer = frame[42..].to_vec();
    offer[0] = 2;
    offer[16..20].copy_from_slice(&GIVEN.octets());
    offer.truncate(240);
    offer.extend([53, 1, 2, 54, 4, 10, 1, 0, 1, 255]);
    outside.on_frame(NOW, &udp((Ipv4Addr::UNSPECIFIED, 67), (Ipv4Addr::BROADCAST, 68), &offer));
    assert_eq!(outside.counters().unwanted(Unwanted::OtherAddress), 1);
    assert!(sent(&mut outside).is_empty(), "no request follows");
    outside.on_frame(NOW, &udp((Ipv4Addr::new(10, 1, 0, 1), 67), (Ipv4Addr::BROADCAST, 68), &offer));
    assert_eq!(sent(&mut outside).len(), 1, "the same from a host does");
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);
const BY_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 9, 0, 0x5054, 0xFF, 0xFEAA, 0xBBCC);

fn slaac() -> Outside {
    plugged_in(Config { ipv4: Ipv4::Off, ipv6: Ipv6::Slaac, ..config() })
}

/// A prefix of a router advertisement.
fn prefix(bits: u8, flags: u8, valid_s: u32, prefix: [u8; 8]) -> Vec<u8> {
    let mut option = vec![3, 4, bits, flags];
    option.extend(valid_s.to_be_bytes());
    option.extend(valid_s.min(600).to_be_bytes());
    option.extend([0; 4]);
    option.extend(prefix);
    option.extend([0; 8]);
    option
}

const GOOD: [u8; 8] = [0x20, 1, 0x0D, 0xB8, 0, 9, 0, 0];

fn router(lifetime_s: u16, options: &[u8]) -> Vec<u8> {
    let [high, low] = lifetime_s.to_be_bytes();
    let message = [&[134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0], options].concat();
    icmp6(ROUTER6, ALL_NODES, &message)
}

fn is_solicitation(frame: &[u8]) -> bool {
    frame[..6] == [0x33, 0x33, 0, 0, 0, 2] && frame[54] == 133
}

#[test]
fn slaac_gives_an_address_of_the_prefix_and_the_router() {
    let mut outside = slaac();
    let frames = sent(&mut outside);
    assert!(is_solicitation(&frames[0]) && frames.len() == 1);
    let packet = Packet::parse(&frames[0][14..]).unwrap();
    assert_eq!(frames::sum(packet.source, packet.destination, frames::ICMPV6, packet.payload()), 0xFFFF);
    outside.on_frame(NOW, &router(1800, &prefix(64, 0xC0, 86_400, GOOD)));
    assert_eq!(outside.addresses(), (None, Some(BY_PREFIX)));
    let frames = send(&mut outside, (PEER6, 9).into(), b"sealed");
    assert!(frames.last().unwrap().ends_with(b"sealed"));
    assert_eq!(frames.last().unwrap()[..6], ROUTER_MAC);
}

#[test]
fn a_router_that_is_silent_is_asked_again_less_and_less_often() {
    let mut outside = slaac();
    let (mut now, mut times) = (NOW, Vec::new());
    for _ in 0..16 {
        times.extend(sent(&mut outside).iter().filter(|frame| is_solicitation(frame)).map(|_| (now.0 - NOW.0) / S));
        now = outside.poll_timeout(now).expect("a deadline");
        outside.on_timeout(now);
    }
    assert_eq!(times[..6], [0, 4, 8, 12, 20, 36]);
    assert_eq!(times[15] - times[14], 3600);
}

#[test]
fn a_router_whose_lifetime_ends_is_asked_for_anew() {
    let mut outside = slaac();
    outside.on_frame(NOW, &router(30, &prefix(64, 0x40, 86_400, GOOD)));
    sent(&mut outside);
    let due = outside.poll_timeout(NOW).expect("a deadline");
    assert_eq!(due, Instant(NOW.0 + 30 * S));
    outside.on_timeout(due);
    let due = outside.poll_timeout(due).expect("a deadline");
    outside.on_timeout(due);
    assert!(sent(&mut outside).iter().any(|frame| is_solicitation(frame)));
    assert_eq!(outside.addresses().1, Some(BY_PREFIX), "the address lives on");
}

#[test]
fn advertisements_that_are_forged_badly_change_nothing() {
    let wrong = [
        prefix(65, 0x40, 86_400, GOOD),
        prefix(200, 0x40, 86_400, GOOD),
        prefix(64, 0x80, 86_400, GOOD),
        prefix(64, 0x40, 0, GOOD),
        prefix(64, 0x40, 86_400, [0xFF, 2, 0, 0, 0, 0, 0, 0]),
        prefix(64, 0x40, 86_400, [0xFE, 0x80, 0, 0, 0, 0, 0, 0]),
        vec![0, 0, 0, 0, 0, 0, 0, 0],
        [prefix(64, 0x40, 86_400, GOOD), vec![1, 9]].concat(),
    ];
    for options in wrong {
        let mut outside = slaac();
        outside.on_frame(NOW, &router(1800, &options));
        assert_eq!(outside.addresses(), (None, None), "{options:?}");
    }
    let good = router(1800, &prefix(64, 0x40, 86_400, GOOD));
    let mut from_far = good.clone();
    from_far[21] = 254;
    let mut wrong_sum = good;
    wrong_sum[56] ^= 1;
    let mut outside = slaac();
    outside.on_frame(NOW, &from_far);
    outside.on_frame(NOW, &wrong_sum);
    assert_eq!(outside.addresses(), (None, None));
}

#[test]
fn a_forged_lifetime_cannot_end_an_address_within_two_hours() {
    let mut outside = slaac();
    outside.on_frame(NOW, &router(1800, &prefix(64, 0x40, 86_400, GOOD)));
    outside.on_frame(NOW, &router(1800, &prefix(64, 0x40, 1, GOOD)));
    for (after_s, address) in [(3600, Some(BY_PREFIX)), (7199, Some(BY_PREFIX)), (7200, None)] {
        outside.on_timeout(Instant(NOW.0 + after_s * S));
        assert_eq!(outside.addresses().1, address);
    }
}

#[test]
fn the_routers_mtu_bounds_datagrams_over_ipv6() {
    let mut outside = slaac();
    outside.on_frame(NOW, &router(1800, &[5, 1, 0, 0, 0, 0, 0x05, 0x14]));
    assert_eq!(outside.max_datagram_bytes(PEER6.into()), 1300 - 48);
    outside.on_frame(NOW, &router(1800, &[5, 1, 0, 0, 0, 0, 0x04, 0xFF]));
    assert_eq!(outside.max_datagram_bytes(PEER6.into()), 1300 - 48, "1279 is less than IPv6 allows");
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let static4 = |address, prefix| Ipv4::Static { address, prefix, router: None };
    let wrong = [
        Config { mac: [1, 0, 0, 0, 0, 0], ..config() },
        Config { mac: [0; 6], ..config() },
        Config { mtu: 1279, ..config() },
        Config { mtu: 9001, ..config() },
        Config { ipv4: Ipv4::Off, ipv6: Ipv6::Off, ..config() },
        Config { ipv4: static4(Ipv4Addr::BROADCAST, 24), ..config() },
        Config { ipv4: static4(OWN, 33), ..config() },
        Config { ipv6: Ipv6::Static { address: OWN6, prefix: 64, router: Some(ALL_NODES) }, ..config() },
        Config { ports: vec![], ..config() },
        Config { ports: vec![53], ..config() },
        Config { dns: vec![Ipv4Addr::UNSPECIFIED.into()], ..config() },
    ];
    for config in wrong {
        assert!(Outside::new(config.clone(), NOW).is_err(), "{config:?}");
    }
}

#[test]
fn a_router_is_asked_for_at_once_when_a_late_cable_comes() {
    let config = Config { ipv4: Ipv4::Off, ipv6: Ipv6::Slaac, ..config() };
    let mut outside = Outside::new(config, NOW).unwrap();
    // Nobody has told of a cable: there is none.
    assert_eq!((sent(&mut outside).len(), outside.poll_timeout(NOW)), (0, None));
    let late = Instant(NOW.0 + 7200 * S);
    outside.on_timeout(late);
    assert!(sent(&mut outside).is_empty());
    outside.on_link(late, true);
    assert!(sent(&mut outside).iter().any(|frame| is_solicitation(frame)));
}

/// An advertisement of somebody else, who is no router.
fn rogue(options: &[u8]) -> Vec<u8> {
    let message = [&[134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], options].concat();
    icmp6(Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 0x666), ALL_NODES, &message)
}

#[test]
fn the_mtu_is_the_accepted_routers_alone_and_ends_with_it() {
    let mut outside = slaac();
    let mtu = |mtu: u16| [&[5, 1, 0, 0, 0, 0][..], &mtu.to_be_bytes()].concat();
    outside.on_frame(NOW, &rogue(&mtu(1280)));
    assert_eq!(outside.mtu(), 1500, "nobody is a router yet");
    outside.on_frame(NOW, &router(1800, &[prefix(64, 0xC0, 86_400, GOOD), mtu(1492)].concat()));
    outside.on_frame(NOW, &rogue(&mtu(1280)));
    assert_eq!((outside.mtu(), outside.max_datagram_bytes(PEER6.into())), (1492, 1444));
    outside.on_timeout(Instant(NOW.0 + 1800 * S));
    assert_eq!(outside.mtu(), 1500, "the router is gone");
    outside.on_frame(NOW, &router(1800, &mtu(1400)));
    assert_eq!(outside.mtu(), 1400);
    outside.on_frame(NOW, &router(0, &[]));
    assert_eq!(outside.mtu(), 1500, "it is a router no more");
}

/// A DHCP server's answer to our frame, of this type, with the options of `routers`.
fn dhcp_answer(frame: &[u8], kind: u8, routers: &[u8]) -> Vec<u8> {
    let mut message = frame[42..].to_vec();
    message[0] = 2;
    message[16..20].copy_from_slice(&GIVEN.octets());
    message.truncate(240);
    message.extend([53, 1, kind, 54, 4, 10, 1, 0, 1, 1, 4, 255, 255, 255, 0, 51, 4, 0, 1, 0, 0]);
    message.extend(routers);
    message.push(255);
    udp((Ipv4Addr::new(10, 1, 0, 1), 67), (Ipv4Addr::BROADCAST, 68), &message)
}

#[test]
fn of_two_routers_that_dhcp_tells_the_first_is_used() {
    let routers = [0, 3, 8, 10, 1, 0, 1, 10, 1, 0, 2, 0];
    let mut outside = dhcp();
    let discover = sent(&mut outside).remove(0);
    outside.on_frame(NOW, &dhcp_answer(&discover, 2, &routers));
    let request = sent(&mut outside).remove(0);
    let answer = dhcp_answer(&request, 5, &routers);
    let mut forged = answer.clone();
    *forged.last_mut().unwrap() ^= 1;
    outside.on_frame(NOW, &forged);
    assert_eq!(outside.addresses().0, None, "its checksum is wrong");
    outside.on_frame(NOW, &answer);
    assert_eq!(outside.addresses().0, Some(GIVEN));
    outside.send(NOW, 0, (PEER, 9).into(), b"sealed").unwrap();
    assert!(sent(&mut outside).iter().any(|frame| frame.ends_with(&[10, 1, 0, 1])), "the first router is looked for");
}

#[test]
fn a_renumbered_network_gives_the_new_address() {
    let mut outside = slaac();
    outside.on_frame(NOW, &router(1800, &prefix(64, 0xC0, 86_400, GOOD)));
    let new = prefix(64, 0xC0, 86_400, [0x20, 1, 0x0D, 0xB8, 0, 10, 0, 0]);
    outside.on_frame(NOW, &router(1800, &new));
    assert_eq!(outside.addresses().1, Some(BY_PREFIX), "one that is preferred stays");
    let mut old = prefix(64, 0xC0, 7200, GOOD);
    old[8..12].fill(0);
    let now = Instant(NOW.0 + 10 * S);
    outside.on_frame(now, &router(1800, &[old.clone(), new].concat()));
    let renumbered = Ipv6Addr::new(0x2001, 0xDB8, 10, 0, 0x5054, 0xFF, 0xFEAA, 0xBBCC);
    assert_eq!(outside.addresses().1, Some(renumbered));
    outside.on_frame(now, &router(1800, &old));
    assert_eq!(outside.addresses().1, Some(renumbered), "a deprecated one takes no place");
}

#[test]
fn a_dns_server_of_a_router_ends_with_its_lifetime() {
    let config = Config { ipv4: Ipv4::Off, ipv6: Ipv6::Slaac, names: true, ..config() };
    let mut outside = plugged_in(config);
    let server = |lifetime_s: u32, last: u8| {
        let mut option = vec![25, 3, 0, 0];
        option.extend(lifetime_s.to_be_bytes());
        option.extend([0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        option
    };
    let servers = |outside: &Outside| outside.dns().to_vec();
    let at = |last| IpAddr::from(Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, last));
    outside.on_frame(NOW, &router(9000, &[server(100, 1), server(200, 2)].concat()));
    assert_eq!(servers(&outside), [at(1), at(2)]);
    let now = Instant(NOW.0 + 100 * S);
    assert_eq!(outside.poll_timeout(NOW), Some(now));
    outside.on_timeout(now);
    assert_eq!(servers(&outside), [at(2)]);
    outside.on_frame(now, &router(9000, &server(0, 2)));
    assert!(servers(&outside).is_empty());
}
