//! What a guest and a network do.

use super::oracle::{Kind, MARKER};
use super::world::*;
use crate::{Event, GATEWAY_MAC};
use core::net::Ipv4Addr;
use frames::Packet;
use mediator::net::{Side, Tunnel as _};
use outside::Ipv4;
use std::string::ToString;
use std::vec::Vec;
use wg_quick::Endpoint;

fn ready(setup: Setup) -> World {
    let mut world = World::new(setup);
    assert!(world.run_until(30, |world| world.guest.has_address()), "no address by DHCP");
    world
}

#[test]
fn a_guest_gets_its_address_and_reaches_a_server_through_the_tunnel_alone() {
    let mut world = ready(Setup::default());
    assert!(world.exchange(SERVER, "one", 10));
    assert!(world.tunnel.is_up());
    assert_eq!(world.count(Kind::Dhcp), 0, "the guest's DHCP stays inside");
    assert!(world.count(Kind::Data) >= 1 && world.count(Kind::Handshake) >= 1);
    // The peer sees the guest's own packet, and nothing else of the guest's.
    let inner: Vec<_> = world.peer.packets.iter().map(|packet| Packet::parse(packet).unwrap()).collect();
    assert!(inner.iter().all(|packet| packet.source == GUEST && packet.destination == SERVER), "{inner:?}");
}

#[test]
fn ipv6_goes_through_the_tunnel_too() {
    let mut world = ready(Setup::default());
    let [a, b, c, d, e, f] = GATEWAY_MAC;
    world.guest.use_ipv6([0xFE, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xFF, 0xFE, d, e, f].into());
    assert!(world.exchange(SERVER6, "six", 10));
}

#[test]
fn the_peer_may_be_at_an_ipv6_address() {
    let mut world = ready(over_ipv6());
    assert!(world.exchange(SERVER, "over six", 10));
    assert!(world.count(Kind::Ndp) >= 1 && world.count(Kind::Arp) == 0);
}

/// Moves `total` bytes each way over TCP: the server sends back what it gets.
fn echo(world: &mut World, total: usize, seconds: u64) -> bool {
    let data: Vec<u8> =
        MARKER.iter().copied().cycle().zip(0..total).map(|(byte, i)| byte ^ (i >> 12) as u8 & 0x20).collect();
    world.guest.connect(SERVER);
    let (mut sent, mut back, mut held) = (0, Vec::new(), Vec::new());
    let done = world.run_until(seconds, |world| {
        let guest = world.guest.tcp();
        if guest.can_send() {
            sent += guest.send_slice(&data[sent..]).unwrap();
        }
        let _ = guest.can_recv().then(|| guest.recv(|bytes| (bytes.len(), back.extend_from_slice(bytes))));
        let server = world.peer.server.tcp();
        let _ = server.can_recv().then(|| server.recv(|bytes| (bytes.len(), held.extend_from_slice(bytes))));
        if server.can_send() {
            let taken = server.send_slice(&held).unwrap();
            held.drain(..taken);
        }
        back.len() >= total
    });
    assert!(!done || back == data, "other bytes came back");
    done
}

#[test]
fn tcp_moves_data_both_ways_in_segments_that_fit_the_tunnel() {
    let mut world = ready(Setup::default());
    assert!(echo(&mut world, 200_000, 60));
    assert!(world.count(Kind::Data) >= 200_000 / usize::from(MTU - 40));
    let longest = world.peer.packets.iter().map(Vec::len).max();
    assert_eq!(longest, Some(MTU.into()), "the guest's card says 1500, the MSS was lowered");
}

#[test]
fn tcp_survives_a_wire_that_loses_every_tenth_frame() {
    let mut world = ready(Setup::default());
    world.loss = 10;
    assert!(echo(&mut world, 60_000, 600));
}

