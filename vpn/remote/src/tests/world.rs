//! A guest that sends datagrams by hand, the pump, the program in this process, and a WireGuard peer that echoes.

use crate::{EncodedSetup, Far, Host, Near, Next, Outcome, pair};
use abi::vpn::{Answer, Protocol, SEED_BYTES, SETUP_VERSION, Setup, Side as AbiSide, WireIpv4, WireIpv6, op};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, Side, Tunnel as _};
use message::{Error, Lease, Leases};
use outside::{Ipv4, Ipv6, Outside};
use std::collections::VecDeque;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;
use vpn_server::Server;
use wg_quick::{Endpoint, TunnelConfig};
use wireguard::{Options, PeerConfig, Platform, PrivateKey, Received, Sent, Tai64n, Unavailable};
use zeroize::Zeroizing;

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1000 * MS;
pub const START: Instant = Instant(7 * S);
const MAC: [u8; 6] = [0x52, 0x54, 0, 9, 9, 9];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const FAR_HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PORT: u16 = 51820;
const MARKER: &[u8] = b"IN THE CLEAR";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new([seed; 32])
}

/// A setup with these parameters.
pub fn setup_of(parameters: &[u8]) -> EncodedSetup {
    let setup = Setup {
        mac: MAC,
        wire: abi::vpn::Wire {
            mtu: 1500,
            ipv4: WireIpv4::Static { address: OUTER, prefix_len: 24, gateway: None },
            ipv6: WireIpv6::Off,
            dns: vec![],
        },
        unix_ns: 1_700_000_000 * S,
        protocol: Protocol::WireGuard(parameters),
    };
    let mut bytes = vec![SETUP_VERSION];
    bytes.extend(postcard::to_allocvec(&setup).unwrap());
    Zeroizing::new(bytes)
}

pub fn setup() -> EncodedSetup {
    let config = TunnelConfig {
        private_key: key(1),
        listen_port: None,
        addresses: vec![(IpAddr::from(GUEST), 32).try_into().unwrap()],
        dns: vec![],
        search: vec![],
        mtu: None,
        peers: vec![wg_quick::Peer {
            public_key: key(2).public(),
            preshared_key: None,
            endpoint: Some(Endpoint::Address((PEER, PORT).into())),
            allowed_ips: vec!["0.0.0.0/0".parse().unwrap()],
            persistent_keepalive_s: 25,
        }],
    };
    setup_of(&postcard::to_allocvec(&config).unwrap())
}

/// The guest's datagram number `n`, as a frame; `len` bytes of payload.
pub fn frame(n: u32, len: usize) -> Vec<u8> {
    let mut payload = [MARKER, &n.to_be_bytes()].concat();
    payload.resize(payload.len().max(len), 0x55);
    let total = payload.len() as u16 + 28;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(GUEST.octets());
    packet.extend(FAR_HOST.octets());
    let sum = packet.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([5000, 5001, total - 20, 0].map(u16::to_be_bytes).concat());
    packet.extend(payload);
    [&tunnel::GATEWAY_MAC[..], &MAC, &[8, 0], &packet].concat()
}

/// Its number again.
fn number(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(MARKER.len()).position(|window| window == MARKER)?;
    bytes[at + MARKER.len()..].first_chunk().map(|n| u32::from_be_bytes(*n))
}

/// What goes wrong in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program ends before it has answered; the call is under way for so long.
    Ends { after_ns: u64, has_worked: bool },
    /// It cannot be called now.
    Error(Error),
    /// It has ended and was started anew, between two calls.
    Restarted,
}

/// The program, and all that it was seen to do.
#[derive(Default)]
pub struct Program {
    server: Option<Server>,
    /// The next calls go wrong, in their order.
    pub faults: VecDeque<Option<Fault>>,
    /// It does not start.
    pub is_broken: bool,
    pub no_seed: bool,
    pub calls: Vec<u64>,
    pub told: Vec<String>,
    pub seeds: u8,
    /// Frames for the wire that it has given, and those that have left.
    given: VecDeque<Vec<u8>>,
    /// What the calls have taken.
    pub spent_ns: u64,
    /// The cable of this one is pulled after the next call's work.
    pub pulls: Option<Near>,
}

impl Program {
    pub fn count(&self, wanted: u64) -> usize {
        self.calls.iter().filter(|call| **call & op::MASK == wanted).count()
    }
}

