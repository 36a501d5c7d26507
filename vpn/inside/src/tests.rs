//! Frames of a guest, made by hand, and what comes of them.

mod dhcp;
mod hostile;
mod packets;
mod stations;

use crate::emit::{self, Ends};
use crate::{Inside, Link, Reason};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use frames::{FrameQueue, Packet};
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, MacAddr};
use std::vec;
use std::vec::Vec;

const GUEST: MacAddr = [0x52, 0x54, 0, 1, 2, 3];
const GATEWAY: MacAddr = [2, 0, 0, 0, 0, 1];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xFD00, 9, 0, 0, 0, 0, 0, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 7);
const GUEST_LOCAL: Ipv6Addr = Ipv6Addr::new(0xFE80, 0, 0, 0, 0x5054, 0xFF, 0xFE01, 0x203);
const MTU: u16 = 1420;
const NOW: Instant = Instant(1_000_000);

fn link(prefix: u8) -> Link {
    let addresses = vec![(OWN.into(), prefix), (OWN6.into(), 128)];
    let dns = vec![Ipv4Addr::new(10, 9, 0, 53).into(), Ipv6Addr::new(0xFD00, 9, 0, 0, 0, 0, 0, 0x53).into()];
    Link::new(GATEWAY, addresses, dns, MTU).unwrap()
}

fn inside() -> Inside {
    Inside::new(link(24), GUEST)
}

/// What the guest's frame sends into the tunnel.
fn send(inside: &mut Inside, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    inside.on_frame(NOW, frame, &mut |packet| packets.push(packet.to_vec()));
    packets
}

/// The next frame for the guest.
fn answer(inside: &mut Inside) -> Option<Vec<u8>> {
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let len = inside.poll_frame(&mut frame)?;
    frame.truncate(len);
    Some(frame)
}

/// A frame that the guest's frame neither sends on nor answers, and for what reason.
fn refused(inside: &mut Inside, frame: &[u8], reason: Reason) {
    let before = inside.counters().dropped(reason);
    assert!(send(inside, frame).is_empty(), "{reason:?}: it went into the tunnel");
    assert_eq!(inside.counters().dropped(reason), before + 1, "{reason:?}: {:?}", inside.counters());
}

fn ethernet(to: MacAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&emit::ethernet(to, GUEST, ether_type), payload].concat()
}

/// A UDP datagram of the guest in a frame.
fn udp(to_mac: MacAddr, from: (impl Into<IpAddr>, u16), to: (impl Into<IpAddr>, u16), data: &[u8]) -> Vec<u8> {
    let mut queue = FrameQueue::new(1);
    let ends = Ends { to_mac, from_mac: GUEST, from: from.0.into(), to: to.0.into() };
    assert!(emit::udp(&mut queue, ends, (from.1, to.1), data));
    queue.pop_with(<[u8]>::to_vec).unwrap()
}

/// An ICMP message of the guest in a frame; the checksum is filled in.
fn icmp(to_mac: MacAddr, from: impl Into<IpAddr>, to: impl Into<IpAddr>, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let mut queue = FrameQueue::new(1);
    let ends = Ends { to_mac, from_mac: GUEST, from: from.into(), to: to.into() };
    assert!(emit::icmp(&mut queue, ends, hop_limit, message));
    queue.pop_with(<[u8]>::to_vec).unwrap()
}

/// The packet in a frame to the guest, whose checksum must hold.
fn packet_of(frame: &[u8]) -> Packet<'_> {
    let (ether_type, payload) = frames::split_frame(frame).unwrap();
    let packet = Packet::of_frame(ether_type, payload).unwrap();
    assert_eq!(frames::sum(packet.source, packet.destination, packet.protocol, packet.payload()), 0xFFFF);
    packet
}
