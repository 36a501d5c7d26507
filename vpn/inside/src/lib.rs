//! The guest's side of a tunnel: between Ethernet frames of the guest and IP packets.
//!
//! The guest sees a link with one other station, the gateway, which has every address: it answers ARP and neighbour solicitations for
//! all of them, gives the tunnel's own address by DHCP and DHCPv6, and advertises itself as the router. What the guest sends to its local
//! network ends here: nothing leaves but IP packets from the tunnel's addresses to places beyond the link.
//!
//! | frame of the guest | what happens |
//! |---|---|
//! | ARP, neighbour and router solicitations | answered; `arp.rs`, `ndp.rs` |
//! | DHCP, DHCPv6 | answered, wherever it is sent to; `dhcp4.rs`, `dhcp6.rs` |
//! | IP from a tunnel's address to a unicast address beyond the link | into the tunnel; cut or refused where too long (`size.rs`) |
//! | everything else | dropped, and counted by its reason ([`Reason`]) |
//!
//! A tunnel's IPv6 address is one address of any prefix length, which a prefix of a router advertisement cannot give (RFC 4862 wants 64
//! bits and makes the rest up). So the advertisement has the flag M and no prefix: nothing is on the link but the gateway.
//!
//! Sources: RFC 826 (ARP), 4861 (NDP), 8106 (DNS in router advertisements), 2131 and 2132 (DHCP), 8415 (DHCPv6), 1191 and 8201 (path MTU),
//! 879 and 9293 (MSS). Files cite sections.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arp;
mod counters;
mod dhcp4;
mod dhcp6;
mod emit;
mod link;
mod mss;
mod ndp;
mod size;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use frames::{FrameQueue, Packet, UDP};
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, MacAddr};

pub use counters::{Counters, Reason};
pub use link::{Link, LinkError, MAX_ADDRESSES, MAX_DNS_SERVERS};

/// Frames that wait for the guest.
const QUEUE_FRAMES: usize = 256;
/// Longest packet that the guest's driver need take: its link is an ordinary Ethernet.
const LINK_MTU: usize = 1500;

/// The guest's side.
pub struct Inside {
    link: Link,
    /// Who sent last; at first the card itself.
    guest: MacAddr,
    to_guest: FrameQueue,
    /// A packet that has to be changed on its way.
    scratch: Vec<u8>,
    /// When the next unsolicited router advertisement is due; from the guest's first solicitation on.
    advertise_at: Option<Instant>,
    counters: Counters,
}

impl Inside {
    /// `guest` is the card's own hardware address.
    #[must_use]
    pub fn new(link: Link, guest: MacAddr) -> Self {
        Self {
            link,
            guest,
            to_guest: FrameQueue::new(QUEUE_FRAMES),
            scratch: Vec::with_capacity(MAX_FRAME_BYTES),
            advertise_at: None,
            counters: Counters::default(),
        }
    }

    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// From now on the tunnel takes packets of this length at most, in bytes. The link's MTU is that, or as much less or more as it has to be
    /// ([`Link::mtu`]); segments and packets that are too long follow it.
    pub fn limit_mtu(&mut self, limit: u16) {
        self.link.limit_mtu(limit);
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A frame of the guest. Packets that go into the tunnel are given to `out`, one by one.
    pub fn on_frame(&mut self, now: Instant, frame: &[u8], out: &mut dyn FnMut(&[u8])) {
        if let Err(reason) = self.take(now, frame, out) {
            self.counters.drop_for(reason);
        }
    }

    /// A packet out of the tunnel.
    pub fn on_packet(&mut self, bytes: &[u8]) {
        if let Err(reason) = self.give(bytes) {
            self.counters.drop_for(reason);
        }
    }

    /// The next frame for the guest, at the start of `frame`.
    pub fn poll_frame(&mut self, frame: &mut [u8]) -> Option<usize> {
        self.to_guest.pop(frame)
    }

    #[must_use]
    pub fn has_frame(&self) -> bool {
        !self.to_guest.is_empty()
    }

    /// When [`Inside::on_timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.advertise_at
    }

