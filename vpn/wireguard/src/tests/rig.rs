//! Tunnels whose chance and clocks the test holds. Shared by the tests inside and outside of the crate.
#![allow(dead_code)] // each user has its own part

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::vec::Vec;
use wireguard::{
    DATA_HEADER_BYTES, IpPrefix, OVERHEAD_BYTES, Options, PeerConfig, PeerId, Platform, PresharedKey, PrivateKey,
    PublicKey, Received, Sent, Tai64n, Transmit, Tunnel, Unavailable,
};

/// Chance from a seed, and a clock that can be set, or fail.
pub struct Chance {
    state: u64,
    pub clock: Rc<Cell<Option<u64>>>,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, clock: Rc::new(Cell::new(Some(1_700_000_000))) }
    }

    /// splitmix64.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

impl Platform for Chance {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Unavailable> {
        self.clock.get().ok_or(Unavailable)?;
        bytes.iter_mut().for_each(|byte| *byte = self.draw() as u8);
        Ok(())
    }

    fn tai64n(&mut self) -> Result<Tai64n, Unavailable> {
        self.clock.get().map(|seconds| Tai64n::from_unix(seconds, 0)).ok_or(Unavailable)
    }
}

pub fn private(seed: u8) -> PrivateKey {
    PrivateKey::new(core::array::from_fn(|i| seed ^ (i as u8).wrapping_mul(29)))
}

pub fn prefixes(list: &[&str]) -> Vec<IpPrefix> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

pub fn peer(key: PublicKey, endpoint: Option<SocketAddr>, allowed: &[&str]) -> PeerConfig {
    let allowed_ips = prefixes(allowed);
    PeerConfig { public_key: key, preshared_key: None, endpoint, allowed_ips, persistent_keepalive_s: 0 }
}

/// A UDP packet of `len` bytes in all, whose payload tells its number.
pub fn packet(from: &str, to: &str, number: u32, len: usize) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let mut bytes = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = (len as u16).to_be_bytes();
            let start = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0];
            [&start[..], &from.octets(), &to.octets()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = (len as u16 - 40).to_be_bytes();
            [&[0x60, 0, 0, 0, length[0], length[1], 17, 64][..], &from.octets(), &to.octets()].concat()
        }
        _ => panic!("of two families"),
    };
    bytes.extend(number.to_be_bytes());
    bytes.resize(len, number as u8);
    bytes
}

pub const A_IN: &str = "10.0.0.1";
pub const B_IN: &str = "10.0.0.2";

pub fn a_out() -> SocketAddr {
    "192.0.2.1:1001".parse().unwrap()
}

pub fn b_out() -> SocketAddr {
    "[2001:db8::2]:1002".parse().unwrap()
}

/// A tunnel at an address.
pub struct Node {
    pub tunnel: Tunnel<Chance>,
    pub at: SocketAddr,
    pub clock: Rc<Cell<Option<u64>>>,
}

/// What came in, and from whom.
pub type Delivery = (PeerId, Vec<u8>);

impl Node {
    pub fn new(seed: u8, at: SocketAddr, options: Options) -> Self {
        Self::of(private(seed), seed, at, options)
    }

    pub fn of(key: PrivateKey, seed: u8, at: SocketAddr, options: Options) -> Self {
        let chance = Chance::new(seed.into());
        let clock = chance.clock.clone();
        Self { tunnel: Tunnel::new(chance, key, options), at, clock }
    }

    /// Gives the datagram if it was sealed at once.
    pub fn send(&mut self, now_ms: u64, packet: &[u8]) -> (Sent, Option<(SocketAddr, Vec<u8>)>) {
        let mut buffer = vec![0xEE; packet.len() + OVERHEAD_BYTES + 15];
        buffer[DATA_HEADER_BYTES..][..packet.len()].copy_from_slice(packet);
        let sent = self.tunnel.on_packet(now_ms, &mut buffer, packet.len());
        let datagram = match sent {
            Sent::Sealed(Transmit { to, len }) => Some((to, buffer[..len].to_vec())),
            _ => None,
        };
        (sent, datagram)
    }

    pub fn receive(&mut self, now_ms: u64, from: SocketAddr, datagram: &[u8]) -> (Received, Option<Delivery>) {
        let mut bytes = datagram.to_vec();
        let received = self.tunnel.on_datagram(now_ms, from, &mut bytes);
        let delivery = match &received {
            Received::Packet(peer, range) => Some((*peer, bytes[range.clone()].to_vec())),
            _ => None,
        };
        (received, delivery)
    }