#[test]
fn the_tunnel_lives_through_new_keys_and_idle_times() {
    let mut world = ready(Setup::default());
    for n in 0..10 {
        assert!(world.exchange(SERVER, &std::format!("{n}"), 10), "exchange {n}");
        world.run(45);
    }
    assert!(world.count(Kind::Handshake) >= 3, "keys were renewed: {:?}", world.kinds);
    let ups = world.events.iter().filter(|event| **event == Event::Up).count();
    assert_eq!(ups, 1, "{:?}", world.events);
}

#[test]
fn a_peer_that_starts_anew_is_found_again() {
    let mut world = ready(Setup::default());
    assert!(world.exchange(SERVER, "before", 10));
    world.restart_peer();
    // The new peer knows no session; a handshake of ours comes after 15 s without an answer.
    assert!((0..20).any(|_| world.exchange(SERVER, "after", 5)));
}

#[test]
fn a_peer_that_moves_is_followed_once_it_speaks_from_there() {
    let mut world = ready(Setup::default());
    assert!(world.exchange(SERVER, "before", 10));
    let there = Ipv4Addr::new(192, 0, 2, 77);
    world.move_peer(there);
    world.peer.server.udp().send_slice(MARKER, (GUEST, SERVER_PORT)).unwrap();
    assert!(world.run_until(10, |world| world.guest.udp().recv().is_ok()));
    let endpoint = world.tunnel.protocol().0.peers().next().and_then(|peer| peer.endpoint);
    assert_eq!(endpoint, Some((there, OUTER_PORT).into()));
    assert!(world.exchange(SERVER, "after", 10));
}

#[test]
fn before_the_tunnel_is_up_nothing_of_the_guest_leaves() {
    let mut world = ready(Setup { preshared: 8, ..Setup::default() });
    assert!(!world.exchange(SERVER, "lost", 60));
    assert!(!world.tunnel.is_up());
    assert_eq!(world.count(Kind::Data), 0);
    assert!(world.count(Kind::Handshake) >= 2);
    assert!(world.peer.packets.is_empty());
    let downs = world.events.iter().filter(|event| **event == Event::Down).count();
    assert_eq!(downs, 1, "{:?}", world.events);
}

#[test]
fn without_an_address_of_the_wire_packets_are_dropped_and_counted() {
    let mut world = ready(Setup { ipv4: Ipv4::Dhcp, ipv6: outside::Ipv6::Off, ..Setup::default() });
    assert!(!world.exchange(SERVER, "lost", 5));
    assert!(world.tunnel.counters().no_wire >= 1);
    let kinds: Vec<_> = world.kinds.keys().copied().collect();
    assert_eq!(kinds, [Kind::Dhcp], "only Shoji's own questions leave");
}

#[test]
fn a_cable_that_is_pulled_stops_the_tunnel_and_one_that_is_back_goes_on() {
    let mut world = ready(Setup::default());
    assert!(world.exchange(SERVER, "before", 10));
    let now = world.now;
    world.tunnel.on_link(now, false);
    let before: usize = world.kinds.values().sum();
    assert!(!world.exchange(SERVER, "meanwhile", 5));
    assert_eq!(world.kinds.values().sum::<usize>(), before, "no frame without a cable");
    assert!(!world.tunnel.is_up());
    let now = world.now;
    world.tunnel.on_link(now, true);
    assert!(world.exchange(SERVER, "after", 10));
    let turns: Vec<_> = world.events.iter().filter(|e| matches!(e, Event::Up | Event::Down)).collect();
    assert_eq!(turns, [&Event::Down, &Event::Up, &Event::Down, &Event::Up]);
}

