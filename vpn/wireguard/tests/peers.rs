//! Two of ours, and what the wire does to them.

#[path = "../src/tests/rig.rs"]
mod rig;

use rig::Chance;
use rig::{A_IN, B_IN, Node, Pair, a_out, b_out, packet, peer, private};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use wireguard::{CipherKey, DropReason, Options, PeerId, Platform, Received, Sent, Tai64n, Tunnel, Unavailable};

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE: u8 = 3;
const DATA: u8 = 4;

fn dropped(node: &Node, reason: DropReason) -> u64 {
    node.tunnel.drops().of(reason)
}

/// An initiation of A's, not delivered, with a packet that waits.
fn initiation(pair: &mut Pair) -> Vec<u8> {
    assert_eq!(pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 1, 100)).0, Sent::Kept);
    let [(to, datagram)] = pair.a.drain(pair.now_ms).try_into().unwrap();
    assert_eq!((to, datagram[0], datagram.len()), (b_out(), INITIATION, 148));
    datagram
}

#[test]
fn packets_that_wait_come_in_order_once_there_is_a_session() {
    let mut pair = Pair::new();
    for number in 0..50 {
        let (sent, _) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, number, 60));
        assert_eq!(sent, Sent::Kept);
    }
    pair.settle();
    let expected: Vec<_> = (0..50).map(|number| packet(A_IN, B_IN, number, 60)).collect();
    assert!(pair.at_b == expected);
    assert_eq!((pair.count('a', INITIATION), pair.count('b', RESPONSE)), (1, 1));
}

#[test]
fn a_packet_never_overtakes_one_that_waits() {
    let mut pair = Pair::new();
    let first = initiation(&mut pair);
    pair.b.receive(pair.now_ms, pair.a.at, &first);
    let [(_, response)] = pair.b.drain(pair.now_ms).try_into().unwrap();
    pair.a.receive(pair.now_ms, pair.b.at, &response);
    assert_eq!(pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100)).0, Sent::Kept, "number 1 is still here");
    pair.settle();
    assert_eq!(pair.at_b, [packet(A_IN, B_IN, 1, 100), packet(A_IN, B_IN, 2, 100)]);
}

#[test]
fn the_peer_gets_the_packet_without_its_padding_and_the_wire_sees_no_byte_of_it() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    for len in 20..80 {
        let sent = packet(A_IN, B_IN, 0x5A5A_5A5A, len.max(24));
        let (_, datagram) = pair.a.send(pair.now_ms, &sent);
        let (_, bytes) = datagram.unwrap();
        assert!(bytes.len().is_multiple_of(16) && bytes.len() >= sent.len() + 32 && bytes.len() < sent.len() + 48);
        assert!(!bytes.windows(8).any(|window| sent.windows(8).any(|plain| plain == window)));
        assert_eq!(pair.b.receive(pair.now_ms, pair.a.at, &bytes).1.unwrap().1, sent);
    }
}

/// Notes what it is given to seal.
struct Witness {
    chance: Chance,
    plain: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Platform for Witness {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Unavailable> {
        self.chance.random(bytes)
    }

    fn tai64n(&mut self) -> Result<Tai64n, Unavailable> {
        self.chance.tai64n()
    }

    fn seal(&mut self, key: &CipherKey, counter: u64, packet: &mut [u8]) -> Option<[u8; 16]> {
        self.plain.borrow_mut().push(packet.to_vec());
        wireguard::seal(key, counter, &[], packet)
    }
}

#[test]
fn padding_is_zeros_whatever_was_in_the_buffer() {
    let plain = Rc::new(RefCell::new(Vec::new()));
    let mut tunnel =
        Tunnel::new(Witness { chance: Chance::new(1), plain: plain.clone() }, private(1), Options::default());
    let mut pair = Pair::new();
    tunnel.add_peer(0, peer(pair.b.tunnel.public_key(), Some(b_out()), &["10.0.0.2/32"])).unwrap();
    let sent = packet(A_IN, B_IN, 1, 69);
    let mut buffer = vec![0xEE; 200];
    // One that waits, and one that does not.
    for _ in 0..2 {
        buffer.fill(0xEE);
        buffer[16..85].copy_from_slice(&sent);
        tunnel.on_packet(1000, &mut buffer, 69);
        while let Some(transmit) = tunnel.poll_transmit(1000, &mut buffer) {
            pair.b.receive(1000, a_out(), &buffer[..transmit.len]);
            buffer.fill(0xEE);
            for (_, answer) in pair.b.drain(1000) {
                tunnel.on_datagram(1000, b_out(), &mut answer.clone());
            }
        }
    }
    let expected = [&sent[..], &[0; 11]].concat();
    assert_eq!(*plain.borrow(), [expected.clone(), expected]);
}

#[test]
fn padding_does_not_go_beyond_the_mtu() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let (_, datagram) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 1, 1420));
    assert_eq!(datagram.unwrap().1.len(), 1420 + 32);
    let (_, datagram) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 1, 1419));
    assert_eq!(datagram.unwrap().1.len(), 1420 + 32);
}

