//! What `tunnel_inside` and `tunnel_outside` share: a tunnel over a protocol without handshake, whose datagrams the targets can make and
//! open themselves, and the judge of what comes out.
//!
//! Input: steps of a byte (what), two bytes (length, high byte first, at most 2047) and that many bytes.

use frames::Packet;
use inside::{Inside, Link};
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, MacAddr, Side, Tunnel as _};
use outside::{Config, Ipv4, Ipv6, Outside};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tunnel::{GATEWAY_MAC, Name, Protocol, Step, Tunnel};

pub const MAC: MacAddr = [0x52, 0x54, 0, 9, 9, 9];
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub const GUEST6: Ipv6Addr = Ipv6Addr::new(0xFD00, 9, 0, 0, 0, 0, 0, 2);
pub const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const PORT: u16 = 51820;
const MTU: u16 = 1420;
const KEY: u8 = 0x5A;
/// Begins each datagram.
pub const SEAL: [u8; 4] = *b"seal";

/// Every byte is changed, so that no packet goes out as it is.
pub struct Seal {
    to: SocketAddr,
}

impl Protocol for Seal {
    fn headroom_bytes(&self) -> usize {
        SEAL.len()
    }

    fn on_packet(&mut self, _: Instant, buffer: &mut [u8], len: usize) -> Step {
        let range = 0..SEAL.len() + len;
        buffer[..SEAL.len()].copy_from_slice(&SEAL);
        buffer[SEAL.len()..range.end].iter_mut().for_each(|byte| *byte ^= KEY);
        Step::Datagram { port: 0, to: self.to, range }
    }

    fn on_datagram(&mut self, _: Instant, port: usize, from: SocketAddr, datagram: &mut [u8]) -> Step {
        assert_eq!(port, 0);
        if !datagram.starts_with(&SEAL) {
            return Step::Nothing;
        }
        // It roams, as protocols do.
        self.to = from;
        datagram[SEAL.len()..].iter_mut().for_each(|byte| *byte ^= KEY);
        Step::Packet(SEAL.len()..datagram.len())
    }

    fn poll_transmit(&mut self, _: Instant, _: &mut [u8]) -> Step {
        Step::Nothing
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn on_timeout(&mut self, _: Instant) {}

    fn overhead_bytes(&self) -> u16 {
        80
    }

    fn set_mtu(&mut self, _: u16) {}

    fn wipe_timeout(&self) -> Option<Instant> {
        None
    }

    fn wipe(&mut self, _: Instant) {}

    fn is_up(&self) -> bool {
        true
    }

    fn is_unanswered(&self, peer: usize) -> bool {
        peer == 0
    }

    fn set_endpoint(&mut self, _: usize, endpoint: SocketAddr) {
        self.to = endpoint;
    }
}

pub struct Rig {
    pub tunnel: Tunnel<Seal>,
    pub now: Instant,
    automatic: bool,
}

impl Rig {
    /// `automatic`: addresses by DHCP and SLAAC, the peer by its name.
    pub fn new(automatic: bool) -> Self {
        let now = Instant(1_000_000_000);
        let dns = vec![Ipv4Addr::new(10, 9, 0, 53).into(), GUEST6.into()];
        let link = Link::new(GATEWAY_MAC, vec![(GUEST.into(), 24), (GUEST6.into(), 128)], dns, MTU).expect("a link");
        let fixed = Ipv4::Static { address: OUTER, prefix: 24, router: Some(PEER) };
        let config = Config {
            mac: MAC,
            mtu: 1500,
            ipv4: if automatic { Ipv4::Dhcp } else { fixed },
            ipv6: if automatic { Ipv6::Slaac } else { Ipv6::Off },
            ports: vec![PORT],
            names: automatic,
            dns: vec![],
            seed: 1,
        };
        let outside = Outside::new(config, now).expect("a stack");
        let names = vec![Name { peer: 0, host: "vpn.example.org".into(), port: PORT }];
        let names = if automatic { names } else { Vec::new() };
        let protocol = Seal { to: (PEER, PORT).into() };
        let mut tunnel = Tunnel::new(Inside::new(link, MAC), outside, protocol, names, now);
        tunnel.on_link(now, true);
        Self { tunnel, now, automatic }
    }