#[test]
fn a_peer_with_a_name_is_asked_for_outside_of_the_tunnel() {
    let endpoint = Endpoint::Name { host: "vpn.example.org".into(), port: OUTER_PORT };
    let mut world = World::new(Setup { endpoint: Some(endpoint), ..Setup::default() });
    assert!(world.run_until(10, |world| !world.tapped.is_empty()), "no question");
    let (to, answer) = dns_answer(&world.tapped[0], PEER);
    // The peer's machine is the name server too; its stack has no port 53, so the frame is made here.
    let frame = udp_frame((PEER, 53), to, &answer);
    let now = world.now;
    world.tunnel.on_frame(now, Side::Wire, &frame);
    // IPv6 addresses are asked for as well; nobody answers that.
    assert!(world.run_until(60, |world| world.tunnel.is_up()));
    assert!(world.events.iter().any(|event| event.to_string() == "the peer vpn.example.org is at 192.0.2.1"));
    assert!(world.exchange(SERVER, "by name", 10));
}

#[test]
fn a_name_that_nobody_knows_is_asked_for_again_and_again() {
    let endpoint = Endpoint::Name { host: "vpn.example.org".into(), port: OUTER_PORT };
    let mut world = World::new(Setup { endpoint: Some(endpoint), ..Setup::default() });
    world.run(200);
    let unresolved = world.events.iter().filter(|event| matches!(event, Event::Unresolved { .. })).count();
    assert!(unresolved >= 2, "{:?}", world.events);
    assert_eq!(world.count(Kind::Handshake) + world.count(Kind::Data), 0);
}

#[test]
fn a_side_without_room_gets_no_frame_and_loses_none() {
    let mut world = ready(Setup::default());
    assert!(world.exchange(SERVER, "one", 10));
    let now = world.now;
    world.guest.udp().send_slice(MARKER, (SERVER, SERVER_PORT)).unwrap();
    world.guest.pipe.sent.clear();
    let frame = udp_frame_of_guest(b"waits");
    world.tunnel.on_frame(now, Side::Guest, &frame);
    let mut buffer = [0; 2048];
    assert_eq!(world.tunnel.poll_transmit(now, &|side| side == Side::Guest, &mut buffer), None);
    let (side, _) = world.tunnel.poll_transmit(now, &|_| true, &mut buffer).expect("the frame is still there");
    assert_eq!(side, Side::Wire);
}

/// A datagram on the wire, without checksum (RFC 768 allows it).
fn udp_frame(from: (Ipv4Addr, u16), to: core::net::SocketAddr, data: &[u8]) -> Vec<u8> {
    let core::net::IpAddr::V4(to_address) = to.ip() else { panic!("IPv4 only") };
    frame(MAC, [0x52, 0x54, 0, 1, 1, 1], (from.0, from.1), (to_address, to.port()), data)
}

pub fn udp_frame_of_guest(data: &[u8]) -> Vec<u8> {
    frame(GATEWAY_MAC, MAC, (GUEST, 1), (SERVER, 2), &[MARKER, data].concat())
}

fn frame(to_mac: [u8; 6], from_mac: [u8; 6], from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let len = data.len() as u16 + 8;
    let mut header = [&[0x45, 0][..], &(len + 20).to_be_bytes(), &[0, 0, 0x40, 0, 64, 17, 0, 0]].concat();
    header.extend(from.0.octets());
    header.extend(to.0.octets());
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes(), len.to_be_bytes(), [0, 0]].concat();
    [&to_mac[..], &from_mac, &[8, 0], &header, &ports, data].concat()
}

#[test]
fn on_a_silent_wire_the_clock_alone_makes_the_tunnel_ask_again() {
    let mut tunnel = tunnel(Setup { ipv4: Ipv4::Dhcp, ipv6: outside::Ipv6::Off, ..Setup::default() });
    let (mut now, mut asked, mut frame) = (mediator::Instant(S), 0, std::vec![0; mediator::net::MAX_FRAME_BYTES]);
    while now.0 < 120 * S {
        while let Some((side, _)) = tunnel.poll_transmit(now, &|_| true, &mut frame) {
            asked += usize::from(side == Side::Wire);
        }
        let at = tunnel.poll_timeout().expect("it waits for something");
        now = at.max(mediator::Instant(now.0 + 1_000_000));
        tunnel.on_timeout(now);
    }
    assert!(asked >= 3, "asked {asked} times");
}

