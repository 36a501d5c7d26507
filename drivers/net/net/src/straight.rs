//! No tunnel at all: frames go from one side to the other as they are.

use crate::FrameQueue;
use mediator::Instant;
use mediator::net::{Side, Tunnel};

/// Room for one packet of the longest with the headers of its segments, or as many frames as are taken at a time.
const CAPACITY_BYTES: usize = 256 << 10;

/// See the module. For cards whose guest may use the cable itself ([`mediator::net::NetPolicy::Pass`]).
pub struct Straight {
    to_guest: FrameQueue,
    to_wire: FrameQueue,
}

impl Default for Straight {
    fn default() -> Self {
        Self { to_guest: FrameQueue::new(CAPACITY_BYTES), to_wire: FrameQueue::new(CAPACITY_BYTES) }
    }
}

impl Tunnel for Straight {
    fn on_frame(&mut self, _: Instant, from: Side, frame: &[u8]) {
        // What does not fit is lost, as on a cable.
        let _ = match from {
            Side::Guest => self.to_wire.push(frame),
            Side::Wire => self.to_guest.push(frame),
        };
    }

    fn poll_transmit(&mut self, _: Instant, room_for: &dyn Fn(Side) -> bool, to: &mut [u8]) -> Option<(Side, usize)> {
        let waits =
            |side| room_for(side) && !if side == Side::Wire { &self.to_wire } else { &self.to_guest }.is_empty();
        let side = [Side::Wire, Side::Guest].into_iter().find(|side| waits(*side))?;
        let queue = if side == Side::Wire { &mut self.to_wire } else { &mut self.to_guest };
        queue.pop(to).map(|len| (side, len))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn on_timeout(&mut self, _: Instant) {}

    fn on_link(&mut self, _: Instant, _: bool) {}

    fn is_up(&self) -> bool {
        true
    }
}