impl Host for Program {
    fn call(&mut self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        self.calls.push(op);
        let fault = self.faults.pop_front().flatten();
        if self.is_broken {
            self.server = None;
            return Err(Error::Dead);
        }
        match fault {
            Some(Fault::Error(error)) => return Err(error),
            Some(Fault::Restarted) => self.server = None,
            Some(Fault::Ends { after_ns, has_worked }) => {
                self.spent_ns += after_ns;
                if has_worked {
                    let _ = self.server.get_or_insert_default().handle(op, leases);
                }
                self.server = None;
                return Err(Error::Dead);
            }
            None => {}
        }
        let mut spy = Spy { leases, written: vec![] };
        let result = self.server.get_or_insert_default().handle(op, &mut spy);
        if let Some(mut near) = self.pulls.take() {
            near.on_link(Instant(0), false);
        }
        if op & op::MASK == op::EXCHANGE && result.is_ok() {
            let (_, records) = Answer::decode(&spy.written).unwrap();
            let wire = records.map(Result::unwrap).filter(|(side, _)| *side == AbiSide::Wire);
            self.given.extend(wire.map(|(_, frame)| frame.to_vec()));
        }
        result
    }

    fn seed(&mut self) -> Option<Zeroizing<[u8; SEED_BYTES]>> {
        self.seeds += 1;
        (!self.no_seed).then(|| Zeroizing::new([self.seeds; SEED_BYTES]))
    }

    fn tell(&mut self, line: fmt::Arguments<'_>) {
        self.told.push(line.to_string());
    }
}

/// Sees what is written into the second lease.
struct Spy<'a> {
    leases: &'a mut dyn Leases,
    written: Vec<u8>,
}

impl Leases for Spy<'_> {
    fn info(&self, index: usize) -> Option<(usize, bool)> {
        self.leases.info(index)
    }

    fn read(&self, index: usize, offset: usize, data: &mut [u8]) -> Result<usize, Error> {
        self.leases.read(index, offset, data)
    }

    fn write(&mut self, index: usize, offset: usize, data: &[u8]) -> Result<usize, Error> {
        if index == 1 {
            assert_eq!(offset, self.written.len());
            self.written.extend(data);
        }
        self.leases.write(index, offset, data)
    }
}

struct Dice(u64);

impl Platform for Dice {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Unavailable> {
        bytes.fill_with(|| {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as u8
        });
        Ok(())
    }

    fn tai64n(&mut self) -> Result<Tai64n, Unavailable> {
        self.0 += 1;
        Ok(Tai64n::from_unix(self.0 & 0xffff_ffff, 0))
    }
}

/// The other end of the tunnel. Sends each packet back, addresses exchanged.
struct Peer {
    outside: Outside,
    wg: wireguard::Tunnel<Dice>,
    /// Numbers of the datagrams that have come.
    numbers: Vec<u32>,
}

impl Peer {
    fn new() -> Self {
        let config = outside::Config {
            mac: [0x52, 0x54, 0, 1, 1, 1],
            mtu: 1500,
            ipv4: Ipv4::Static { address: PEER, prefix: 24, router: None },
            ipv6: Ipv6::Off,
            ports: vec![PORT],
            names: false,
            dns: vec![],
            seed: 5,
        };
        let mut wg = wireguard::Tunnel::new(Dice(1), key(2), Options::default());
        let guest = PeerConfig {
            public_key: key(1).public(),
            preshared_key: None,
            endpoint: None,
            allowed_ips: vec!["10.9.0.2/32".parse().unwrap()],
            persistent_keepalive_s: 0,
        };
        wg.add_peer(START.0 / MS, guest).unwrap();
        let mut outside = Outside::new(config, START).unwrap();
        outside.on_link(START, true);
        Self { outside, wg, numbers: vec![] }
    }

    fn run(&mut self, now: Instant) {
        let mut buffer = vec![0; 2048];
        while let Some((_, from, len)) = self.outside.receive(&mut buffer) {
            if let Received::Packet(_, range) = self.wg.on_datagram(now.0 / MS, from, &mut buffer[..len]) {
                self.numbers.extend(number(&buffer[range.clone()]));
                let mut packet = buffer[range].to_vec();
                packet[12..20].rotate_left(4);
                buffer[wireguard::DATA_HEADER_BYTES..][..packet.len()].copy_from_slice(&packet);
                if let Sent::Sealed(transmit) = self.wg.on_packet(now.0 / MS, &mut buffer, packet.len()) {
                    let _ = self.outside.send(now, 0, transmit.to, &buffer[..transmit.len]);
                }
            }
        }
        if self.wg.poll_timeout().is_some_and(|at| at <= now.0 / MS) {
            self.wg.on_timeout(now.0 / MS);
        }
        while let Some(transmit) = self.wg.poll_transmit(now.0 / MS, &mut buffer) {
            let _ = self.outside.send(now, 0, transmit.to, &buffer[..transmit.len]);
        }
        self.outside.on_timeout(now);
    }
}

pub struct World {
    pub now: Instant,
    pub near: Near,
    pub far: Far,
    pub program: Program,
    peer: Peer,
    /// Numbers of the datagrams that came back to the guest.
    pub back: Vec<u32>,
    /// Frames that have left on the wire.
    pub sent: usize,
    next: Next,
    sends: u32,
}