/// The questions for names that were asked since, by the first label of what they ask for.
fn asked(world: &mut World) -> Vec<std::string::String> {
    let label = |frame: Vec<u8>| {
        let name = &frame[42 + 12..];
        std::string::String::from_utf8_lossy(&name[1..][..name[0].into()]).into_owned()
    };
    world.tapped.drain(..).map(label).collect()
}

fn named(host: &str) -> Endpoint {
    Endpoint::Name { host: host.into(), port: OUTER_PORT }
}

/// The name server answers a question for IPv4 addresses.
fn answer(world: &mut World, question: &[u8], address: Ipv4Addr) {
    let (to, answer) = dns_answer(question, address);
    let frame = udp_frame((PEER, 53), to, &answer);
    let now = world.now;
    world.tunnel.on_frame(now, Side::Wire, &frame);
}

#[test]
fn a_second_peers_name_is_asked_for_while_the_first_is_up() {
    let mut world = World::new(Setup { others: std::vec![named("b.example.org")], ..Setup::default() });
    assert!(world.run_until(30, |world| world.tunnel.is_up()));
    world.run(600);
    assert!(!asked(&mut world).is_empty());
    world.run(600);
    assert!(!asked(&mut world).is_empty(), "not asked again in the second ten minutes");
}

#[test]
fn each_of_many_names_has_its_turn() {
    let others: Vec<_> = (0..11).map(|n| named(&std::format!("n{n}.example.org"))).collect();
    let mut world = World::new(Setup { others, ..Setup::default() });
    world.run(300);
    let asked = asked(&mut world);
    (0..11).for_each(|n| assert!(asked.contains(&std::format!("n{n}")), "n{n} of {asked:?}"));
}

/// The peer's name is known, the tunnel up, and its address asked for with answer.
fn up_by_name() -> World {
    let setup = Setup { endpoint: Some(named("vpn.example.org")), keepalive_s: 0, ..Setup::default() };
    let mut world = World::new(setup);
    assert!(world.run_until(10, |world| !world.tapped.is_empty()), "no question");
    let question = world.tapped[0].clone();
    answer(&mut world, &question, PEER);
    world.run(70);
    assert!(world.exchange(SERVER, "by name", 30));
    world.tapped.clear();
    world.events.clear();
    world
}

fn endpoint(world: &World) -> Option<core::net::SocketAddr> {
    world.tunnel.protocol().0.peers().next().and_then(|peer| peer.endpoint)
}

#[test]
fn an_idle_tunnel_stays_told_up_and_asks_for_no_names() {
    let mut world = up_by_name();
    // The peer roams while the tunnel is up.
    let there = Ipv4Addr::new(192, 0, 2, 77);
    world.move_peer(there);
    world.peer.server.udp().send_slice(MARKER, (GUEST, SERVER_PORT)).unwrap();
    assert!(world.run_until(10, |world| world.guest.udp().recv().is_ok()));
    for _ in 0..1200 {
        // Something always passes on a wire.
        let arp =
            [&[0, 1, 8, 0, 6, 4, 0, 2, 0x52, 0x54, 0, 1, 1, 1, 192, 0, 2, 1][..], &MAC, &[192, 0, 2, 10]].concat();
        let frame = [&MAC[..], &[0x52, 0x54, 0, 1, 1, 1, 8, 6], &arp].concat();
        let now = world.now;
        world.tunnel.on_frame(now, Side::Wire, &frame);
        world.run(1);
    }
    assert!(world.tunnel.is_up());
    assert_eq!((asked(&mut world), world.events.len()), (Vec::new(), 0), "{:?}", world.events);
    assert_eq!(endpoint(&world), Some((there, OUTER_PORT).into()));
    assert!(world.exchange(SERVER, "after an hour", 10));
}