    /// Performs the steps of an input. `own` makes a frame of a step's bytes for the target's side; other steps are shared: time, the cable.
    pub fn run(&mut self, data: &[u8], side: Side, own: impl Fn(u8, &[u8]) -> Vec<u8>) {
        let mut rest = data;
        while let [what, high, low, behind @ ..] = rest {
            let len = usize::from(u16::from_be_bytes([*high, *low]) & 2047).min(behind.len());
            let (bytes, next) = behind.split_at(len);
            rest = next;
            match what >> 5 {
                7 => {
                    self.now = Instant(self.now.0 + (u64::from(*high) << 24) * u64::from(what & 31));
                    self.tunnel.on_timeout(self.now);
                }
                6 => self.tunnel.on_link(self.now, what & 1 != 0),
                _ => self.tunnel.on_frame(self.now, side, &own(*what, bytes)),
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        let mut frame = vec![0; MAX_FRAME_BYTES];
        while let Some((to, len)) = self.tunnel.poll_transmit(self.now, &|_| true, &mut frame) {
            match to {
                Side::Wire => self.judge_wire(&frame[..len]),
                Side::Guest => judge_guest(&frame[..len]),
            }
        }
        while self.tunnel.poll_event().is_some() {}
        assert!(self.tunnel.poll_timeout().is_none_or(|at| at.0 < u64::MAX));
    }

    /// Only the listed kinds, and in a datagram of the tunnel only a sealed packet of the guest's.
    fn judge_wire(&self, frame: &[u8]) {
        assert!(frame.len() <= 1514 && frame[6..12] == MAC, "{frame:02x?}");
        let (ether_type, payload) = frames::split_frame(frame).expect("a header");
        if ether_type == frames::ARP {
            assert_eq!(frame.len(), 42);
            return;
        }
        let packet = Packet::of_frame(ether_type, payload).expect("IP");
        assert_eq!(packet.bytes.len() + 14, frame.len(), "bytes behind the packet");
        if packet.protocol == frames::ICMPV6 {
            assert!(self.automatic && packet.payload().len() <= 32 && matches!(packet.payload()[0], 133 | 135 | 136));
            return;
        }
        assert_eq!(packet.protocol, frames::UDP, "{frame:02x?}");
        let ports = [0, 2].map(|at| frames::be16(packet.payload(), at).expect("a port"));
        match ports {
            [PORT, _] => judge_sealed(&packet.payload()[8..]),
            [68, 67] | [_, 53] => assert!(self.automatic),
            _ => panic!("another port: {frame:02x?}"),
        }
    }
}

fn judge_sealed(datagram: &[u8]) {
    let sealed = datagram.strip_prefix(&SEAL).expect("no datagram of the protocol");
    let opened: Vec<u8> = sealed.iter().map(|byte| byte ^ KEY).collect();
    let packet = Packet::parse(&opened).expect("no packet");
    assert!([IpAddr::from(GUEST), GUEST6.into()].contains(&packet.source), "from {}", packet.source);
    assert!(frames::is_unicast(packet.destination) && packet.bytes.len() <= MTU.into());
}

/// From the gateway, and packets for the guest or of the link.
fn judge_guest(frame: &[u8]) {
    assert!(frame[6..12] == GATEWAY_MAC && frame.len() <= 1514, "{frame:02x?}");
    let (ether_type, payload) = frames::split_frame(frame).expect("a header");
    if ether_type != frames::ARP {
        Packet::of_frame(ether_type, payload).expect("IP");
    }
}

/// A UDP datagram in an IPv4 packet, without its checksum.
pub fn udp4(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let len = data.len() as u16 + 8;
    let mut packet = [&[0x45, 0][..], &(len + 20).to_be_bytes(), &[0, 1, 0, 0, 64, 17, 0, 0]].concat();
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let sum: u32 = packet.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([from.1, to.1, len, 0].map(u16::to_be_bytes).concat());
    packet.extend(data);
    packet
}

/// An ICMPv6 message in its packet, with its checksum.
pub fn icmp6(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = !frames::sum(from.into(), to.into(), frames::ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let len = (message.len() as u16).to_be_bytes();
    [&[0x60, 0, 0, 0], &len[..], &[frames::ICMPV6, 255], &from.octets(), &to.octets(), &message].concat()
}

/// A step of an input.
pub fn step(what: u8, bytes: &[u8]) -> Vec<u8> {
    [&[what], &(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A frame of a step: kinds 0 to 3 get an Ethernet header, 4 and 5 are frames as they are.
pub fn frame(what: u8, to: MacAddr, from: MacAddr, bytes: &[u8]) -> Vec<u8> {
    let to = if what & 1 != 0 { [0xFF; 6] } else { to };
    let ether_type = match what >> 5 {
        0 => frames::IPV4,
        1 => frames::IPV6,
        2 => frames::ARP,
        _ => return bytes.to_vec(),
    };
    [&to[..], &from, &ether_type.to_be_bytes(), bytes].concat()
}
