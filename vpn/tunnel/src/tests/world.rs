//! The machines. Guest and server are smoltcp's stacks; the peer is WireGuard on a stack of the wire's side.

use super::oracle::{self, Kind};
use crate::{Event, Tunnel, Wire, WireGuard};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, MacAddr, Side, Tunnel as _};
use outside::{Ipv4, Ipv6, Outside};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{dhcpv4, tcp, udp};
use smoltcp::time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use std::collections::{BTreeMap, VecDeque};
use std::vec;
use std::vec::Vec;
use wg_quick::{Endpoint, TunnelConfig};
use wireguard::{Options, PeerConfig, Platform, PresharedKey, PrivateKey, Received, Sent, Tai64n, Unavailable};

pub const MAC: MacAddr = [0x52, 0x54, 0, 9, 9, 9];
pub const MTU: u16 = 1420;
/// Over a wire of 1492.
pub const LOWERED_MTU: u16 = 1412;
pub const OUTER_PORT: u16 = 51820;
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub const GUEST6: Ipv6Addr = Ipv6Addr::new(0xFD00, 9, 0, 0, 0, 0, 0, 2);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 7, 0, 0, 0, 0, 7);
const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const OUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 0x10);
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 1);
pub const SERVER_PORT: u16 = 7;
pub const S: u64 = 1_000_000_000;
const START: Instant = Instant(S);

/// Chance from a seed; stamps that grow.
pub struct Chance(pub u64);

impl Chance {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 29) ^ (self.0 >> 47)
    }
}

pub struct Dice(Chance, u64);

impl Platform for Dice {
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Unavailable> {
        bytes.fill_with(|| self.0.draw() as u8);
        Ok(())
    }

    fn tai64n(&mut self) -> Result<Tai64n, Unavailable> {
        self.1 += 1;
        Ok(Tai64n::from_unix(self.1, 0))
    }
}

/// Frames or packets each way.
pub struct Pipe {
    pub received: VecDeque<Vec<u8>>,
    pub sent: Vec<Vec<u8>>,
    medium: Medium,
    mtu: usize,
}

pub struct Rx(Vec<u8>);
pub struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl phy::Device for Pipe {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Rx, Tx<'_>)> {
        self.received.pop_front().map(|frame| (Rx(frame), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (self.medium, self.mtu);
        capabilities
    }
}

/// A machine with a TCP and a UDP socket.
pub struct Host {
    pub pipe: Pipe,
    interface: Interface,
    pub sockets: SocketSet<'static>,
    tcp: SocketHandle,
    udp: SocketHandle,
    dhcp: Option<SocketHandle>,
}

impl Host {
    fn new(medium: Medium, address: HardwareAddress, mtu: usize) -> Self {
        let mut pipe = Pipe { received: VecDeque::new(), sent: Vec::new(), medium, mtu };
        let mut config = Config::new(address);
        config.random_seed = 77;
        let interface = Interface::new(config, &mut pipe, to_smoltcp(START));
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || tcp::SocketBuffer::new(vec![0; 32 << 10]);
        let tcp = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 32], vec![0; 64 << 10]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(SERVER_PORT).unwrap();
        let udp = sockets.add(socket);
        Self { pipe, interface, sockets, tcp, udp, dhcp: None }
    }

    /// By DHCP, over an Ethernet card that knows of no tunnel: MTU 1500.
    fn guest() -> Self {
        let mut host = Self::new(Medium::Ethernet, HardwareAddress::Ethernet(EthernetAddress(MAC)), 1514);
        host.dhcp = Some(host.sockets.add(dhcpv4::Socket::new()));
        host
    }

    fn server() -> Self {
        let mut host = Self::new(Medium::Ip, HardwareAddress::Ip, 1500);
        host.interface.update_ip_addrs(|list| {
            list.push(IpCidr::new(SERVER.into(), 0)).unwrap();
            list.push(IpCidr::new(SERVER6.into(), 0)).unwrap();
        });
        host.sockets.get_mut::<tcp::Socket<'_>>(host.tcp).listen(SERVER_PORT).unwrap();
        host
    }

    /// The tunnel's IPv6 address by hand: smoltcp has no DHCPv6.
    pub fn use_ipv6(&mut self, gateway: Ipv6Addr) {
        self.interface.update_ip_addrs(|list| list.push(IpCidr::new(GUEST6.into(), 128)).unwrap());
        self.interface.routes_mut().add_default_ipv6_route(gateway).unwrap();
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(to_smoltcp(now), &mut self.pipe, &mut self.sockets);
        let Some(dhcp) = self.dhcp else { return };
        if let Some(dhcpv4::Event::Configured(given)) = self.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() {
            let (address, router) = (given.address, given.router.unwrap());
            self.interface.update_ip_addrs(|list| list.push(IpCidr::Ipv4(address)).unwrap());
            self.interface.routes_mut().add_default_ipv4_route(router).unwrap();
        }
    }

    pub fn has_address(&self) -> bool {
        self.interface.ipv4_addr().is_some()
    }

    pub fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.tcp)
    }

    pub fn udp(&mut self) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(self.udp)
    }

    pub fn connect(&mut self, to: Ipv4Addr) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        socket.connect(self.interface.context(), (to, SERVER_PORT), 40_000).unwrap();
    }
}

