//! Ends of sessions and of what is kept, which no test reaches by sending.

use crate::DropReason;
use crate::Sent;
use crate::tests::rig::{A_IN, B_IN, Pair, packet};
use crate::timers::constants::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES};

fn set_counters(pair: &mut Pair, counter: u64) {
    for node in [&mut pair.a, &mut pair.b] {
        node.tunnel.peers[0].sessions.current(pair.now_ms).unwrap().next_counter = counter;
    }
}

#[test]
fn a_session_is_renewed_by_count_from_either_side() {
    for initiator in [true, false] {
        let mut pair = Pair::new();
        pair.a_sends(1);
        pair.run_until(20_000);
        set_counters(&mut pair, REKEY_AFTER_MESSAGES - 1);
        let sends = if initiator { Pair::a_sends } else { Pair::b_sends };
        let side = if initiator { 'a' } else { 'b' };
        let before = pair.count(side, 1);
        sends(&mut pair, 2);
        assert_eq!(pair.count(side, 1), before, "the limit is not passed yet");
        sends(&mut pair, 3);
        assert_eq!(pair.count(side, 1), before + 1, "side {side}");
        sends(&mut pair, 4);
        assert_eq!(pair.at_a.len() + pair.at_b.len(), 4);
        let session = pair.a.tunnel.peers[0].sessions.current(pair.now_ms).unwrap();
        assert!(session.next_counter < 10, "the new one counts from zero");
    }
}

#[test]
fn nothing_is_sent_or_taken_beyond_the_last_counter() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    // Nobody answers the handshakes that follow.
    pair.a.tunnel.shared.outbox = Default::default();
    set_counters(&mut pair, REJECT_AFTER_MESSAGES - 1);
    let (sent, last) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    assert!(matches!(sent, Sent::Sealed(_)));
    assert!(pair.b.receive(pair.now_ms, pair.a.at, &last.unwrap().1).1.is_some());
    let (sent, _) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 3, 100));
    assert_eq!(sent, Sent::Kept);
}

#[test]
fn a_counter_beyond_the_last_one_is_refused_unopened() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let (_, datagram) = pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 2, 100));
    let mut bytes = datagram.unwrap().1;
    bytes[8..16].copy_from_slice(&REJECT_AFTER_MESSAGES.to_le_bytes());
    let before = pair.b.tunnel.drops().of(DropReason::ExpiredSession);
    pair.b.receive(pair.now_ms, pair.a.at, &bytes);
    assert_eq!(pair.b.tunnel.drops().of(DropReason::ExpiredSession), before + 1);
}

#[test]
fn indices_in_use_stay_few_whatever_number_of_sessions_there_was() {
    let mut pair = Pair::new();
    for number in 0..200 {
        pair.now_ms += 60_000;
        pair.a_sends(number);
        pair.b_sends(number);
        let now_ms = pair.now_ms;
        pair.run_until(now_ms);
        for node in [&pair.a, &pair.b] {
            assert!(node.tunnel.shared.indices.len() <= 4);
            assert!(node.tunnel.shared.indices.keys().all(|index| node.tunnel.peers[0].owns(*index)));
        }
    }
    assert!(pair.count('a', 1) + pair.count('b', 1) > 50);
}

#[test]
fn keys_are_wiped_after_nine_minutes_without_a_new_session() {
    let mut pair = Pair::new();
    pair.a_sends(1);
    let made_ms = pair.now_ms;
    pair.run_until(made_ms + 539_999);
    assert!(!pair.a.tunnel.shared.indices.is_empty() && !pair.b.tunnel.shared.indices.is_empty());
    pair.run_until(made_ms + 540_000);
    for node in [&mut pair.a, &mut pair.b] {
        assert!(node.tunnel.shared.indices.is_empty());
        let peer = &mut node.tunnel.peers[0];
        assert!(peer.pending.is_none() && peer.sessions.current(made_ms).is_none());
    }
}
