//! A port's datagrams on their way out: a bounded queue for each next hop, so that a neighbour that does not answer holds up nobody else's.
//!
//! smoltcp keeps a socket back while it waits for the neighbour of its first datagram, with all that is behind it. So a lane is a socket of its
//! own. All are bound to the same number; what comes in goes to the first of them, the receiver.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use mediator::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{Socket, udp};

/// Datagrams that were received, and bytes of them.
const RECEIVED_DATAGRAMS: usize = 64;
const RECEIVED_BYTES: usize = 128 << 10;
/// Likewise, that wait in one lane.
const SENT_DATAGRAMS: usize = 64;
const SENT_BYTES: usize = 64 << 10;
/// Next hops that datagrams wait for at a time: the router, and peers on the link.
const MAX_LANES: usize = 4;
/// A neighbour that does not answer for so long: what waits for it is dropped.
const STUCK_NS: u64 = 3_000_000_000;
/// So long smoltcp alone asks for it; then we do too, as often.
const ASK_NS: u64 = 1_000_000_000;

/// Too many datagrams wait for this next hop.
#[derive(Debug)]
pub struct NoRoom;

struct Lane {
    socket: SocketHandle,
    next_hop: IpAddr,
    /// Since when datagrams wait, for the neighbour or for room in the wire's queue.
    waits_since: Option<Instant>,
    ask_at: Instant,
}

/// Of one port.
pub struct Lanes {
    number: u16,
    pub receiver: SocketHandle,
    lanes: Vec<Lane>,
}

impl Lanes {
    /// `None`: the number is 0.
    pub fn new(number: u16, sockets: &mut SocketSet<'static>) -> Option<Self> {
        let mut socket = udp::Socket::new(buffer(RECEIVED_DATAGRAMS, RECEIVED_BYTES), buffer(0, 0));
        socket.bind(number).ok()?;
        Some(Self { number, receiver: sockets.add(socket), lanes: Vec::new() })
    }

    pub fn has_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| lane.waits_since.is_some())
    }

    /// When [`Lanes::look`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.lanes.iter().filter_map(|lane| Some((lane.waits_since?, lane.ask_at)));
        waiting.map(|(since, ask_at)| after(since, STUCK_NS).min(ask_at)).min()
    }

    pub fn send(
        &mut self,
        sockets: &mut SocketSet<'static>,
        next_hop: IpAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<(), NoRoom> {
        let at = self.lane_to(sockets, next_hop).ok_or(NoRoom)?;
        let lane = self.lanes.get(at).ok_or(NoRoom)?;
        sockets.get_mut::<udp::Socket<'_>>(lane.socket).send_slice(data, to).map_err(|_| NoRoom)
    }

    /// After the stack was polled: which lanes wait, and for how long. `ask` is given next hops to be asked for.
    pub fn look(&mut self, sockets: &mut SocketSet<'static>, now: Instant, ask: &mut dyn FnMut(IpAddr)) {
        for lane in &mut self.lanes {
            if sockets.get::<udp::Socket<'_>>(lane.socket).send_queue() == 0 {
                lane.waits_since = None;
                continue;
            }
            let since = *lane.waits_since.get_or_insert_with(|| {
                lane.ask_at = after(now, ASK_NS);
                now
            });
            if now > after(since, STUCK_NS) {
                lane.clear(sockets, self.number);
            } else if now >= lane.ask_at {
                lane.ask_at = after(now, ASK_NS);
                ask(lane.next_hop);
            }
        }
    }

    /// The lane to this next hop: its own, one where nothing waits, a new one, or the one that has waited longest, whose datagrams go.
    fn lane_to(&mut self, sockets: &mut SocketSet<'static>, next_hop: IpAddr) -> Option<usize> {
        if let Some(at) = self.lanes.iter().position(|lane| lane.next_hop == next_hop) {
            return Some(at);
        }
        if self.lanes.len() < MAX_LANES {
            let mut socket = udp::Socket::new(buffer(0, 0), buffer(SENT_DATAGRAMS, SENT_BYTES));
            socket.bind(self.number).ok()?;
            self.lanes.push(Lane { socket: sockets.add(socket), next_hop, waits_since: None, ask_at: Instant(0) });
            return Some(self.lanes.len().saturating_sub(1));
        }
        // `None`, nothing waits, is the least.
        let (at, lane) = self.lanes.iter_mut().enumerate().min_by_key(|(_, lane)| lane.waits_since)?;
        lane.clear(sockets, self.number);
        lane.next_hop = next_hop;
        Some(at)
    }
}

impl Lane {
    /// Drops what waits. The socket is added anew, so that it is not kept back for the sake of the old neighbour.
    fn clear(&mut self, sockets: &mut SocketSet<'static>, number: u16) {
        self.waits_since = None;
        if let Socket::Udp(mut socket) = sockets.remove(self.socket) {
            socket.close();
            // It was bound to this number before.
            let _ = socket.bind(number);
            // Into the place that has just become free: the receiver stays the first.
            self.socket = sockets.add(socket);
        }
    }
}

fn after(since: Instant, ns: u64) -> Instant {
    Instant(since.0.saturating_add(ns))
}

fn buffer(datagrams: usize, bytes: usize) -> udp::PacketBuffer<'static> {
    udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; datagrams], vec![0; bytes])
}
