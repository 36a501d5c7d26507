//! The service `vpn` ([`abi::vpn`]): tunnels by number, behind messages. The program in ring 3 is this and a loop; tests have it in their own
//! process.
//!
//! Whatever it is called with, it gives an answer or an error. It reads no clock and has no randomness of its own: both come with the
//! calls.
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

mod chance;
mod setup;
#[cfg(test)]
mod tests;
mod text;

use abi::vpn::{
    ANSWER_BYTES, Answer, Both, MAX_BATCH_BYTES, MAX_RECORD_BYTES, MAX_SETUP_BYTES, MAX_TUNNELS, RECORD_HEADER_BYTES,
    Request, START_BYTES, Side, Start, op, record_header,
};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use chance::{Chance, Clock};
use mediator::Instant;
use mediator::net::Tunnel as _;
use message::{Error, Leases};
use tunnel::{Tunnel, WireGuard};
use zeroize::Zeroizing;

/// A tunnel and what it was told last.
struct Slot {
    tunnel: Tunnel<WireGuard<Chance>>,
    clock: Clock,
    link_up: bool,
    /// The next line for the log, which was looked at and not asked for yet.
    event: Option<String>,
}

/// The service.
#[derive(Default)]
pub struct Server {
    tunnels: [Option<Slot>; MAX_TUNNELS],
    /// Batches, there and back. Allocated when there is a tunnel.
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Server {
    #[must_use]
    pub const fn new() -> Self {
        Self { tunnels: [const { None }; MAX_TUNNELS], request: Vec::new(), answer: Vec::new() }
    }

    /// Answers a call.
    ///
    /// # Errors
    /// [`Error::NotFound`]: no such tunnel; [`Error::BadArgument`]: leases that cannot be; [`Error::Refused`]: no such operation.
    pub fn handle(&mut self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        let number = usize::try_from(op >> op::SHIFT).map_err(|_| Error::NotFound)?;
        match op & op::MASK {
            op::TEXT => {
                let slot = self.slot(number)?;
                Ok(leases.write(0, 0, text::of(&slot.tunnel, slot.clock.now()).as_bytes())? as u64)
            }
            op::CONFIGURE => self.configure(number, leases),
            op::EXCHANGE => self.exchange(number, leases),
            op::EVENT => {
                let event = self.slot(number)?.take_event().unwrap_or_default();
                Ok(leases.write(0, 0, event.as_bytes())? as u64)
            }
            _ => Err(Error::Refused),
        }
    }

    fn slot(&mut self, number: usize) -> Result<&mut Slot, Error> {
        self.tunnels.get_mut(number).and_then(Option::as_mut).ok_or(Error::NotFound)
    }

    fn configure(&mut self, number: usize, leases: &mut dyn Leases) -> Result<u64, Error> {
        let slot = self.tunnels.get_mut(number).ok_or(Error::NotFound)?;
        // First of all: there is no memory for twice as many, and nothing of the old one is to go on.
        *slot = None;
        let (setup, start) = (read_setup(leases)?, read_start(leases)?);
        let start = Start::decode(&start).ok_or(Error::BadArgument)?;
        match setup::tunnel(&setup, &start) {
            Ok((mut tunnel, clock)) => {
                // Until told.
                tunnel.on_link(clock.now(), false);
                *slot = Some(Slot { tunnel, clock, link_up: false, event: None });
                self.request.resize(MAX_BATCH_BYTES, 0);
                self.answer.resize(MAX_BATCH_BYTES, 0);
                Ok(0)
            }
            Err(why) => Ok(leases.write(2, 0, why.to_string().as_bytes())? as u64),
        }
    }

    fn exchange(&mut self, number: usize, leases: &mut dyn Leases) -> Result<u64, Error> {
        let slot = self.tunnels.get_mut(number).and_then(Option::as_mut).ok_or(Error::NotFound)?;
        let len = leases.read(0, 0, &mut self.request)?;
        let batch = self.request.get(..len).unwrap_or_default();
        let (request, records) = Request::decode(batch).ok_or(Error::BadArgument)?;
        let now = slot.clock.advance(request.now_ns);
        let mut out = Out::new(&mut self.answer, request.room);
        slot.tell(now, request.link_up);
        for record in records {
            let (from, frame) = record.map_err(|_| Error::BadArgument)?;
            slot.tunnel.on_frame(now, side_of(from), frame);
            // The tunnel keeps few frames.
            out.fill(now, &mut slot.tunnel);
        }
        out.fill(now, &mut slot.tunnel);
        let answer = Answer {
            deadline_ns: slot.tunnel.poll_timeout().map(|at| at.0),
            is_up: slot.tunnel.is_up(),
            more: Both { guest: !out.has_room(Side::Guest), wire: !out.has_room(Side::Wire) },
            has_event: slot.has_event(),
        };
        Ok(leases.write(1, 0, out.end(&answer))? as u64)
    }
}

impl Slot {
    /// What has changed besides frames.
    fn tell(&mut self, now: Instant, link_up: bool) {
        if link_up != self.link_up {
            self.link_up = link_up;
            self.tunnel.on_link(now, link_up);
        }
        if self.tunnel.poll_timeout().is_some_and(|at| at <= now) {
            self.tunnel.on_timeout(now);
        }
    }