/// The next question for a name while the guest goes on sending in vain.
fn question_in_vain(world: &mut World) -> Vec<u8> {
    world.tapped.clear();
    for _ in 0..80 {
        assert!(!world.exchange(SERVER, "lost", 5));
        if let Some(question) = world.tapped.first() {
            return question.clone();
        }
    }
    panic!("the name is not asked for again");
}

#[test]
fn a_peer_that_does_not_answer_is_down_and_its_name_asked_for_again() {
    let mut world = up_by_name();
    // Whatever it had to say is said.
    world.run(30);
    world.is_deaf = true;
    let question = question_in_vain(&mut world);
    assert!(!world.tunnel.is_up());
    assert_eq!(world.events, [Event::Down]);
    // The name is still what it was: nothing is told, and nothing changes.
    let before = endpoint(&world);
    answer(&mut world, &question, PEER);
    world.run(70);
    assert_eq!((endpoint(&world), world.events.len()), (before, 1));
    // Then it is another one.
    let there = Ipv4Addr::new(192, 0, 2, 77);
    let question = question_in_vain(&mut world);
    answer(&mut world, &question, there);
    world.move_peer(there);
    world.is_deaf = false;
    assert!((0..20).any(|_| world.exchange(SERVER, "found", 10)));
    assert!(world.tunnel.is_up());
    assert_eq!(endpoint(&world), Some((there, OUTER_PORT).into()));
}

#[test]
fn keys_are_wiped_without_a_cable_too() {
    let mut world = ready(Setup::default());
    assert!(world.exchange(SERVER, "one", 10));
    assert!(world.tunnel.protocol().0.poll_wipe().is_some());
    let now = world.now;
    world.tunnel.on_link(now, false);
    let due = world.tunnel.poll_timeout().expect("a deadline");
    assert!(due.0 > now.0 + 100 * S, "nothing else is due");
    world.run(700);
    assert_eq!(world.tunnel.protocol().0.poll_wipe(), None);
    assert_eq!(world.tunnel.poll_timeout(), None);
    let now = world.now;
    world.tunnel.on_link(now, true);
    assert!(world.exchange(SERVER, "after", 10));
}

#[test]
fn segments_follow_the_mtu_that_the_wires_router_tells() {
    let mut world = ready(Setup { ipv6: outside::Ipv6::Slaac, ..Setup::default() });
    let (router, nodes) = ("fe80::1".parse().unwrap(), "ff02::1".parse().unwrap());
    let frame = advertisement(router, nodes, 1492);
    let now = world.now;
    world.tunnel.on_frame(now, Side::Wire, &frame);
    assert_eq!(world.tunnel.inside().link().mtu(), LOWERED_MTU);
    assert!(echo(&mut world, 100_000, 60));
    let longest = world.peer.packets.iter().map(Vec::len).max();
    assert_eq!(longest, Some(LOWERED_MTU.into()), "the MSS follows");
    assert_eq!(world.tunnel.counters().too_long, 0);
    // The router says that it is none any more: as before.
    let frame = advertisement(router, nodes, 0);
    world.tunnel.on_frame(now, Side::Wire, &frame);
    assert_eq!(world.tunnel.inside().link().mtu(), MTU);
}

/// Of a router with this MTU; 0: of one that is a router no more.
fn advertisement(from: core::net::Ipv6Addr, to: core::net::Ipv6Addr, mtu: u16) -> Vec<u8> {
    let lifetime = if mtu == 0 { 0 } else { 7 };
    let mut message =
        std::vec![134, 0, 0, 0, 64, 0, lifetime, 8 * (lifetime / 7), 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    let sum = !frames::sum(from.into(), to.into(), frames::ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header =
        [&[0x60, 0, 0, 0, 0, message.len() as u8, frames::ICMPV6, 255][..], &from.octets(), &to.octets()].concat();
    [&[0x33, 0x33, 0, 0, 0, 1, 0x52, 0x54, 0, 1, 1, 1, 0x86, 0xDD][..], &header, &message].concat()
}
