//! The service by itself: callers that make no sense, batches at their bounds, time and chance.

use crate::Server;
use crate::chance::{Chance, Clock};
use abi::vpn::*;
use core::net::{IpAddr, Ipv4Addr};
use message::{Error, Lease};
use proptest::prelude::*;
use std::string::String;
use std::vec;
use std::vec::Vec;
use wg_quick::TunnelConfig;
use wireguard::{Platform, PrivateKey, Tai64n};

const MAC: [u8; 6] = [0x52, 0x54, 0, 9, 9, 9];
const S: u64 = 1_000_000_000;
const START: u64 = 3 * S;
const ALL_ROOM: Both<u32> = Both { guest: u32::MAX, wire: u32::MAX };

fn parameters() -> Vec<u8> {
    let address = |last| (IpAddr::from(Ipv4Addr::new(10, 9, 0, last)), 24).try_into().unwrap();
    let config = TunnelConfig {
        private_key: PrivateKey::new([1; 32]),
        listen_port: None,
        addresses: vec![address(2)],
        dns: vec![],
        search: vec![],
        mtu: None,
        peers: vec![],
    };
    postcard::to_allocvec(&config).unwrap()
}

fn setup(version: u8, ipv4: WireIpv4, parameters: &[u8]) -> Vec<u8> {
    let wire = Wire { mtu: 1500, ipv4, ipv6: WireIpv6::Off, dns: vec![] };
    let setup = Setup { mac: MAC, wire, unix_ns: 0, protocol: Protocol::WireGuard(parameters) };
    [vec![version], postcard::to_allocvec(&setup).unwrap()].concat()
}

fn start() -> [u8; START_BYTES] {
    let mut start = [0; START_BYTES];
    Start { now_ns: START, seed: &[9; SEED_BYTES] }.encode(&mut start);
    start
}

fn configure(server: &mut Server, number: u64, setup: &[u8]) -> Result<String, Error> {
    let mut text = [0; MAX_LINE_BYTES];
    let (op, start) = (number << op::SHIFT | op::CONFIGURE, start());
    let len = server.handle(op, &mut [Lease::Read(setup), Lease::Read(&start), Lease::Write(&mut text)])?;
    Ok(String::from_utf8(text[..len as usize].to_vec()).unwrap())
}

/// With one tunnel, which asks for an address on the wire.
fn server() -> Server {
    let mut server = Server::new();
    assert_eq!(configure(&mut server, 0, &setup(SETUP_VERSION, WireIpv4::Dhcp, &parameters())).as_deref(), Ok(""));
    server
}

type Frames = Vec<(Side, Vec<u8>)>;

fn exchange(
    server: &mut Server,
    at: u64,
    room: Both<u32>,
    frames: &[(Side, &[u8])],
) -> Result<(Answer, Frames), Error> {
    let mut batch = Request { now_ns: at, link_up: true, room }.encode().to_vec();
    for (side, frame) in frames {
        batch.extend(record_header(*side, frame.len()).unwrap());
        batch.extend(*frame);
    }
    let mut out = vec![0; MAX_BATCH_BYTES];
    let len = server.handle(op::EXCHANGE, &mut [Lease::Read(&batch), Lease::Write(&mut out)])?;
    let (answer, records) = Answer::decode(&out[..len as usize]).unwrap();
    Ok((answer, records.map(|record| record.map(|(side, frame)| (side, frame.to_vec())).unwrap()).collect()))
}

/// The guest asks who has the gateway's address.
fn question() -> Vec<u8> {
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &MAC, &[10, 9, 0, 2], &[0; 6], &[10, 9, 0, 1]].concat();
    [&[0xff; 6][..], &MAC, &[8, 6], &arp].concat()
}

#[test]
fn a_tunnel_speaks_for_itself_on_the_wire_and_answers_the_guest() {
    let mut server = server();
    let (answer, frames) = exchange(&mut server, START, ALL_ROOM, &[(Side::Guest, &question())]).unwrap();
    let sides: Vec<_> = frames.iter().map(|(side, _)| *side).collect();
    assert!(sides.contains(&Side::Guest) && sides.contains(&Side::Wire), "{sides:?}");
    assert!(!answer.is_up && answer.has_event && answer.deadline_ns.is_some_and(|at| at > START));
    let mut line = [0; MAX_LINE_BYTES];
    let len = server.handle(op::EVENT, &mut [Lease::Write(&mut line)]).unwrap() as usize;
    assert!(String::from_utf8_lossy(&line[..len]).contains("down"));
    assert_eq!(server.handle(op::EVENT, &mut [Lease::Write(&mut line)]), Ok(0));
    assert!(!exchange(&mut server, START, ALL_ROOM, &[]).unwrap().0.has_event);
}

#[test]
fn a_side_without_room_gets_nothing_until_it_has_some() {
    let mut server = server();
    let question = question();
    let least = MAX_RECORD_BYTES as u32;
    let room = Both { guest: least - 1, wire: u32::MAX };
    let (answer, frames) = exchange(&mut server, START, room, &[(Side::Guest, &question)]).unwrap();
    assert!(frames.iter().all(|(side, _)| *side == Side::Wire));
    assert_eq!(answer.more, Both { guest: true, wire: false });
    // Room for one, and what is left is less than the longest frame needs.
    let (answer, frames) = exchange(&mut server, START, Both { guest: least, wire: 0 }, &[]).unwrap();
    assert_eq!(frames.iter().map(|(side, _)| *side).collect::<Vec<_>>(), [Side::Guest]);
    assert_eq!(answer.more, Both { guest: true, wire: true });
    let (answer, frames) = exchange(&mut server, START, ALL_ROOM, &[]).unwrap();
    assert_eq!((answer.more, frames.len()), (Both::default(), 0));
}

