//! Against another implementation, boringtun, whose clock is moved with ours.

#[path = "../src/tests/rig.rs"]
mod rig;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use mock_instant::MockClock;
use rig::{A_IN, B_IN, Node, a_out, b_out, packet, peer, private};
use std::sync::Arc;
use std::time::Duration;
use wireguard::{Options, PresharedKey, Received, Sent};

const OURS: u8 = 1;
const THEIRS: u8 = 2;
const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE: u8 = 3;

/// One of ours and one of theirs, and what each has been given by the other.
struct Pair {
    ours: Node,
    theirs: Tunn,
    now_ms: u64,
    at_ours: Vec<Vec<u8>>,
    at_theirs: Vec<Vec<u8>>,
    /// Types of messages, in the order in which they passed.
    from_ours: Vec<u8>,
    from_theirs: Vec<u8>,
}

impl Pair {
    fn new(preshared: Option<u8>) -> Self {
        Self::with(Options::default(), preshared, None, None)
    }

    fn with(options: Options, preshared: Option<u8>, keepalive: Option<u16>, their_limit: Option<u64>) -> Self {
        let (our_key, their_key) = (private(OURS), private(THEIRS));
        let their_public = x25519::PublicKey::from(their_key.public().0);
        let limiter = their_limit.map(|limit| Arc::new(RateLimiter::new(&their_public, limit)));
        let theirs = Tunn::new(
            x25519::StaticSecret::from(*their_key.as_bytes()),
            x25519::PublicKey::from(our_key.public().0),
            preshared.map(|byte| [byte; 32]),
            keepalive,
            77,
            limiter,
        );
        let mut ours = Node::new(OURS, a_out(), options);
        let mut config = peer(their_key.public(), Some(b_out()), &["10.0.0.2/32", "fd00::2/128"]);
        config.preshared_key = preshared.map(|byte| PresharedKey::new([byte; 32]));
        config.persistent_keepalive_s = keepalive.unwrap_or(0);
        ours.tunnel.add_peer(0, config).unwrap();
        let (at_ours, at_theirs, from_ours, from_theirs) = Default::default();
        Self { ours, theirs, now_ms: 1000, at_ours, at_theirs, from_ours, from_theirs }
    }

    /// A datagram of ours; what theirs has to say to it comes back at once.
    fn reach_theirs(&mut self, datagram: &[u8]) {
        self.from_ours.push(datagram[0]);
        let (mut out, mut input, mut answers) = (vec![0; 4096], datagram.to_vec(), Vec::new());
        loop {
            match self.theirs.decapsulate(Some(a_out().ip()), &input, &mut out) {
                TunnResult::WriteToNetwork(answer) => answers.push(answer.to_vec()),
                TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                    self.at_theirs.push(packet.to_vec());
                    break;
                }
                TunnResult::Done | TunnResult::Err(_) => break,
            }
            // As its manual says: again without input, until there is no more.
            input.clear();
        }
        answers.iter().for_each(|answer| self.reach_ours(answer));
    }

    fn reach_ours(&mut self, datagram: &[u8]) {
        self.from_theirs.push(datagram[0]);
        let (_, delivery) = self.ours.receive(self.now_ms, b_out(), datagram);
        self.at_ours.extend(delivery.map(|(_, packet)| packet));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let datagrams = self.ours.drain(self.now_ms);
            if datagrams.is_empty() {
                break;
            }
            for (to, datagram) in datagrams {
                assert_eq!(to, b_out());
                self.reach_theirs(&datagram);
            }
        }
    }

    fn we_send(&mut self, bytes: &[u8]) {
        if let (_, Some((_, datagram))) = self.ours.send(self.now_ms, bytes) {
            self.reach_theirs(&datagram);
        }
        self.settle();
    }

    fn they_send(&mut self, bytes: &[u8]) {
        let mut out = vec![0; 4096];
        if let TunnResult::WriteToNetwork(datagram) = self.theirs.encapsulate(bytes, &mut out) {
            let datagram = datagram.to_vec();
            self.reach_ours(&datagram);
        }
    }

    /// Both clocks, in steps of a quarter of a second.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            self.now_ms += 250;
            MockClock::advance(Duration::from_millis(250));
            self.ours.clock.set(Some(1_700_000_000 + self.now_ms / 1000));
            self.ours.tunnel.on_timeout(self.now_ms);
            self.settle();
            let mut out = vec![0; 4096];
            if let TunnResult::WriteToNetwork(datagram) = self.theirs.update_timers(&mut out) {
                let datagram = datagram.to_vec();
                self.reach_ours(&datagram);
            }
        }
    }

    /// Both ways, in packets of all kinds of lengths.
    fn exchange(&mut self) {
        for len in [24, 41, 100, 1007, 1420] {
            let (to, back) = (packet(A_IN, B_IN, 5, len), packet(B_IN, A_IN, 6, len));
            self.we_send(&to);
            assert_eq!(self.at_theirs.pop(), Some(to), "{len} bytes out");
            self.they_send(&back);
            assert_eq!(self.at_ours.pop(), Some(back), "{len} bytes in");
        }
        let (to, back) = (packet("fd00::1", "fd00::2", 7, 1280), packet("fd00::2", "fd00::1", 8, 1280));
        self.we_send(&to);
        self.they_send(&back);
        assert_eq!((self.at_theirs.pop(), self.at_ours.pop()), (Some(to), Some(back)), "IPv6");
    }
}