/// The other end of the tunnel.
pub struct Peer {
    pub outside: Outside,
    pub wg: wireguard::Tunnel<Dice>,
    pub server: Host,
    /// Inner packets as they came out.
    pub packets: Vec<Vec<u8>>,
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new([seed; 32])
}

impl Peer {
    fn outside(now: Instant, address: Ipv4Addr) -> Outside {
        let config = outside::Config {
            mac: [0x52, 0x54, 0, 1, 1, 1],
            mtu: 1500,
            ipv4: Ipv4::Static { address, prefix: 24, router: None },
            ipv6: Ipv6::Static { address: PEER6, prefix: 64, router: None },
            ports: vec![OUTER_PORT],
            names: false,
            dns: vec![],
            seed: 5,
        };
        let mut outside = Outside::new(config, now).unwrap();
        outside.on_link(now, true);
        outside
    }

    fn new(now: Instant, address: Ipv4Addr, stamp: u64) -> Self {
        let mut wg = wireguard::Tunnel::new(Dice(Chance(stamp), stamp), key(2), Options::default());
        let peer = PeerConfig {
            public_key: key(1).public(),
            preshared_key: Some(PresharedKey::new([7; 32])),
            endpoint: None,
            allowed_ips: ["10.9.0.2/32", "fd00:9::2/128"].map(|prefix| prefix.parse().unwrap()).to_vec(),
            persistent_keepalive_s: 0,
        };
        wg.add_peer(now.0 / 1_000_000, peer).unwrap();
        Self { outside: Self::outside(now, address), wg, server: Host::server(), packets: Vec::new() }
    }

    fn run(&mut self, now: Instant) {
        let ms = now.0 / 1_000_000;
        let mut buffer = vec![0; 2048];
        while let Some((_, from, len)) = self.outside.receive(&mut buffer) {
            if let Received::Packet(_, range) = self.wg.on_datagram(ms, from, &mut buffer[..len]) {
                self.packets.push(buffer[range.clone()].to_vec());
                self.server.pipe.received.push_back(buffer[range].to_vec());
            }
        }
        self.server.poll(now);
        for packet in std::mem::take(&mut self.server.pipe.sent) {
            buffer[wireguard::DATA_HEADER_BYTES..][..packet.len()].copy_from_slice(&packet);
            if let Sent::Sealed(transmit) = self.wg.on_packet(ms, &mut buffer, packet.len()) {
                let _ = self.outside.send(now, 0, transmit.to, &buffer[..transmit.len]);
            }
        }
        if self.wg.poll_timeout().is_some_and(|at| at <= ms) {
            self.wg.on_timeout(ms);
        }
        while let Some(transmit) = self.wg.poll_transmit(ms, &mut buffer) {
            let _ = self.outside.send(now, 0, transmit.to, &buffer[..transmit.len]);
        }
        self.outside.on_timeout(now);
    }
}

/// How a world differs from the usual one.
pub struct Setup {
    pub endpoint: Option<Endpoint>,
    pub preshared: u8,
    pub ipv4: Ipv4,
    pub ipv6: Ipv6,
    pub keepalive_s: u16,
    /// Where other peers are, which nobody plays.
    pub others: Vec<Endpoint>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            endpoint: Some(Endpoint::Address((PEER, OUTER_PORT).into())),
            preshared: 7,
            ipv4: Ipv4::Static { address: OUTER, prefix: 24, router: None },
            ipv6: Ipv6::Static { address: OUTER6, prefix: 64, router: None },
            keepalive_s: 25,
            others: Vec::new(),
        }
    }
}

pub fn over_ipv6() -> Setup {
    Setup { endpoint: Some(Endpoint::Address((PEER6, OUTER_PORT).into())), ..Setup::default() }
}

pub fn tunnel(setup: Setup) -> Tunnel<WireGuard<Dice>> {
    let peer = |number: u8, endpoint, prefixes: &[&str]| wg_quick::Peer {
        public_key: key(number).public(),
        preshared_key: Some(PresharedKey::new([setup.preshared; 32])),
        endpoint,
        allowed_ips: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        persistent_keepalive_s: setup.keepalive_s,
    };
    let address = |address: IpAddr, prefix: u8| (address, prefix).try_into().unwrap();
    let first = peer(2, setup.endpoint, &["0.0.0.0/0", "::/0"]);
    let others = (10..).zip(setup.others).map(|(number, other)| peer(number, Some(other), &["10.77.0.0/16"]));
    let config = TunnelConfig {
        private_key: key(1),
        listen_port: Some(OUTER_PORT),
        addresses: vec![address(GUEST.into(), 24), address(GUEST6.into(), 128)],
        dns: vec![SERVER.into()],
        search: vec![],
        mtu: None,
        peers: core::iter::once(first).chain(others).collect(),
    };
    let wire = Wire { mac: MAC, mtu: 1500, ipv4: setup.ipv4, ipv6: setup.ipv6, dns: vec![PEER.into()], seed: 99 };
    let mut tunnel = crate::wireguard(config, wire, Dice(Chance(1), 1000), START).unwrap();
    tunnel.on_link(START, true);
    tunnel
}

