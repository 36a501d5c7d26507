//! Two peers, and a wire that loses, repeats, reorders and changes datagrams, while clocks jump and peers restart.
//!
//! Input: a byte of flags, then operations of two bytes each, see [`Lab::step`]. At any time: what comes out was sent, and comes once; no
//! datagram shows a packet; no deadline that was served is still there. In the end, on a wire that works, packets pass both ways again.

use crate::wireguard_rig::{A_IN, B_IN, Node, a_out, b_out, packet, peer, private};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use wireguard::{Options, PresharedKey};

/// Seconds of the clocks of both at the start.
const START_S: u64 = 1_700_000_000;
/// Part of each packet.
const MARKER: [u8; 8] = *b"PLAINTXT";
/// Datagrams on the wire; more push the oldest one out.
const MAX_WIRE: usize = 256;
const SIDES: [usize; 2] = [0, 1];

struct Datagram {
    to: SocketAddr,
    from: SocketAddr,
    bytes: Vec<u8>,
}

struct Lab {
    flags: u8,
    nodes: [Node; 2],
    now_ms: u64,
    wire: Vec<Datagram>,
    /// Packets that were sent by each side, and have not arrived.
    sent: [BTreeSet<Vec<u8>>; 2],
    number: u32,
    arrived: [usize; 2],
    restarts: u8,
    /// Greatest second that each clock has shown.
    latest_s: [u64; 2],
}

impl Lab {
    fn new(flags: u8) -> Self {
        let nodes = SIDES.map(|side| node(flags, side, side as u8));
        let (wire, sent, arrived) = Default::default();
        Self { flags, nodes, now_ms: 1000, wire, sent, number: 0, arrived, restarts: 0, latest_s: [START_S; 2] }
    }

    fn send(&mut self, side: usize) {
        self.number += 1;
        let (from, to) = if side == 0 { (A_IN, B_IN) } else { (B_IN, A_IN) };
        let mut bytes = packet(from, to, self.number, 40 + self.number as usize % 60);
        bytes[24..32].copy_from_slice(&MARKER);
        self.sent[side].insert(bytes.clone());
        if let (_, Some((to, sealed))) = self.nodes[side].send(self.now_ms, &bytes) {
            self.put(side, to, sealed);
        }
    }

    fn put(&mut self, side: usize, to: SocketAddr, bytes: Vec<u8>) {
        assert!(!bytes.windows(8).any(|window| window == MARKER), "a packet can be read on the wire");
        if self.wire.len() == MAX_WIRE {
            self.wire.remove(0);
        }
        self.wire.push(Datagram { to, from: self.nodes[side].at, bytes });
    }

    fn drain(&mut self) {
        for side in SIDES {
            for (to, bytes) in self.nodes[side].drain(self.now_ms) {
                self.put(side, to, bytes);
            }
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let Some(side) = SIDES.into_iter().find(|side| self.nodes[*side].at == datagram.to) else { return };
        let (_, delivery) = self.nodes[side].receive(self.now_ms, datagram.from, &datagram.bytes);
        if let Some((_, packet)) = delivery {
            assert!(self.sent[1 - side].remove(&packet), "a packet that was not sent, or a second time");
            self.arrived[side] += 1;
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for node in &mut self.nodes {
            node.tunnel.on_timeout(self.now_ms);
            let next = node.tunnel.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now_ms), "a deadline that was served is still there");
        }
    }

    fn set_clock(&mut self, side: usize, seconds: Option<u64>) {
        self.latest_s[side] = self.latest_s[side].max(seconds.unwrap_or(0));
        self.nodes[side].clock.set(seconds);
    }

    /// A peer loses all but its configuration. Its clock is right again then, or nobody would listen to it.
    fn restart(&mut self, side: usize) {
        self.restarts = self.restarts.wrapping_add(1);
        self.nodes[side] = node(self.flags, side, self.restarts.wrapping_mul(2) ^ side as u8 ^ 0x80);
        self.set_clock(side, Some(self.latest_s[side] + 1));
    }