#[test]
fn a_lost_initiation_or_response_is_repeated_with_jitter() {
    let mut pair = Pair::new();
    let mut last = pair.now_ms;
    initiation(&mut pair);
    let mut gaps = Vec::new();
    for _ in 0..10 {
        let due = pair.next_timeout().unwrap();
        pair.a.tunnel.on_timeout(due);
        let [(_, again)] = pair.a.drain(due).try_into().unwrap();
        assert_eq!(again[0], INITIATION);
        gaps.push(due - last);
        last = due;
    }
    assert!(gaps.iter().all(|gap| (5000..=5333).contains(gap)), "{gaps:?}");
    gaps.dedup();
    assert!(gaps.len() > 1, "they are not all the same");
    pair.now_ms = last;
    let due = pair.next_timeout().unwrap();
    pair.run_until(due);
    assert_eq!(pair.at_b, [packet(A_IN, B_IN, 1, 100)]);
}

#[test]
fn the_initiator_gives_up_after_ninety_seconds_and_begins_again_for_the_next_packet() {
    let mut pair = Pair::new();
    initiation(&mut pair);
    let began = pair.now_ms;
    let mut tries = Vec::new();
    while let Some(due) = pair.a.tunnel.poll_timeout().filter(|due| *due < began + 400_000) {
        pair.a.tunnel.on_timeout(due);
        tries.extend(pair.a.drain(due).iter().map(|_| due - began));
    }
    assert!((15..=18).contains(&tries.len()) && *tries.last().unwrap() < 90_000, "{tries:?}");
    assert_eq!(dropped(&pair.a, DropReason::NotDelivered), 1);
    pair.now_ms = began + 400_000;
    pair.a_sends(2);
    assert_eq!(pair.at_b, [packet(A_IN, B_IN, 2, 100)]);
}

#[test]
fn packets_that_wait_are_bounded_and_the_newest_stay() {
    let mut pair = Pair::new();
    for number in 0..1000 {
        pair.a.send(pair.now_ms, &packet(A_IN, B_IN, number, 60));
    }
    pair.settle();
    let expected: Vec<_> = (1000 - pair.at_b.len() as u32..1000).map(|n| packet(A_IN, B_IN, n, 60)).collect();
    assert!(pair.at_b == expected && pair.at_b.len() == 64);
    assert_eq!(dropped(&pair.a, DropReason::NotDelivered), 936);
    let mut pair = Pair::new();
    (0..100).for_each(|number| drop(pair.a.send(pair.now_ms, &packet(A_IN, B_IN, number, 9000))));
    assert_eq!(dropped(&pair.a, DropReason::NotDelivered), 100 - (128 << 10) / 9000);
}

#[test]
fn an_initiation_counts_once() {
    let mut pair = Pair::new();
    let datagram = initiation(&mut pair);
    assert_eq!(pair.b.receive(1000, pair.a.at, &datagram).0, Received::Taken);
    let repeated = pair.b.receive(2000, pair.a.at, &datagram).0;
    assert_eq!(repeated, Received::Dropped(DropReason::OldInitiation));
    assert_eq!(pair.b.drain(2000).len(), 1, "one response");
}

#[test]
fn a_clock_that_goes_back_does_not_lock_us_out() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    pair.a.clock.set(Some(1_000_000_000));
    pair.now_ms += 600_000;
    pair.a_sends(2);
    assert_eq!(pair.at_b.len(), 2);
}