#[test]
fn we_initiate_and_data_passes_both_ways() {
    for preshared in [None, Some(9)] {
        let mut pair = Pair::new(preshared);
        pair.exchange();
        assert_eq!((pair.from_ours[0], pair.from_theirs[0]), (INITIATION, RESPONSE));
    }
}

#[test]
fn they_initiate_and_data_passes_both_ways() {
    for preshared in [None, Some(9)] {
        let mut pair = Pair::new(preshared);
        pair.they_send(&packet(B_IN, A_IN, 1, 64));
        assert_eq!((pair.from_theirs[0], pair.from_ours[0]), (INITIATION, RESPONSE));
        assert_eq!(pair.at_ours.len(), 1, "what waited there came");
        pair.at_ours.clear();
        pair.exchange();
    }
}

#[test]
fn nothing_passes_with_different_preshared_keys() {
    let mut pair = Pair::new(Some(9));
    pair.theirs = Pair::new(Some(8)).theirs;
    pair.we_send(&packet(A_IN, B_IN, 1, 64));
    pair.they_send(&packet(B_IN, A_IN, 1, 64));
    pair.pass(30);
    assert!(pair.at_ours.is_empty() && pair.at_theirs.is_empty());
    assert!(pair.from_ours.contains(&INITIATION) && pair.from_theirs.contains(&RESPONSE));
}

#[test]
fn traffic_of_ten_minutes_goes_through_every_rekey_without_loss() {
    // The last handshake's initiator renews: once it is us, once they.
    for first_is_ours in [true, false] {
        let mut pair = Pair::new(None);
        if !first_is_ours {
            pair.they_send(&packet(B_IN, A_IN, 1, 64));
        }
        pair.at_ours.clear();
        for number in 0..600 {
            let (to, back) = (packet(A_IN, B_IN, number, 80), packet(B_IN, A_IN, number, 80));
            pair.we_send(&to);
            pair.they_send(&back);
            assert_eq!((pair.at_theirs.pop(), pair.at_ours.pop()), (Some(to), Some(back)), "second {number}");
            pair.pass(1);
        }
        let handshakes = pair.from_ours.iter().chain(&pair.from_theirs).filter(|kind| **kind == RESPONSE).count();
        assert!((5..=7).contains(&handshakes), "{handshakes} handshakes");
    }
}