    fn step(&mut self, op: u8, argument: u8) {
        let side = usize::from(argument & 1);
        let place = usize::from(argument) % self.wire.len().max(1);
        match op % 16 {
            0..=2 => self.send(side),
            3..=5 if !self.wire.is_empty() => {
                let datagram = self.wire.remove(0);
                self.deliver(&datagram);
            }
            6 if !self.wire.is_empty() => {
                let datagram = self.wire.remove(place);
                self.deliver(&datagram);
            }
            7 if !self.wire.is_empty() => drop(self.wire.remove(place)),
            // Delivered, and still there.
            8 if !self.wire.is_empty() => {
                let Datagram { to, from, bytes } = &self.wire[place];
                let copy = Datagram { to: *to, from: *from, bytes: bytes.clone() };
                self.deliver(&copy);
            }
            9 if !self.wire.is_empty() => {
                let bytes = &mut self.wire[place].bytes;
                let at = usize::from(op) * 7 % bytes.len();
                bytes[at] ^= 1 << (argument & 7);
            }
            10 => self.pass(u64::from(argument) * 10),
            11 => self.pass(u64::from(argument) * 1000),
            12 => self.nodes[0].at.set_port(2000 + u16::from(argument)),
            13 => self.set_clock(side, Some(START_S + u64::from(argument) * 100)),
            14 => self.set_clock(side, None),
            15 if argument < 32 => self.restart(side),
            _ => {}
        }
        self.drain();
    }

    /// Nothing is lost any more, and clocks are right: within five minutes packets pass both ways.
    fn recover(&mut self) {
        for side in SIDES {
            self.set_clock(side, Some(self.latest_s[side] + 1));
        }
        self.wire.clear();
        for second in 0..300 {
            self.arrived = [0; 2];
            SIDES.into_iter().for_each(|side| self.send(side));
            self.drain();
            while !self.wire.is_empty() {
                let datagram = self.wire.remove(0);
                self.deliver(&datagram);
                self.drain();
            }
            self.pass(1000);
            self.drain();
            for side in SIDES {
                self.set_clock(side, Some(self.latest_s[side] + 1));
            }
            if second > 0 && self.arrived.iter().all(|arrived| *arrived > 0) {
                return;
            }
        }
        panic!("nothing passes after five minutes without trouble");
    }
}

/// Side 0 knows where side 1 is; the other way only by flag.
fn node(flags: u8, side: usize, seed: u8) -> Node {
    let options = Options { handshakes_per_second: if flags & 1 != 0 { 0 } else { 64 }, ..Options::default() };
    let keys = [private(1), private(2)];
    let (at, place) = if side == 0 { (a_out(), Some(b_out())) } else { (b_out(), (flags & 2 != 0).then(a_out)) };
    let allowed = if side == 0 { "10.0.0.2/32" } else { "10.0.0.1/32" };
    let mut config = peer(keys[1 - side].public(), place, &[allowed]);
    config.preshared_key = (flags & 4 != 0).then(|| PresharedKey::new([7; 32]));
    config.persistent_keepalive_s = if flags & 8 != 0 { 10 } else { 0 };
    let [first, second] = keys;
    let mut node = Node::of(if side == 0 { first } else { second }, seed, at, options);
    node.tunnel.add_peer(0, config).expect("a peer");
    node
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((flags, operations)) = data.split_first() else { return };
    let mut lab = Lab::new(*flags);
    operations.chunks_exact(2).take(1000).for_each(|pair| lab.step(pair[0], pair[1]));
    lab.recover();
}

/// Traffic without trouble, and with all kinds of it.
pub fn seeds() -> Vec<Vec<u8>> {
    let calm: Vec<u8> = (0..60).flat_map(|n| [0, n, 3, 0, 3, 0, 11, n % 9]).collect();
    let storm: Vec<u8> = (0..400u32).flat_map(|n| [(n * n / 3) as u8, (n * 37 / 5) as u8]).collect();
    let restarts: Vec<u8> = (0..40).flat_map(|n| [0, n, 3, 0, 3, 0, 15, n % 2, 10, 255]).collect();
    let with = |flags: u8, operations: &[u8]| [&[flags][..], operations].concat();
    vec![with(0, &calm), with(15, &calm), with(2, &storm), with(7, &storm), with(0, &restarts), with(11, &restarts)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_pass_where_nothing_is_in_the_way() {
        let mut lab = Lab::new(0);
        for operation in seeds()[0][1..].chunks_exact(2) {
            lab.step(operation[0], operation[1]);
        }
        assert!(lab.arrived.iter().sum::<usize>() > 40, "{:?}", lab.arrived);
    }

    #[test]
    fn three_hundred_storms_are_weathered() {
        let mut state = 1u64;
        for storm in 0..300u32 {
            let input: Vec<u8> = (0..400)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            run(&[&[storm as u8], input.as_slice()].concat());
        }
    }
}