    /// All that wants to go out.
    pub fn drain(&mut self, now_ms: u64) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = vec![0xEE; 2048];
        let mut datagrams = Vec::new();
        while let Some(Transmit { to, len }) = self.tunnel.poll_transmit(now_ms, &mut out) {
            datagrams.push((to, out[..len].to_vec()));
        }
        datagrams
    }
}

/// Two nodes, and a wire that loses nothing.
pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub now_ms: u64,
    pub at_a: Vec<Vec<u8>>,
    pub at_b: Vec<Vec<u8>>,
    /// First byte of all datagrams, and who sent them.
    pub wire: Vec<(char, u8)>,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(Options::default(), |_, _| ())
    }

    pub fn with(options: Options, change: impl Fn(char, &mut PeerConfig)) -> Self {
        let (mut a, mut b) = (Node::new(1, a_out(), options), Node::new(2, b_out(), options));
        let mut at_a = peer(b.tunnel.public_key(), Some(b.at), &["10.0.0.2/32", "fd00::2/128"]);
        let mut at_b = peer(a.tunnel.public_key(), None, &["10.0.0.1/32", "fd00::1/128"]);
        change('a', &mut at_a);
        change('b', &mut at_b);
        a.tunnel.add_peer(0, at_a).unwrap();
        b.tunnel.add_peer(0, at_b).unwrap();
        Self { a, b, now_ms: 1000, at_a: Vec::new(), at_b: Vec::new(), wire: Vec::new() }
    }

    pub fn preshared(seed: u8) -> PresharedKey {
        PresharedKey::new([seed; 32])
    }

    /// Sends from A.
    pub fn a_sends(&mut self, number: u32) {
        let (_, datagram) = self.a.send(self.now_ms, &packet(A_IN, B_IN, number, 100));
        if let Some((_, bytes)) = datagram {
            self.wire.push(('a', bytes[0]));
            self.at_b.extend(self.b.receive(self.now_ms, self.a.at, &bytes).1.map(|(_, packet)| packet));
        }
        self.settle();
    }

    /// Sends from B.
    pub fn b_sends(&mut self, number: u32) {
        let (_, datagram) = self.b.send(self.now_ms, &packet(B_IN, A_IN, number, 100));
        if let Some((_, bytes)) = datagram {
            self.wire.push(('b', bytes[0]));
            self.at_a.extend(self.a.receive(self.now_ms, self.b.at, &bytes).1.map(|(_, packet)| packet));
        }
        self.settle();
    }

    /// Moves datagrams until there are no more.
    pub fn settle(&mut self) {
        loop {
            let (from_a, from_b) = (self.a.drain(self.now_ms), self.b.drain(self.now_ms));
            if from_a.is_empty() && from_b.is_empty() {
                break;
            }
            for (to, bytes) in from_a {
                self.wire.push(('a', bytes[0]));
                if to == self.b.at {
                    self.at_b.extend(self.b.receive(self.now_ms, self.a.at, &bytes).1.map(|(_, packet)| packet));
                }
            }
            for (to, bytes) in from_b {
                self.wire.push(('b', bytes[0]));
                if to == self.a.at {
                    self.at_a.extend(self.a.receive(self.now_ms, self.b.at, &bytes).1.map(|(_, packet)| packet));
                }
            }
        }
    }

    /// Lets time pass up to a point, every deadline served when it is due.
    pub fn run_until(&mut self, until_ms: u64) {
        while let Some(due) = self.next_timeout().filter(|due| *due <= until_ms) {
            self.now_ms = self.now_ms.max(due);
            self.a.tunnel.on_timeout(self.now_ms);
            self.b.tunnel.on_timeout(self.now_ms);
            self.settle();
            let again = self.next_timeout();
            assert!(again.is_none_or(|next| next > self.now_ms), "a deadline that was served is still there");
        }
        self.now_ms = self.now_ms.max(until_ms);
    }

    pub fn next_timeout(&self) -> Option<u64> {
        [self.a.tunnel.poll_timeout(), self.b.tunnel.poll_timeout()].into_iter().flatten().min()
    }

    /// How many datagrams of this type this side has sent.
    pub fn count(&self, side: char, kind: u8) -> usize {
        self.wire.iter().filter(|sent| **sent == (side, kind)).count()
    }
}
