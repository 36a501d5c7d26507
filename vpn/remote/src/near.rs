//! The end at the card.

use crate::link::{LEAST_ROOM_BYTES, Link, add};
use crate::side_for;
use alloc::sync::Arc;
use mediator::Instant;
use mediator::net::{MAX_FRAME_BYTES, Side, Tunnel};

/// What a network mediator is given.
pub struct Near(Arc<Link>);

impl Near {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    /// A second one, to do what another CPU does meanwhile.
    #[cfg(test)]
    pub(crate) fn clone_for_tests(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Tunnel for Near {
    fn on_frame(&mut self, _: Instant, from: Side, frame: &[u8]) {
        let side = side_for(from);
        let mut link = self.0.0.lock();
        let link = &mut *link;
        if !link.is_served {
            add(link.counters.down.of_mut(side), 1);
        } else if (1..=MAX_FRAME_BYTES).contains(&frame.len()) && link.from.of_mut(side).push(frame) {
            link.ring();
        } else {
            add(link.counters.full.of_mut(side), 1);
        }
    }

    fn poll_transmit(
        &mut self,
        _: Instant,
        room_for: &dyn Fn(Side) -> bool,
        frame: &mut [u8],
    ) -> Option<(Side, usize)> {
        let mut link = self.0.0.lock();
        let link = &mut *link;
        for to in [Side::Wire, Side::Guest] {
            let side = side_for(to);
            let queue = link.to.of_mut(side);
            if queue.is_empty() || !room_for(to) {
                continue;
            }
            let len = queue.pop(frame);
            // What the program has kept back finds room again: half of it, so that the next call is worth its while.
            if *link.more.of(side) && (queue.is_empty() || queue.room() >= crate::link::QUEUE_BYTES / 2) {
                link.ring();
            }
            if let Some(len) = len {
                return Some((to, len));
            }
        }
        None
    }

    /// The far end has a clock of its own.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn on_timeout(&mut self, _: Instant) {}

    fn on_link(&mut self, _: Instant, up: bool) {
        let mut link = self.0.0.lock();
        link.link_up = up;
        if !up {
            // Nobody takes them, and what follows is for another network.
            let late = link.to.wire.clear();
            add(&mut link.counters.late.wire, late);
        }
        link.ring();
    }

    fn is_up(&self) -> bool {
        self.0.0.lock().is_up
    }
}

const _: () = assert!(crate::link::QUEUE_BYTES / 2 >= LEAST_ROOM_BYTES);