#[test]
fn a_tunnel_that_is_set_up_again_forgets_what_it_had() {
    let mut server = server();
    let _ = exchange(&mut server, START, Both::default(), &[(Side::Guest, &question())]).unwrap();
    configure(&mut server, 0, &setup(SETUP_VERSION, WireIpv4::Dhcp, &parameters())).unwrap();
    let (_, frames) = exchange(&mut server, START, ALL_ROOM, &[]).unwrap();
    assert!(frames.iter().all(|(side, _)| *side == Side::Wire));
    // And one that cannot be set up again is no tunnel any more.
    assert!(configure(&mut server, 0, &setup(SETUP_VERSION, WireIpv4::Dhcp, b"")).is_ok());
    assert_eq!(exchange(&mut server, START, ALL_ROOM, &[]).unwrap_err(), Error::NotFound);
}

#[test]
fn a_setup_that_cannot_be_is_refused_with_the_reason() {
    let good = parameters();
    let far = WireIpv4::Static { address: Ipv4Addr::BROADCAST, prefix_len: 24, gateway: None };
    for (setup, why) in [
        (setup(SETUP_VERSION + 1, WireIpv4::Dhcp, &good), "its setup is of another version"),
        (vec![], "its setup is of another version"),
        (vec![SETUP_VERSION, 1], "its parameters cannot be read"),
        (setup(SETUP_VERSION, WireIpv4::Dhcp, &good[..9]), "its parameters cannot be read"),
        (setup(SETUP_VERSION, WireIpv4::Off, &good), "there is neither IPv4 nor IPv6"),
        (setup(SETUP_VERSION, far, &good), "the IPv4 address or its router is not one host's"),
    ] {
        assert_eq!(configure(&mut Server::new(), 1, &setup).as_deref(), Ok(why));
    }
    let mut server = Server::new();
    assert_eq!(configure(&mut server, MAX_TUNNELS as u64, &[]), Err(Error::NotFound));
    assert_eq!(configure(&mut server, 0, &vec![0; MAX_SETUP_BYTES + 1]), Err(Error::BadArgument));
    assert_eq!(server.handle(op::CONFIGURE, &mut [Lease::Read(&[1]), Lease::Read(&[0; 9])]), Err(Error::BadArgument));
    assert_eq!(server.handle(4, &mut []), Err(Error::Refused));
}

#[test]
fn tunnels_have_their_numbers() {
    let mut server = server();
    for number in 1..MAX_TUNNELS as u64 {
        let mut text = [0; 2000];
        let op = number << op::SHIFT;
        assert_eq!(server.handle(op | op::TEXT, &mut [Lease::Write(&mut text)]), Err(Error::NotFound));
        configure(&mut server, number, &setup(SETUP_VERSION, WireIpv4::Dhcp, &parameters())).unwrap();
        assert!(server.handle(op | op::TEXT, &mut [Lease::Write(&mut text)]).unwrap() > 40);
    }
}

#[test]
fn stamps_grow_with_time_and_stay_behind_it_and_time_never_goes_back() {
    let clock = Clock::default();
    let mut chance = Chance::new(&[7; 32], clock.clone(), 1000 * S);
    let mut stamp = |at: u64| {
        clock.advance(at * S);
        chance.tai64n().unwrap()
    };
    assert_eq!(stamp(0), Tai64n::from_unix(1000, 0));
    assert_eq!(stamp(64), Tai64n::from_unix(1063, 0), "a 64th slower than time");
    let day = stamp(86_400);
    assert_eq!(stamp(3), day);
    assert_eq!(clock.now().0, 86_400 * S);
}

#[test]
fn the_same_seed_gives_the_same_and_another_one_another() {
    let draw = |seed| {
        let mut bytes = [0; 64];
        Chance::new(&[seed; 32], Clock::default(), 0).random(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[..32], draw(1)[32..]);
}

proptest! {
    #[test]
    fn whatever_it_is_called_with_it_answers(
        calls in prop::collection::vec((0_u64..0x600, prop::collection::vec(any::<u8>(), 0..200), 0_usize..300), 1..20),
    ) {
        let mut server = server();
        for (op, read, room) in calls {
            let mut write = vec![0; room];
            if let Ok(len) = server.handle(op, &mut [Lease::Read(&read), Lease::Write(&mut write)]) {
                prop_assert!(len as usize <= room);
            }
            let (start, mut text) = (start(), [0; 30]);
            let _ = server.handle(op, &mut [Lease::Read(&read), Lease::Read(&start), Lease::Write(&mut text)]);
            let _ = server.handle(op, &mut [Lease::Write(&mut write)]);
        }
    }

    #[test]
    fn whatever_frames_come_the_answer_is_a_batch(
        frames in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..200)), 0..20),
        times in prop::collection::vec(any::<u64>(), 1..5),
    ) {
        let mut server = server();
        let frames: Vec<_> =
            frames.iter().map(|(guest, frame)| (if *guest { Side::Guest } else { Side::Wire }, &frame[..])).collect();
        for at in times {
            exchange(&mut server, at, ALL_ROOM, &frames).unwrap();
        }
    }
}