#[test]
fn initiations_faster_than_fifty_a_second_are_dropped() {
    let mut pair = Pair::new();
    let first = initiation(&mut pair);
    let due = pair.a.tunnel.poll_timeout().unwrap();
    pair.a.tunnel.on_timeout(due);
    let [(_, second)] = pair.a.drain(due).try_into().unwrap();
    assert_eq!(pair.b.receive(9000, pair.a.at, &first).0, Received::Taken);
    let soon = pair.b.receive(9019, pair.a.at, &second).0;
    assert_eq!(soon, Received::Dropped(DropReason::TooManyInitiations));
    assert_eq!(pair.b.receive(9020, pair.a.at, &second).0, Received::Taken);
}

#[test]
fn two_that_initiate_at_once_end_with_sessions_both_ways() {
    let mut pair = Pair::with(Options::default(), |side, config| {
        if side == 'b' {
            config.endpoint = Some(a_out());
        }
    });
    for round in 0..5 {
        let (a, b) = (packet(A_IN, B_IN, round, 100), packet(B_IN, A_IN, round, 100));
        assert_eq!((pair.a.send(pair.now_ms, &a).0, pair.b.send(pair.now_ms, &b).0), (Sent::Kept, Sent::Kept));
        pair.settle();
        assert_eq!((pair.at_b.pop(), pair.at_a.pop()), (Some(a), Some(b)));
        pair.a_sends(9);
        pair.b_sends(9);
        assert_eq!((pair.at_b.len(), pair.at_a.len()), (1, 1));
        pair.at_a.clear();
        pair.at_b.clear();
        pair.now_ms += 200_000;
    }
}

#[test]
fn the_responder_sends_nothing_with_a_session_that_is_not_confirmed() {
    let mut pair = Pair::new();
    let first = initiation(&mut pair);
    pair.b.receive(pair.now_ms, pair.a.at, &first);
    let (sent, _) = pair.b.send(pair.now_ms, &packet(B_IN, A_IN, 1, 100));
    assert_eq!(sent, Sent::Kept);
    let kinds: Vec<u8> = pair.b.drain(pair.now_ms).iter().map(|(_, bytes)| bytes[0]).collect();
    assert_eq!(kinds, [RESPONSE]);
    // The response is lost; the next handshake, from whichever side, delivers both.
    pair.run_until(8000);
    assert_eq!((pair.at_a.len(), pair.at_b.len()), (1, 1));
}

#[test]
fn the_initiator_confirms_by_a_keepalive_when_it_has_nothing_to_send() {
    let mut pair = Pair::with(Options::default(), |side, config| {
        if side == 'a' {
            config.persistent_keepalive_s = 25;
        }
    });
    pair.a.tunnel.on_timeout(pair.now_ms);
    pair.settle();
    assert_eq!(pair.wire, [('a', INITIATION), ('b', RESPONSE), ('a', DATA)]);
    assert!(pair.a.tunnel.is_up(pair.now_ms, PeerId(0)) && pair.b.tunnel.is_up(pair.now_ms, PeerId(0)));
    pair.b_sends(1);
    assert_eq!(pair.at_a.len(), 1, "B may send");
}

#[test]
fn a_session_is_renewed_at_two_minutes_by_its_initiator_alone() {
    let mut pair = Pair::new();
    for second in 0..121 {
        pair.a_sends(second);
        pair.b_sends(second);
        let next = pair.now_ms + 1000;
        pair.run_until(next);
    }
    assert_eq!((pair.count('a', INITIATION), pair.count('b', INITIATION)), (2, 0));
    assert_eq!((pair.at_a.len(), pair.at_b.len()), (121, 121));
}

#[test]
fn an_initiator_that_only_receives_renews_before_the_end() {
    let mut pair = Pair::new();
    pair.a_sends(0);
    for second in 1..=172 {
        let next = pair.now_ms + 1000;
        // Without timers A sends nothing by itself.
        pair.now_ms = next;
        pair.b_sends(second);
    }
    assert_eq!(pair.count('a', INITIATION), 2);
    assert_eq!(pair.at_a.len(), 172);
}

#[test]
fn packets_under_the_old_session_still_come_after_a_rekey() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let (_, late) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    pair.now_ms += 121_000;
    pair.a_sends(3);
    assert_eq!(pair.count('a', INITIATION), 2);
    pair.a_sends(4);
    assert!(pair.b.receive(pair.now_ms, pair.a.at, &late.unwrap().1).1.is_some());
}

