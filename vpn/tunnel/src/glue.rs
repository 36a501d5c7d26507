//! The contract of network mediators, over both sides and the protocol.

use crate::event::Event;
use crate::names::{Name, Names};
use crate::protocol::{Protocol, Step};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use inside::Inside;
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, Side};
use outside::{Outside, SendError};

/// Room for a packet or datagram of the greatest length, with headers and padding.
const BUFFER_BYTES: usize = MAX_FRAME_BYTES + 512;
/// Datagrams that a protocol may hand out after one call; more wait for the next one.
const MAX_STEPS: usize = 256;
/// Lines that wait for the log; more are lost.
const MAX_EVENTS: usize = 16;

/// Wrapping; besides those of both sides and of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets of the guest that were dropped because the wire had no address.
    pub no_wire: u64,
    /// Datagrams of the protocol that could not be sent: no way there, too long, no room.
    pub unreachable: u64,
    pub too_long: u64,
    pub no_room: u64,
}

/// A tunnel over a protocol.
pub struct Tunnel<P> {
    inside: Inside,
    carrier: Carrier<P>,
    names: Names,
    events: VecDeque<Event>,
    wire: (Option<core::net::Ipv4Addr>, Option<core::net::Ipv6Addr>),
    /// Of the wire, as it was last known.
    mtu: Option<u16>,
    is_up: bool,
    deadline: Option<Instant>,
    /// Frames were taken since the deadline was reckoned: the stack on the wire has none while they wait.
    is_taken_from: bool,
}

/// The protocol and what carries its datagrams.
struct Carrier<P> {
    protocol: P,
    outside: Outside,
    counters: Counters,
    buffer: Vec<u8>,
}

impl<P: Protocol> Tunnel<P> {
    #[must_use]
    pub fn new(inside: Inside, outside: Outside, protocol: P, names: Vec<Name>, now: Instant) -> Self {
        let carrier = Carrier { protocol, outside, counters: Counters::default(), buffer: vec![0; BUFFER_BYTES] };
        let mut tunnel = Self {
            inside,
            carrier,
            names: Names::new(names, now),
            events: VecDeque::new(),
            wire: (None, None),
            mtu: None,
            is_up: false,
            deadline: None,
            is_taken_from: false,
        };
        tunnel.tell(Event::Down);
        tunnel.settle(now);
        tunnel
    }

    #[must_use]
    pub fn inside(&self) -> &Inside {
        &self.inside
    }

    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.carrier.outside
    }

    #[must_use]
    pub fn protocol(&self) -> &P {
        &self.carrier.protocol
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.carrier.counters
    }

    /// The next line for the log.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell(&mut self, event: Event) {
        tell(&mut self.events, event);
    }

    fn next_frame(&mut self, room_for: &dyn Fn(Side) -> bool, frame: &mut [u8]) -> Option<(Side, usize)> {
        if room_for(Side::Wire)
            && let Some(len) = self.carrier.outside.poll_frame(frame)
        {
            self.is_taken_from = true;
            return Some((Side::Wire, len));
        }
        if !room_for(Side::Guest) {
            return None;
        }
        self.inside.poll_frame(frame).map(|len| (Side::Guest, len))
    }

    /// Moves everything on that can move, and looks what has changed.
    fn settle(&mut self, now: Instant) {
        self.carrier.receive(now, &mut self.inside);
        self.follow_mtu();
        if self.carrier.has_wire() {
            let Self { names, carrier, events, .. } = self;
            names.poll(now, &mut carrier.outside, &mut carrier.protocol, &mut |event| tell(events, event));
            self.carrier.transmit(now, &mut self.inside);
        }
        let wire = self.carrier.outside.addresses();
        if wire != self.wire {
            self.wire = wire;
            self.tell(Event::Wire { v4: wire.0, v6: wire.1 });
        }
        let is_up = self.carrier.has_wire() && self.carrier.protocol.is_up();
        if is_up != self.is_up {
            self.is_up = is_up;
            self.tell(if is_up { Event::Up } else { Event::Down });
        }
        self.reckon_deadline(now);
    }

    /// What the wire takes bounds what the guest may send, before it is sealed: too long a datagram would be lost without a word.
    fn follow_mtu(&mut self) {
        let Carrier { protocol, outside, .. } = &mut self.carrier;
        let mtu = outside.mtu();
        if self.mtu != Some(mtu) {
            self.mtu = Some(mtu);
            self.inside.limit_mtu(mtu.saturating_sub(protocol.overhead_bytes()));
            protocol.set_mtu(self.inside.link().mtu());
        }
    }

    fn reckon_deadline(&mut self, now: Instant) {
        let protocol = &self.carrier.protocol;
        let due = if self.carrier.has_wire() {
            protocol.poll_timeout().into_iter().chain(self.names.poll_timeout(protocol)).min()
        } else {
            protocol.wipe_timeout()
        };
        let sides = [self.carrier.outside.poll_timeout(now), self.inside.poll_timeout()];
        self.deadline = due.into_iter().chain(sides.into_iter().flatten()).min();
        self.is_taken_from = false;
    }
}

