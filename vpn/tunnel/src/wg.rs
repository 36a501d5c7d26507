//! WireGuard as a [`Protocol`].

use crate::protocol::{Protocol, Step};
use core::net::SocketAddr;
use mediator::Instant;
use wireguard::{DATA_HEADER_BYTES, Options, PeerId, Platform, Received, Sent, Transmit, Tunnel};

const NS_PER_MS: u64 = 1_000_000;
/// What WireGuard and an outer IPv6 header add, as wg-quick reckons it.
pub(crate) const OVERHEAD_BYTES: u16 = 80;
/// It has one port.
const PORT: usize = 0;

/// A WireGuard interface.
pub struct WireGuard<P>(pub Tunnel<P>);

impl<P: Platform + Send> Protocol for WireGuard<P> {
    fn headroom_bytes(&self) -> usize {
        DATA_HEADER_BYTES
    }

    fn overhead_bytes(&self) -> u16 {
        OVERHEAD_BYTES
    }

    fn set_mtu(&mut self, mtu: u16) {
        self.0.set_options(Options { mtu, ..Options::default() });
    }

    fn on_packet(&mut self, now: Instant, buffer: &mut [u8], len: usize) -> Step {
        match self.0.on_packet(ms(now), buffer, len) {
            Sent::Sealed(transmit) => datagram(transmit),
            Sent::Kept | Sent::Dropped(_) => Step::Nothing,
        }
    }

    fn on_datagram(&mut self, now: Instant, _: usize, from: SocketAddr, datagram: &mut [u8]) -> Step {
        match self.0.on_datagram(ms(now), from, datagram) {
            Received::Packet(_, range) => Step::Packet(range),
            Received::Taken | Received::Dropped(_) => Step::Nothing,
        }
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Step {
        self.0.poll_transmit(ms(now), buffer).map_or(Step::Nothing, datagram)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout().map(|at_ms| Instant(at_ms.saturating_mul(NS_PER_MS)))
    }

    fn on_timeout(&mut self, now: Instant) {
        self.0.on_timeout(ms(now));
    }

    fn wipe_timeout(&self) -> Option<Instant> {
        self.0.poll_wipe().map(|at_ms| Instant(at_ms.saturating_mul(NS_PER_MS)))
    }

    fn wipe(&mut self, now: Instant) {
        self.0.wipe(ms(now));
    }

    fn is_up(&self) -> bool {
        self.0.peers().any(|peer| peer.is_reached)
    }

    fn is_unanswered(&self, peer: usize) -> bool {
        self.0.peers().nth(peer).is_some_and(|peer| peer.is_unanswered)
    }

    fn set_endpoint(&mut self, peer: usize, endpoint: SocketAddr) {
        self.0.set_endpoint(PeerId(peer), endpoint);
    }
}

fn datagram(Transmit { to, len }: Transmit) -> Step {
    Step::Datagram { port: PORT, to, range: 0..len }
}

pub(crate) fn ms(now: Instant) -> u64 {
    now.0 / NS_PER_MS
}