    fn has_event(&mut self) -> bool {
        self.event = self.take_event();
        self.event.is_some()
    }

    fn take_event(&mut self) -> Option<String> {
        self.event.take().or_else(|| self.tunnel.poll_event().map(|event| event.to_string()))
    }
}

/// A batch that is being filled.
struct Out<'a> {
    batch: &'a mut [u8],
    len: usize,
    room: Both<u32>,
}

impl<'a> Out<'a> {
    fn new(batch: &'a mut [u8], room: Both<u32>) -> Self {
        Self { batch, len: ANSWER_BYTES, room }
    }

    /// Would the longest frame for this side find room?
    fn has_room(&self, side: Side) -> bool {
        let left = self.batch.len().saturating_sub(self.len);
        left.min(*self.room.of(side) as usize) >= MAX_RECORD_BYTES
    }

    /// Takes what the tunnel hands out, as much as there is room for.
    fn fill(&mut self, now: Instant, tunnel: &mut dyn mediator::net::Tunnel) {
        loop {
            let (guest, wire) = (self.has_room(Side::Guest), self.has_room(Side::Wire));
            let room = |side| if side == mediator::net::Side::Guest { guest } else { wire };
            let place =
                self.batch.get_mut(self.len..).and_then(|place| place.split_at_mut_checked(RECORD_HEADER_BYTES));
            let Some((header, frame)) = place.filter(|_| guest || wire) else { return };
            let Some((side, len)) = tunnel.poll_transmit(now, &room, frame) else { return };
            let side = side_for(side);
            if let Some(record) = record_header(side, len) {
                header.copy_from_slice(&record);
                let used = RECORD_HEADER_BYTES.saturating_add(len);
                self.len = self.len.saturating_add(used);
                let room = self.room.of_mut(side);
                *room = room.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
            }
        }
    }

    /// The batch, whole.
    fn end(self, answer: &Answer) -> &'a [u8] {
        if let Some(header) = self.batch.get_mut(..ANSWER_BYTES) {
            header.copy_from_slice(&answer.encode());
        }
        self.batch.get(..self.len).unwrap_or_default()
    }
}

fn read_setup(leases: &dyn Leases) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (len, _) = leases.info(0).filter(|(len, _)| *len <= MAX_SETUP_BYTES).ok_or(Error::BadArgument)?;
    let mut setup = Zeroizing::new(vec![0; len]);
    let read = leases.read(0, 0, &mut setup)?;
    if read == len { Ok(setup) } else { Err(Error::BadArgument) }
}

fn read_start(leases: &dyn Leases) -> Result<Zeroizing<[u8; START_BYTES]>, Error> {
    let mut start = Zeroizing::new([0; START_BYTES]);
    let read = leases.read(1, 0, start.as_mut_slice())?;
    if read == START_BYTES { Ok(start) } else { Err(Error::BadArgument) }
}

fn side_of(side: Side) -> mediator::net::Side {
    match side {
        Side::Guest => mediator::net::Side::Guest,
        Side::Wire => mediator::net::Side::Wire,
    }
}

fn side_for(side: mediator::net::Side) -> Side {
    match side {
        mediator::net::Side::Guest => Side::Guest,
        mediator::net::Side::Wire => Side::Wire,
    }
}
