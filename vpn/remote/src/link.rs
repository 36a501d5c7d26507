//! What both ends share, behind a lock that is held for a copy at most.

use crate::queue::Queue;
use abi::vpn::{Both, MAX_FRAME_BYTES, Side};
use alloc::sync::Arc;
use core::task::Waker;
use lock::{Ranked, rank::TUNNEL};

/// Of each queue: what a full ring of either card holds in usual frames, and some long ones.
pub const QUEUE_BYTES: usize = 128 << 10;
/// With less room than this a side gets nothing more.
pub const LEAST_ROOM_BYTES: usize = MAX_FRAME_BYTES + 2;

/// Frames, unless stated otherwise. All wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// To the program and from it, by the side that sent them or gets them.
    pub taken: Both<u64>,
    pub given: Both<u64>,
    /// Of the side that sent them: there was no room.
    pub full: Both<u64>,
    /// Of the side that sent them: there was no program, or its end has taken them along.
    pub down: Both<u64>,
    /// From the program for a side: it was told that there is no room, or it did not live to see them taken.
    pub late: Both<u64>,
    /// Calls to exchange frames.
    pub exchanges: u64,
    /// Lives of the program that have come to their end.
    pub losses: u64,
}

/// Behind the lock.
pub struct Inner {
    /// From a side to the program.
    pub from: Both<Queue>,
    /// From the program to a side.
    pub to: Both<Queue>,
    /// The program has more for a side, which had no room.
    pub more: Both<bool>,
    /// The cable.
    pub link_up: bool,
    /// There is a program that takes frames.
    pub is_served: bool,
    /// As it has told last.
    pub is_up: bool,
    pub counters: Counters,
    /// There is something to do for the far end, who waits there.
    rung: bool,
    waker: Option<Waker>,
}

pub struct Link(pub Ranked<Inner, TUNNEL>);

impl Link {
    /// `None`: no memory.
    pub fn new() -> Option<Self> {
        let queue = || Queue::new(QUEUE_BYTES);
        let queues = || Some(Both { guest: queue()?, wire: queue()? });
        Some(Self(Ranked::new(Inner {
            from: queues()?,
            to: queues()?,
            more: Both::default(),
            link_up: false,
            is_served: false,
            is_up: false,
            counters: Counters::default(),
            rung: false,
            waker: None,
        })))
    }
}

impl Inner {
    pub fn ring(&mut self) {
        self.rung = true;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Was it rung? If not, `waker` is told when it is.
    pub fn take_rung(&mut self, waker: &Waker) -> bool {
        if core::mem::take(&mut self.rung) {
            return true;
        }
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
        false
    }

    /// Is there something that the program has not got, or could give now?
    pub fn has_work(&self) -> bool {
        let can_go_on = |side| *self.more.of(side) && self.to.of(side).room() >= LEAST_ROOM_BYTES;
        !self.from.guest.is_empty() || !self.from.wire.is_empty() || can_go_on(Side::Guest) || can_go_on(Side::Wire)
    }

    /// The program is gone, and so is all that was on its way.
    pub fn drop_all(&mut self) {
        (self.is_served, self.is_up, self.more) = (false, false, Both::default());
        for side in [Side::Guest, Side::Wire] {
            add(self.counters.down.of_mut(side), self.from.of_mut(side).clear());
            add(self.counters.late.of_mut(side), self.to.of_mut(side).clear());
        }
    }
}

pub fn add(counter: &mut u64, frames: u64) {
    *counter = counter.wrapping_add(frames);
}

/// For whoever asks what a tunnel does.
#[derive(Clone)]
pub struct Watch(pub(crate) Arc<Link>);

impl Watch {
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.0.lock().counters
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.0.lock().is_up
    }
}