#[test]
fn a_session_that_has_died_of_age_is_followed_by_another() {
    let mut pair = Pair::new(None);
    pair.exchange();
    pair.pass(200);
    pair.exchange();
    pair.pass(700);
    pair.they_send(&packet(B_IN, A_IN, 1, 64));
    pair.at_ours.clear();
    pair.exchange();
}

#[test]
fn we_take_their_cookie_and_get_in_with_it_under_their_load() {
    // boringtun judges load by messages since its last reset: here by all from the first one on.
    let mut pair = Pair::with(Options::default(), None, None, Some(0));
    pair.we_send(&packet(A_IN, B_IN, 1, 64));
    assert_eq!((&pair.from_ours[..], &pair.from_theirs[..]), (&[INITIATION][..], &[COOKIE][..]));
    assert!(pair.at_theirs.is_empty());
    pair.pass(6);
    assert_eq!(pair.from_theirs[1], RESPONSE, "the second initiation had a right MAC2");
    assert_eq!(pair.at_theirs.len(), 1);
}

#[test]
fn they_take_our_cookie_and_get_in_with_it_under_our_load() {
    let options = Options { handshakes_per_second: 0, ..Options::default() };
    let mut pair = Pair::with(options, None, None, None);
    pair.they_send(&packet(B_IN, A_IN, 1, 64));
    assert_eq!((&pair.from_theirs[..], &pair.from_ours[..]), (&[INITIATION][..], &[COOKIE][..]));
    pair.pass(7);
    assert!(pair.from_ours.contains(&RESPONSE));
    assert_eq!(pair.at_ours.len(), 1);
}

#[test]
fn their_response_needs_a_cookie_too_when_we_are_under_load() {
    let options = Options { handshakes_per_second: 0, ..Options::default() };
    let mut pair = Pair::with(options, None, None, None);
    pair.we_send(&packet(A_IN, B_IN, 1, 64));
    assert_eq!(pair.from_ours, [INITIATION, COOKIE]);
    pair.pass(7);
    assert_eq!(pair.at_theirs.len(), 1);
}

#[test]
fn keepalives_of_both_kinds_are_understood() {
    let mut pair = Pair::with(Options::default(), None, Some(25), None);
    pair.pass(1);
    assert!(
        pair.from_theirs.contains(&RESPONSE) || pair.from_ours.contains(&RESPONSE),
        "persistent: it begins by itself"
    );
    let (to, from) = (pair.from_ours.len(), pair.from_theirs.len());
    pair.pass(300);
    assert!(pair.from_ours.len() - to >= 10 && pair.from_theirs.len() - from >= 10);
    assert!(pair.at_ours.is_empty() && pair.at_theirs.is_empty(), "they carry nothing");
    pair.exchange();

    let mut pair = Pair::new(None);
    pair.exchange();
    // Not longer: boringtun counts silence from before it has sent.
    pair.pass(14);
    let (to, from) = (pair.from_ours.len(), pair.from_theirs.len());
    pair.they_send(&packet(B_IN, A_IN, 1, 64));
    pair.pass(11);
    assert_eq!(pair.from_ours[to..], [4], "passive: one answer");
    assert_eq!(pair.from_theirs[from..], [4], "and no answer to that");
}

#[test]
fn what_of_theirs_is_repeated_is_taken_once() {
    let mut pair = Pair::new(None);
    pair.exchange();
    let mut out = vec![0; 4096];
    let TunnResult::WriteToNetwork(datagram) = pair.theirs.encapsulate(&packet(B_IN, A_IN, 1, 64), &mut out) else {
        panic!("there is a session");
    };
    let datagram = datagram.to_vec();
    assert!(matches!(pair.ours.receive(pair.now_ms, b_out(), &datagram).0, Received::Packet(..)));
    assert!(matches!(pair.ours.receive(pair.now_ms, b_out(), &datagram).0, Received::Dropped(_)));
    assert!(matches!(pair.ours.send(pair.now_ms, &packet(A_IN, B_IN, 1, 64)).0, Sent::Sealed(_)));
}