    pub fn on_timeout(&mut self, now: Instant) {
        if self.advertise_at.is_some_and(|at| at <= now)
            && let Err(reason) = self.advertise(now, None)
        {
            self.counters.drop_for(reason);
        }
    }

    fn take(&mut self, now: Instant, frame: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), Reason> {
        let (ether_type, payload) = frames::split_frame(frame).ok_or(Reason::Malformed)?;
        let (to, from) = (mac_at(frame, 0)?, mac_at(frame, 6)?);
        if is_group(from) || from == self.link.gateway_mac || frame.len() > MAX_FRAME_BYTES {
            return Err(Reason::Malformed);
        }
        self.guest = from;
        match ether_type {
            tag if frames::VLAN.contains(&tag) => Err(Reason::Vlan),
            _ if !is_group(to) && to != self.link.gateway_mac => Err(Reason::OtherStation),
            frames::ARP => self.on_arp(payload),
            frames::IPV4 | frames::IPV6 => {
                let packet = Packet::of_frame(ether_type, payload).ok_or(Reason::Malformed)?;
                self.on_ip(now, &packet, is_group(to), out)
            }
            _ => Err(Reason::NotIp),
        }
    }

    fn on_ip(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        to_group: bool,
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Reason> {
        if packet.protocol == UDP && packet.is_first() {
            match (packet.ether_type(), frames::be16(packet.payload(), 2)) {
                (frames::IPV4, Some(dhcp4::SERVER_PORT)) => return self.on_dhcp4(packet),
                (frames::IPV6, Some(dhcp6::SERVER_PORT)) => return self.on_dhcp6(packet),
                _ => {}
            }
        }
        if self.is_of_link(packet) {
            return self.on_ndp(now, packet);
        }
        if to_group || self.link.is_local(packet.destination) {
            return Err(Reason::Local);
        }
        if !self.link.has(packet.source) {
            return Err(Reason::WrongSource);
        }
        self.send_on(packet, out)
    }

    /// Into the tunnel, in a size that it takes.
    fn send_on(&mut self, packet: &Packet<'_>, out: &mut dyn FnMut(&[u8])) -> Result<(), Reason> {
        let mtu = usize::from(self.link.mtu);
        if packet.bytes.len() > mtu {
            return self.shorten(packet, out);
        }
        match mss::clamped(packet, self.link.mtu, &mut self.scratch) {
            true => out(&self.scratch),
            false => out(packet.bytes),
        }
        self.counters.to_tunnel = self.counters.to_tunnel.wrapping_add(1);
        Ok(())
    }

    fn give(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let packet = Packet::parse(bytes).ok_or(Reason::MalformedInside)?;
        // Neither may a packet from beyond speak for the link: neighbour discovery by a peer would tell the guest who has which address.
        if !self.link.has(packet.destination) || self.link.is_local(packet.source) || self.is_of_link(&packet) {
            return Err(Reason::NotForGuest);
        }
        if packet.bytes.len() > LINK_MTU {
            return Err(Reason::TooLong);
        }
        let clamped = mss::clamped(&packet, self.link.mtu, &mut self.scratch);
        let payload = if clamped { self.scratch.as_slice() } else { packet.bytes };
        let header = emit::ethernet(self.guest, self.link.gateway_mac, packet.ether_type());
        if !self.to_guest.push(&[&header, payload]) {
            return Err(Reason::NoRoom);
        }
        self.counters.to_guest = self.counters.to_guest.wrapping_add(1);
        Ok(())
    }

    /// One more answer is in the queue, or there was no room for it.
    fn answered(&mut self, pushed: bool) -> Result<(), Reason> {
        if !pushed {
            return Err(Reason::NoRoom);
        }
        self.counters.answered = self.counters.answered.wrapping_add(1);
        Ok(())
    }
}

/// Broadcast or multicast.
fn is_group(mac: MacAddr) -> bool {
    mac.first().is_none_or(|first| first & 1 != 0)
}

fn mac_at(frame: &[u8], at: usize) -> Result<MacAddr, Reason> {
    frame.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Reason::Malformed)
}