impl World {
    /// Not begun yet.
    pub fn unstarted(setup: EncodedSetup) -> Self {
        let (near, far) = pair(0, "lan".into(), setup).unwrap();
        Self {
            now: START,
            near,
            far,
            program: Program::default(),
            peer: Peer::new(),
            back: vec![],
            sent: 0,
            next: Next::Now,
            sends: 0,
        }
    }

    /// Configured, and the cable is in.
    pub fn new() -> Self {
        let mut world = Self::unstarted(setup());
        world.far.begin(world.now, &mut world.program).unwrap();
        world.near.on_link(world.now, true);
        world
    }

    /// The tunnel is up.
    pub fn up() -> Self {
        let mut world = Self::new();
        assert!(world.ping(20), "{:?}", world.program.told);
        assert!(world.near.is_up());
        world
    }

    /// Sends a datagram; gives its number.
    pub fn send(&mut self, len: usize) -> u32 {
        self.sends += 1;
        self.near.on_frame(self.now, Side::Guest, &frame(self.sends, len));
        self.sends
    }

    pub fn numbers(&self) -> &[u32] {
        &self.peer.numbers
    }

    /// What the task does, once.
    pub fn pump(&mut self) -> Outcome {
        let outcome = self.far.exchange(self.now, &mut self.program);
        self.now.0 += core::mem::take(&mut self.program.spent_ns);
        self.next = outcome.next;
        outcome
    }

    /// What the card does: takes whatever there is. Nothing leaves but what the program has given for the wire, in its order.
    pub fn poll_card(&mut self) {
        let mut buffer = vec![0; MAX_FRAME_BYTES];
        while let Some((side, len)) = self.near.poll_transmit(self.now, &|_| true, &mut buffer) {
            let frame = &buffer[..len];
            match side {
                Side::Guest => self.back.extend(number(frame)),
                Side::Wire => {
                    assert_eq!(number(frame), None, "a packet of the guest's in the clear");
                    let given = &mut self.program.given;
                    let place = given.iter().position(|given| given == frame).expect("nobody has given this frame");
                    given.drain(..=place);
                    self.sent += 1;
                    self.peer.outside.on_frame(self.now, frame);
                }
            }
        }
    }

    /// A moment: everything that can move moves.
    pub fn step(&mut self) {
        let is_rung = self.far.poll_rung(&mut core::task::Context::from_waker(core::task::Waker::noop())).is_ready();
        let is_due = match self.next {
            Next::Now => true,
            Next::At(at) => at <= self.now,
            Next::Rung => false,
        };
        if is_rung || is_due {
            self.pump();
        }
        self.poll_card();
        self.peer.run(self.now);
        let mut buffer = vec![0; MAX_FRAME_BYTES];
        while let Some(len) = self.peer.outside.poll_frame(&mut buffer) {
            self.near.on_frame(self.now, Side::Wire, &buffer[..len]);
        }
        self.now.0 += MS;
    }

    pub fn run_until(&mut self, seconds: u64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now.0 + seconds * S;
        while self.now.0 < end {
            self.step();
            if holds(self) {
                return true;
            }
        }
        false
    }

    /// The program wants nothing for now.
    pub fn next_is_far_off(&self) -> bool {
        matches!(self.next, Next::At(at) if at.0 > self.now.0 + 20 * MS)
    }

    pub fn run_ms(&mut self, millis: u64) {
        (0..millis).for_each(|_| self.step());
    }

    /// A datagram there and back, within so many seconds; it is sent again each half second.
    pub fn ping(&mut self, seconds: u64) -> bool {
        (0..seconds * 2).any(|_| {
            let number = self.send(100);
            self.run_ms(500);
            self.back.contains(&number)
        })
    }
}

/// A call that answers with these bytes, whatever it is asked.
pub struct Liar(pub Vec<u8>, pub u64);

impl Host for Liar {
    fn call(&mut self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        match op & op::MASK {
            op::CONFIGURE => Ok(0),
            op::EXCHANGE => leases.write(1, 0, &self.0).and(Ok(self.1)),
            _ => leases.write(0, 0, b"a line").and(Ok(6)),
        }
    }

    fn seed(&mut self) -> Option<Zeroizing<[u8; SEED_BYTES]>> {
        Some(Zeroizing::new([1; SEED_BYTES]))
    }

    fn tell(&mut self, _: fmt::Arguments<'_>) {}
}

/// Asks the program directly.
pub fn text(world: &mut World) -> String {
    let mut text = vec![0; 4096];
    let len = world.program.call(op::TEXT, &mut [Lease::Write(&mut text)]).unwrap();
    String::from_utf8(text[..len as usize].to_vec()).unwrap()
}