#[test]
fn a_dead_session_takes_and_sends_nothing() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let (_, late) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    pair.now_ms += 180_000;
    let (received, _) = pair.b.receive(pair.now_ms, pair.a.at, &late.unwrap().1);
    assert_eq!(received, Received::Dropped(DropReason::ExpiredSession));
    assert!(!pair.a.tunnel.is_up(pair.now_ms, PeerId(0)));
    assert_eq!(pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 3, 100)).0, Sent::Kept);
}

#[test]
fn silence_after_data_begins_a_handshake() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    pair.run_until(60_000);
    // B is gone: nothing of A's arrives.
    let (_, lost) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    assert!(lost.is_some());
    let due = pair.a.tunnel.poll_timeout().unwrap();
    assert!((15_000..=15_333).contains(&(due - pair.now_ms)));
    pair.a.tunnel.on_timeout(due);
    assert_eq!(pair.a.drain(due)[0].1[0], INITIATION);
}

#[test]
fn data_without_an_answer_is_answered_by_one_keepalive() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    pair.run_until(60_000);
    pair.wire.clear();
    pair.a_sends(2);
    pair.run_until(69_999);
    assert_eq!(pair.wire, [('a', DATA)]);
    pair.run_until(170_000);
    assert_eq!(pair.wire, [('a', DATA), ('b', DATA)]);
    pair.wire.clear();
}

#[test]
fn a_persistent_keepalive_keeps_its_interval_and_brings_a_restarted_peer_back() {
    let mut pair = Pair::with(Options::default(), |side, config| {
        if side == 'a' {
            config.persistent_keepalive_s = 25;
        }
    });
    pair.run_until(100_000);
    assert_eq!(pair.count('a', INITIATION), 1);
    assert_eq!(pair.count('a', DATA), 1 + 3, "every 25 s");
    // B forgets everything, and has never heard of A's place.
    pair.b = Pair::new().b;
    pair.run_until(300_000);
    pair.b_sends(7);
    assert_eq!(pair.at_a, [packet(B_IN, A_IN, 7, 100)]);
}

#[test]
fn answers_go_to_where_the_last_authentic_datagram_came_from() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let endpoint = |pair: &Pair| pair.b.tunnel.peers().next().unwrap().endpoint;
    assert_eq!(endpoint(&pair), Some(a_out()));
    pair.a.at = "203.0.113.7:9".parse().unwrap();
    let (_, datagram) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    let (_, mut bytes) = datagram.unwrap();
    let thief: SocketAddr = "203.0.113.66:6".parse().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(pair.b.receive(pair.now_ms, thief, &bytes).0, Received::Dropped(DropReason::Forged));
    assert_eq!(endpoint(&pair), Some(a_out()), "who forges is not followed");
    *bytes.last_mut().unwrap() ^= 1;
    pair.b.receive(pair.now_ms, pair.a.at, &bytes);
    assert_eq!(endpoint(&pair), Some(pair.a.at));
    assert_eq!(pair.b.receive(pair.now_ms, thief, &bytes).0, Received::Dropped(DropReason::Replayed));
    assert_eq!(endpoint(&pair), Some(pair.a.at), "nor who repeats");
    pair.b_sends(3);
    assert_eq!(pair.at_a.len(), 1);
}

#[test]
fn a_forged_counter_does_not_move_the_window() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let (_, datagram) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    let (_, good) = datagram.unwrap();
    let mut forged = good.clone();
    forged[8..16].copy_from_slice(&1_000_000u64.to_le_bytes());
    assert_eq!(pair.b.receive(pair.now_ms, pair.a.at, &forged).0, Received::Dropped(DropReason::Forged));
    assert!(pair.b.receive(pair.now_ms, pair.a.at, &good).1.is_some());
}

#[test]
fn under_load_a_handshake_takes_a_cookie_and_none_is_made_without() {
    let mut pair = Pair::with(Options { handshakes_per_second: 0, ..Options::default() }, |_, _| ());
    pair.a_sends(1);
    assert_eq!(pair.wire, [('a', INITIATION), ('b', COOKIE)], "the cookie is not used at once");
    assert!(!pair.b.tunnel.is_up(pair.now_ms, PeerId(0)));
    // A is under load too: its cookie for the response comes in the second round, the session in the third.
    pair.run_until(13_000);
    assert_eq!(pair.at_b, [packet(A_IN, B_IN, 1, 100)]);
    assert!(dropped(&pair.b, DropReason::CookieSent) > 0 && dropped(&pair.a, DropReason::CookieSent) > 0);
}

