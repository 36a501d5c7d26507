//! The stack against a wire made by hand, and against the other side's gateway.

mod addresses;
mod datagrams;
mod filter;
mod hostile;
mod pieces;

use crate::{Config, Ipv4, Ipv6, Outside};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use frames::Packet;
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, MacAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, IpRepr};
use std::vec;
use std::vec::Vec;

const MAC: MacAddr = [0x52, 0x54, 0, 0xAA, 0xBB, 0xCC];
const ROUTER_MAC: MacAddr = [0x52, 0x54, 0, 1, 1, 1];
const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 5, 0, 0, 0, 0, 5);
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 0x10);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 51820;
const S: u64 = 1_000_000_000;
const NOW: Instant = Instant(100 * S);

fn config() -> Config {
    Config {
        mac: MAC,
        mtu: 1500,
        ipv4: Ipv4::Static { address: OWN, prefix: 24, router: Some(ROUTER) },
        ipv6: Ipv6::Static { address: OWN6, prefix: 64, router: Some(ROUTER6) },
        ports: vec![PORT],
        names: false,
        dns: vec![],
        seed: 0x1234_5678_9ABC_DEF0,
    }
}

fn outside() -> Outside {
    plugged_in(config())
}

/// With its cable.
fn plugged_in(config: Config) -> Outside {
    let mut outside = Outside::new(config, NOW).unwrap();
    outside.on_link(NOW, true);
    outside
}

/// All frames that wait for the wire.
fn sent(outside: &mut Outside) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut frame = vec![0; MAX_FRAME_BYTES];
    while let Some(len) = outside.poll_frame(&mut frame) {
        frames.push(frame[..len].to_vec());
    }
    frames
}

fn received(outside: &mut Outside) -> Option<(SocketAddr, Vec<u8>)> {
    let mut data = vec![0; 9000];
    let (port, from, len) = outside.receive(&mut data)?;
    assert_eq!(port, 0);
    data.truncate(len);
    Some((from, data))
}

/// An IP packet in a frame.
fn ip(to_mac: MacAddr, from: IpAddr, to: IpAddr, protocol: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let ether_type = if from.is_ipv4() { frames::IPV4 } else { frames::IPV6 };
    let mut frame = [&to_mac[..], &ROUTER_MAC, &ether_type.to_be_bytes()].concat();
    let header = IpRepr::new(from.into(), to.into(), IpProtocol::from(protocol), payload.len(), hop_limit);
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes[..], &ChecksumCapabilities::default());
    frame.extend(bytes);
    frame.extend(payload);
    frame
}

/// A UDP datagram with its checksum.
fn datagram(from: (IpAddr, u16), to: (IpAddr, u16), data: &[u8]) -> Vec<u8> {
    let len = data.len() as u16 + 8;
    let mut payload = [from.1, to.1, len, 0].map(u16::to_be_bytes).concat();
    payload.extend(data);
    let sum = !frames::sum(from.0, to.0, frames::UDP, &payload);
    payload[6..8].copy_from_slice(&sum.to_be_bytes());
    payload
}

fn udp(from: (impl Into<IpAddr>, u16), to: (impl Into<IpAddr>, u16), data: &[u8]) -> Vec<u8> {
    let (from, to) = ((from.0.into(), from.1), (to.0.into(), to.1));
    ip(MAC, from.0, to.0, frames::UDP, 64, &datagram(from, to, data))
}

fn icmp6(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = !frames::sum(from.into(), to.into(), frames::ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(MAC, from.into(), to.into(), frames::ICMPV6, 255, &message)
}

/// The answer to an ARP request, if the frame is one.
fn arp_reply(frame: &[u8]) -> Option<Vec<u8>> {
    let message = frame.get(14..).filter(|_| frame[12..14] == [8, 6])?;
    let (sender, target) = (&message[8..18], &message[24..28]);
    let mut reply = [&MAC[..], &ROUTER_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &ROUTER_MAC].concat();
    reply.extend(target);
    reply.extend(sender);
    (message[..8] == [0, 1, 8, 0, 6, 4, 0, 1]).then_some(reply)
}

/// The answer to a neighbour solicitation.
fn advertisement(frame: &[u8]) -> Option<Vec<u8>> {
    let (ether_type, payload) = frames::split_frame(frame)?;
    let packet = Packet::of_frame(ether_type, payload)?;
    let (IpAddr::V6(from), Some(135)) = (packet.source, packet.payload().first()) else { return None };
    let target: [u8; 16] = packet.payload()[8..24].try_into().unwrap();
    let message = [&[136, 0, 0, 0, 0x60, 0, 0, 0], &target[..], &[2, 1], &ROUTER_MAC].concat();
    Some(icmp6(target.into(), from, &message))
}

/// Frames that a send leads to, neighbours found on the way.
fn send(outside: &mut Outside, to: SocketAddr, data: &[u8]) -> Vec<Vec<u8>> {
    outside.send(NOW, 0, to, data).unwrap();
    let mut frames = Vec::new();
    for _ in 0..3 {
        for frame in sent(outside) {
            match arp_reply(&frame).or_else(|| advertisement(&frame)) {
                Some(reply) => outside.on_frame(NOW, &reply),
                None => frames.push(frame),
            }
        }
        outside.on_timeout(Instant(NOW.0 + 2 * S));
    }
    frames
}
