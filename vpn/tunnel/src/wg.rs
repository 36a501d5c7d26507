//! WireGuard as a [`Protocol`].

use crate::protocol::{Protocol, Step};
use core::net::SocketAddr;
use mediator::Instant;
use wireguard::{DATA_HEADER_BYTES, PeerId, Platform, Received, Sent, Transmit, Tunnel};

const NS_PER_MS: u64 = 1_000_000;
/// It has one port.
const PORT: usize = 0;

/// A WireGuard interface.
pub struct WireGuard<P>(pub Tunnel<P>);

impl<P: Platform + Send> Protocol for WireGuard<P> {
    fn headroom_bytes(&self) -> usize {
        DATA_HEADER_BYTES
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

    fn is_up(&mut self, now: Instant) -> bool {
        let peers = self.0.peers().count();
        (0..peers).any(|peer| self.0.is_up(ms(now), PeerId(peer)))
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