#[test]
fn a_flood_with_right_cookies_is_cut_off_by_source() {
    let mut pair = Pair::with(Options { handshakes_per_second: 0, ..Options::default() }, |_, _| ());
    pair.a_sends(1);
    let due = pair.a.tunnel.poll_timeout().unwrap();
    pair.a.tunnel.on_timeout(due);
    let [(_, with_cookie)] = pair.a.drain(due).try_into().unwrap();
    let received = |pair: &mut Pair| pair.b.receive(due, pair.a.at, &with_cookie).0;
    assert_eq!(received(&mut pair), Received::Taken);
    for _ in 0..4 {
        assert_eq!(received(&mut pair), Received::Dropped(DropReason::OldInitiation), "it was looked at");
    }
    assert_eq!(received(&mut pair), Received::Dropped(DropReason::RateLimited), "and now it is not");
}

#[test]
fn replies_that_nobody_takes_do_not_fill_the_heap() {
    let mut pair = Pair::with(Options { handshakes_per_second: 0, ..Options::default() }, |_, _| ());
    let datagram = initiation(&mut pair);
    (0..1000).for_each(|_| drop(pair.b.receive(pair.now_ms, pair.a.at, &datagram)));
    assert_eq!(pair.b.drain(pair.now_ms).len(), 64);
    assert_eq!(dropped(&pair.b, DropReason::OutboxFull), 936);
}

#[test]
fn who_does_not_know_our_key_gets_no_answer() {
    let mut pair = Pair::new();
    let mut stranger = Node::new(3, "203.0.113.9:9".parse().unwrap(), Options::default());
    stranger.tunnel.add_peer(0, peer(private(4).public(), Some(b_out()), &["0.0.0.0/0"])).unwrap();
    stranger.send(0, &packet(A_IN, B_IN, 1, 100));
    let [(_, datagram)] = stranger.drain(0).try_into().unwrap();
    assert_eq!(pair.b.receive(0, stranger.at, &datagram).0, Received::Dropped(DropReason::Mac1));
    // One who does, but is no peer.
    let mut stranger = Node::new(3, stranger.at, Options::default());
    stranger.tunnel.add_peer(0, peer(pair.b.tunnel.public_key(), Some(b_out()), &["0.0.0.0/0"])).unwrap();
    stranger.send(0, &packet(A_IN, B_IN, 1, 100));
    let [(_, datagram)] = stranger.drain(0).try_into().unwrap();
    assert_eq!(pair.b.receive(0, stranger.at, &datagram).0, Received::Dropped(DropReason::UnknownPeer));
    assert!(pair.b.drain(0).is_empty());
}

#[test]
fn each_changed_byte_of_a_handshake_message_is_noticed() {
    let mut pair = Pair::new();
    let good = initiation(&mut pair);
    for at in 0..good.len() {
        // MAC2 is not looked at without load.
        if at < 132 {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            assert!(matches!(pair.b.receive(pair.now_ms, pair.a.at, &bytes).0, Received::Dropped(_)), "byte {at}");
        }
    }
    assert_eq!(pair.b.receive(pair.now_ms, pair.a.at, &good).0, Received::Taken);
    let [(_, response)] = pair.b.drain(pair.now_ms).try_into().unwrap();
    for at in 0..76 {
        let mut bytes = response.clone();
        bytes[at] ^= 0x40;
        assert!(matches!(pair.a.receive(pair.now_ms, pair.b.at, &bytes).0, Received::Dropped(_)), "byte {at}");
    }
    assert_eq!(pair.a.receive(pair.now_ms, pair.b.at, &response).0, Received::Taken, "the true one still counts");
}