pub struct World {
    pub now: Instant,
    pub guest: Host,
    pub tunnel: Tunnel<WireGuard<Dice>>,
    pub peer: Peer,
    pub chance: Chance,
    /// In per cent, of frames each way.
    pub loss: u64,
    pub kinds: BTreeMap<Kind, usize>,
    /// Frames of the tunnel's that the peer's stack does not get, for the test to look at.
    pub tapped: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    /// The peer's machine is there, but its WireGuard is not.
    pub is_deaf: bool,
}

impl World {
    pub fn new(setup: Setup) -> Self {
        Self {
            now: START,
            guest: Host::guest(),
            tunnel: tunnel(setup),
            peer: Peer::new(START, PEER, 5000),
            chance: Chance(3),
            loss: 0,
            kinds: BTreeMap::new(),
            tapped: Vec::new(),
            events: Vec::new(),
            is_deaf: false,
        }
    }

    /// The peer's machine starts anew.
    pub fn restart_peer(&mut self) {
        let stamp = 5000 + self.now.0 / S;
        self.peer = Peer::new(self.now, PEER, stamp);
    }

    /// The peer goes on at another address.
    pub fn move_peer(&mut self, address: Ipv4Addr) {
        self.peer.outside = Peer::outside(self.now, address);
    }

    fn is_lost(&mut self) -> bool {
        self.chance.draw() % 100 < self.loss
    }

    /// A moment: everything that can move moves.
    pub fn step(&mut self) {
        self.guest.poll(self.now);
        for frame in std::mem::take(&mut self.guest.pipe.sent) {
            self.tunnel.on_frame(self.now, Side::Guest, &frame);
        }
        if self.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
            self.tunnel.on_timeout(self.now);
        }
        let mut frame = vec![0; MAX_FRAME_BYTES];
        while let Some((to, len)) = self.tunnel.poll_transmit(self.now, &|_| true, &mut frame) {
            let frame = frame[..len].to_vec();
            match to {
                Side::Guest => self.guest.pipe.received.push_back(frame),
                Side::Wire => {
                    let kind = oracle::judge(&frame).unwrap_or_else(|why| panic!("{why}"));
                    *self.kinds.entry(kind).or_default() += 1;
                    if kind == Kind::Dns {
                        self.tapped.push(frame.clone());
                    }
                    let is_unheard = self.is_deaf && matches!(kind, Kind::Handshake | Kind::Data);
                    if !is_unheard && !self.is_lost() {
                        self.peer.outside.on_frame(self.now, &frame);
                    }
                }
            }
        }
        self.peer.run(self.now);
        while let Some(len) = self.peer.outside.poll_frame(&mut frame) {
            assert!(!oracle::has_marker(&frame[..len]), "plaintext of the peer");
            if !self.is_lost() {
                self.tunnel.on_frame(self.now, Side::Wire, &frame[..len]);
            }
        }
        self.events.extend(std::iter::from_fn(|| self.tunnel.poll_event()));
    }

    /// Runs until something holds; false: it did not within `seconds`.
    pub fn run_until(&mut self, seconds: u64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now.0 + seconds * S;
        while self.now.0 < end {
            self.step();
            if holds(self) {
                return true;
            }
            self.now.0 += 10_000_000;
        }
        false
    }

    pub fn run(&mut self, seconds: u64) {
        self.run_until(seconds, |_| false);
    }

    /// The guest asks the server by UDP and gets an answer.
    pub fn exchange(&mut self, to: impl Into<IpAddr>, text: &str, seconds: u64) -> bool {
        let to: IpAddr = to.into();
        let data = [oracle::MARKER, text.as_bytes()].concat();
        self.guest.udp().send_slice(&data, (to, SERVER_PORT)).unwrap();
        self.run_until(seconds, |world| {
            while let Ok((asked, from)) = world.peer.server.udp().recv() {
                let (asked, from) = (asked.to_vec(), from);
                world.peer.server.udp().send_slice(&asked, from.endpoint).unwrap();
            }
            world.guest.udp().recv().is_ok_and(|(answer, _)| answer == data)
        })
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }
}

fn to_smoltcp(now: Instant) -> time::Instant {
    time::Instant::from_micros((now.0 / 1000) as i64)
}

/// An answer to a question for names, to the socket that asked.
pub fn dns_answer(question: &[u8], address: Ipv4Addr) -> (SocketAddr, Vec<u8>) {
    let port = u16::from_be_bytes([question[34], question[35]]);
    let asked = &question[42..];
    let mut answer = [&asked[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &asked[12..]].concat();
    answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(address.octets());
    ((OUTER, port).into(), answer)
}