fn tell(events: &mut VecDeque<Event>, event: Event) {
    if events.len() < MAX_EVENTS {
        events.push_back(event);
    }
}

impl<P: Protocol> Carrier<P> {
    /// Could anything be sent? Without, the protocol is left alone: its first try would be lost, and the next one a pause away.
    fn has_wire(&self) -> bool {
        self.outside.has_address()
    }

    /// A packet of the guest's.
    fn on_packet(&mut self, now: Instant, packet: &[u8]) {
        if !self.has_wire() {
            self.counters.no_wire = self.counters.no_wire.wrapping_add(1);
            return;
        }
        let headroom = self.protocol.headroom_bytes();
        let Some(place) = self.buffer.get_mut(headroom..).and_then(|rest| rest.get_mut(..packet.len())) else {
            return;
        };
        place.copy_from_slice(packet);
        if let Step::Datagram { port, to, range } = self.protocol.on_packet(now, &mut self.buffer, packet.len()) {
            self.send(now, port, to, range);
        }
    }

    /// Datagrams that have come.
    fn receive(&mut self, now: Instant, inside: &mut Inside) {
        while let Some((port, from, len)) = self.outside.receive(&mut self.buffer) {
            let Some(datagram) = self.buffer.get_mut(..len) else { continue };
            let step = self.protocol.on_datagram(now, port, from, datagram);
            self.perform(now, step, inside);
        }
    }

    /// Whatever the protocol has to say.
    fn transmit(&mut self, now: Instant, inside: &mut Inside) {
        for _ in 0..MAX_STEPS {
            match self.protocol.poll_transmit(now, &mut self.buffer) {
                Step::Nothing => return,
                step => self.perform(now, step, inside),
            }
        }
    }

    fn perform(&mut self, now: Instant, step: Step, inside: &mut Inside) {
        match step {
            Step::Datagram { port, to, range } => self.send(now, port, to, range),
            Step::Packet(range) => inside.on_packet(self.buffer.get(range).unwrap_or_default()),
            Step::Nothing => {}
        }
    }

    fn send(&mut self, now: Instant, port: usize, to: core::net::SocketAddr, range: core::ops::Range<usize>) {
        let datagram = self.buffer.get(range).unwrap_or_default();
        let Err(why) = self.outside.send(now, port, to, datagram) else { return };
        let counter = match why {
            SendError::Unreachable | SendError::NoSuchPort => &mut self.counters.unreachable,
            SendError::TooLong => &mut self.counters.too_long,
            SendError::NoRoom => &mut self.counters.no_room,
        };
        *counter = counter.wrapping_add(1);
    }
}

impl<P: Protocol> mediator::net::Tunnel for Tunnel<P> {
    fn on_frame(&mut self, now: Instant, from: Side, frame: &[u8]) {
        match from {
            Side::Guest => {
                let Self { inside, carrier, .. } = self;
                inside.on_frame(now, frame, &mut |packet| carrier.on_packet(now, packet));
            }
            Side::Wire => self.carrier.outside.on_frame(now, frame),
        }
        self.settle(now);
    }

    fn poll_transmit(
        &mut self,
        now: Instant,
        room_for: &dyn Fn(Side) -> bool,
        frame: &mut [u8],
    ) -> Option<(Side, usize)> {
        let found = self.next_frame(room_for, frame);
        if found.is_some() {
            return found;
        }
        if !self.carrier.outside.has_waiting() {
            if self.is_taken_from {
                self.reckon_deadline(now);
            }
            return None;
        }
        // Datagrams that found no room before may find it now.
        self.carrier.outside.on_timeout(now);
        self.settle(now);
        self.next_frame(room_for, frame)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn on_timeout(&mut self, now: Instant) {
        self.inside.on_timeout(now);
        self.carrier.outside.on_timeout(now);
        if self.carrier.has_wire() {
            self.carrier.protocol.on_timeout(now);
        } else {
            self.carrier.protocol.wipe(now);
        }
        self.settle(now);
    }

    fn on_link(&mut self, now: Instant, up: bool) {
        self.carrier.outside.on_link(now, up);
        self.settle(now);
    }

    fn is_up(&self) -> bool {
        self.is_up
    }
}