#[test]
fn what_is_no_whole_ip_packet_goes_neither_out_nor_in() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let good = packet(A_IN, B_IN, 1, 100);
    let mut longer = good.clone();
    longer[3] = 101;
    let mut version = good.clone();
    version[0] = 0x55;
    for bad in [&longer[..], &version, &good[..19], &[], &packet("fd00::1", "fd00::2", 1, 60)[..59]] {
        assert_eq!(pair.a.send(pair.now_ms, bad).0, Sent::Dropped(DropReason::NotIp), "{} bytes", bad.len());
    }
    let mut trailing = good.clone();
    trailing.extend([0xAB; 9]);
    let (_, datagram) = pair.a.send(pair.now_ms, &trailing);
    let (_, delivery) = pair.b.receive(pair.now_ms, pair.a.at, &datagram.unwrap().1);
    assert_eq!(delivery.unwrap().1, good, "what lies behind a packet stays here");
}

#[test]
fn a_peer_that_nobody_has_placed_gets_nothing_until_it_comes() {
    let mut pair = Pair::new();
    let (sent, _) = pair.b.send(pair.now_ms, &packet(B_IN, A_IN, 1, 100));
    assert_eq!(sent, Sent::Dropped(DropReason::NoEndpoint));
    pair.a_sends(1);
    pair.b_sends(2);
    assert_eq!(pair.at_a, [packet(B_IN, A_IN, 2, 100)]);
    let mut pair = Pair::new();
    pair.b.tunnel.set_endpoint(PeerId(0), a_out());
    pair.b_sends(3);
    assert_eq!(pair.at_a, [packet(B_IN, A_IN, 3, 100)], "or until it is placed");
}

#[test]
fn without_chance_or_a_clock_nothing_leaves_and_later_it_does() {
    let mut pair = Pair::new();
    pair.a.clock.set(None);
    pair.a_sends(1);
    pair.run_until(20_000);
    assert!(pair.wire.is_empty());
    assert!(dropped(&pair.a, DropReason::Unavailable) >= 3);
    pair.a.clock.set(Some(1_800_000_000));
    pair.run_until(30_000);
    assert_eq!(pair.at_b, [packet(A_IN, B_IN, 1, 100)]);
}

#[test]
fn a_buffer_without_room_costs_the_packet_and_no_more() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let bytes = packet(A_IN, B_IN, 1, 96);
    let mut buffer = vec![0; 16 + 96 + 15];
    buffer[16..112].copy_from_slice(&bytes);
    assert_eq!(pair.a.tunnel.on_packet(pair.now_ms, &mut buffer, 96), Sent::Dropped(DropReason::NoRoom));
    assert_eq!(pair.a.tunnel.on_packet(pair.now_ms, &mut buffer, 200), Sent::Dropped(DropReason::NoRoom));
    pair.now_ms += 200_000;
    pair.a.send(pair.now_ms, &bytes);
    assert!(pair.a.tunnel.poll_transmit(pair.now_ms, &mut [0; 147]).is_none());
    assert_eq!(dropped(&pair.a, DropReason::NoRoom), 3);
    pair.run_until(207_000);
    assert_eq!(pair.at_b.len(), 2);
}

#[test]
fn counters_are_those_of_wg_show() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let (a, b) = (pair.a.tunnel.peers().next().unwrap(), pair.b.tunnel.peers().next().unwrap());
    // 100 bytes are padded to 112.
    assert_eq!((a.tx_bytes, a.rx_bytes), (148 + 112 + 32, 92));
    assert_eq!((b.tx_bytes, b.rx_bytes), (92, 148 + 112 + 32));
    assert_eq!((a.latest_handshake_ms, b.latest_handshake_ms), (Some(1000), Some(1000)));
    assert_eq!((a.endpoint, b.endpoint), (Some(b_out()), Some(a_out())));
    assert_eq!(a.public_key, pair.b.tunnel.public_key());
    assert!(!a.has_preshared_key && a.allowed_ips.len() == 2);
}

#[test]
fn preshared_keys_must_be_the_same() {
    let run = |a: Option<u8>, b: Option<u8>| {
        let mut pair = Pair::with(Options::default(), |side, config| {
            let key = if side == 'a' { a } else { b };
            config.preshared_key = key.map(Pair::preshared);
        });
        pair.a_sends(1);
        pair.at_b.len()
    };
    assert_eq!((run(Some(5), Some(5)), run(None, None)), (1, 1));
    assert_eq!((run(Some(5), Some(6)), run(Some(5), None)), (0, 0));
    assert_eq!(run(Some(0), None), 1, "none is one of zeros");
}
