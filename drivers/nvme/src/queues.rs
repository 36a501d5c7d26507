//! A queue of the guest's together with its shadow, and what is in flight on it.

use crate::cmd::{Command, Completion, Status};
use crate::ring::{Ring, SQ_ENTRIES, ShadowCq, ShadowSq};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mediator::{BusAddr, DmaArena, Instant};

/// Most I/O queues of each kind that a guest gets.
pub const MAX_IO_QUEUES: u16 = 16;
/// The queues of admin commands.
pub const ADMIN: u16 = 0;

/// Commands of one queue that are under way at a time. A shadow holds one entry less than it has, and places are kept for
/// commands of ours: a [`Flight::Nudge`], and a few disks' requests of the VMM's own.
const MAX_OPEN: u32 = SQ_ENTRIES as u32 - 2 - MAX_OWN as u32;
/// Most of the latter.
pub const MAX_OWN: usize = 4;

/// Completions that a completion queue of ours may hold for the guest, until that has room for them.
pub const MAX_PENDING: usize = 256;

/// A command that the device has.
pub enum Flight {
    /// The guest's, by its command identifier; the device's answer is the guest's.
    Guest { id: u16, then: Then },
    /// A transfer of the request with this tag.
    Transfer { tag: u32 },
    /// A command that has no effect but the interrupt at its end.
    Nudge,
    /// One of ours, before the guest starts.
    Own,
}

impl Flight {
    /// Does the device end it by itself?
    fn ends(&self) -> bool {
        !matches!(self, Self::Guest { then: Then::Event, .. })
    }
}

/// What follows when a command was successful.
pub enum Then {
    Nothing,
    /// It is an event that may come at any time.
    Event,
    /// The result tells numbers of queues.
    CountQueues,
    Created(Box<NewQueue>),
    DeletedSq(u16),
    DeletedCq(u16),
}

/// A queue that the device is told of.
pub enum NewQueue {
    Sq(u16, Sq),
    Cq(u16, Cq),
}

/// A submission queue.
pub struct Sq {
    /// `None`: nobody but us has used it.
    pub ring: Option<Ring>,
    /// The next entry to copy, and the first that is not the guest's to have copied.
    pub head: u32,
    pub tail: u32,
    /// Its completion queue.
    pub cq: u16,
    pub shadow: ShadowSq,
    /// By identifier of the device's command.
    flights: Vec<Option<Flight>>,
    /// Those of them that the device ends by itself: all but events.
    flying: u32,
    /// Commands that were copied and whose completion the guest has not got.
    pub open: u32,
    /// Those of them that are events.
    pub events: u32,
    /// Nothing is copied or sent any more: it is being deleted, or its memory cannot be read.
    pub stopped: bool,
    /// The doorbell's writer is kept waiting until then.
    pub polled_until: Option<Instant>,
}

impl Sq {
    /// `None`: no memory.
    pub fn new(arena: &mut dyn DmaArena, ring: Option<Ring>, cq: u16) -> Option<Self> {
        let mut flights = Vec::new();
        flights.try_reserve_exact(SQ_ENTRIES.into()).ok()?;
        flights.resize_with(SQ_ENTRIES.into(), || None);
        let shadow = ShadowSq::new(arena)?;
        let (head, tail) = (0, 0);
        Some(Self {
            ring,
            head,
            tail,
            cq,
            shadow,
            flights,
            flying: 0,
            open: 0,
            events: 0,
            stopped: false,
            polled_until: None,
        })
    }

    pub fn free(self, arena: &mut dyn DmaArena) {
        self.shadow.free(arena);
        for flight in self.flights.into_iter().flatten() {
            if let Flight::Guest { then: Then::Created(queue), .. } = flight {
                queue.free(arena);
            }
        }
    }

    /// May the next command be copied?
    pub fn has_next(&self) -> bool {
        !self.stopped && self.head != self.tail && self.open < MAX_OPEN
    }

    /// Has every command but events come to its end?
    pub fn is_done(&self) -> bool {
        self.open == self.events && (self.head == self.tail || self.stopped)
    }

    pub fn free_slot(&self) -> Option<u16> {
        let slot = self.flights.iter().position(Option::is_none)?;
        // One entry of a queue stays empty (NVMe s. 4.1.2).
        u16::try_from(slot).ok().filter(|slot| *slot < SQ_ENTRIES - 1)
    }

    pub fn put(&mut self, arena: &mut dyn DmaArena, slot: u16, flight: Flight, command: Command) {
        if let Some(place) = self.flights.get_mut(usize::from(slot)) {
            self.flying = self.flying.saturating_add(u32::from(flight.ends()));
            *place = Some(flight);
            self.shadow.push(arena, &command.with_id(slot));
        }
    }

    pub fn take(&mut self, slot: u16) -> Option<Flight> {
        let flight = self.flights.get_mut(usize::from(slot))?.take()?;
        self.flying = self.flying.saturating_sub(u32::from(flight.ends()));
        Some(flight)
    }

    /// Is anything with the device that it will end by itself?
    pub fn is_flying(&self) -> bool {
        self.flying > 0
    }

    /// The device's identifier of a command that is passed as a whole.
    pub fn slot_of(&self, guest_id: u16) -> Option<u16> {
        let is_it = |flight: &Option<Flight>| matches!(flight, Some(Flight::Guest { id, .. }) if *id == guest_id);
        u16::try_from(self.flights.iter().position(is_it)?).ok()
    }
}

/// A completion queue.
pub struct Cq {
    pub ring: Option<Ring>,
    /// What the guest has told: the first entry that it has not taken.
    pub head: u32,
    /// The next entry to write, and its phase.
    pub tail: u32,
    pub phase: bool,
    pub shadow: ShadowCq,
    /// The guest is told by interrupt.
    pub interrupts: bool,
    /// What found no room yet.
    pub pending: VecDeque<Completion>,
    /// There was no room for something.
    pub starved: bool,
    /// Something was written that perhaps no interrupt will follow.
    pub owed: bool,
}

impl Cq {
    /// `None`: no memory. `entries` is the shadow's size, at most [`crate::ring::CQ_ENTRIES`].
    pub fn new(arena: &mut dyn DmaArena, ring: Option<Ring>, interrupts: bool, entries: u16) -> Option<Self> {
        let mut pending = VecDeque::new();
        pending.try_reserve_exact(MAX_PENDING).ok()?;
        let shadow = ShadowCq::new(arena, entries)?;
        let (head, tail) = (0, 0);
        Some(Self { ring, head, tail, phase: true, shadow, interrupts, pending, starved: false, owed: false })
    }

    pub fn free(self, arena: &mut dyn DmaArena) {
        self.shadow.free(arena);
    }

    /// Has the guest taken all that was written?
    pub fn is_drained(&self) -> bool {
        self.head == self.tail && self.pending.is_empty()
    }

    /// May the guest say that it has taken all before this entry?
    pub fn may_take(&self, head: u32) -> bool {
        let entries = self.ring.map_or(0, |ring| ring.entries);
        let ahead = |of: u32| of.wrapping_add(entries).wrapping_sub(self.head).checked_rem(entries).unwrap_or(0);
        ahead(head) <= ahead(self.tail)
    }

    pub fn advance(&mut self) {
        let Some(ring) = self.ring else { return };
        self.tail = ring.next(self.tail);
        self.phase ^= self.tail == 0;
    }

    /// The ring, if there is room for another entry in it.
    pub fn with_room(&self) -> Option<Ring> {
        self.ring.filter(|ring| ring.next(self.tail) != self.head)
    }
}

impl NewQueue {
    pub fn free(self, arena: &mut dyn DmaArena) {
        match self {
            Self::Sq(_, sq) => sq.free(arena),
            Self::Cq(_, cq) => cq.free(arena),
        }
    }
}

/// A request of the guest that goes through the arena.
pub struct Open {
    pub sq: u16,
    /// The guest's command identifier.
    pub id: u16,
    /// The command for the device, without addresses.
    pub template: Command,
    pub kind: Kind,
    /// What the device has said, in the end or when it failed.
    pub status: Status,
    pub result: u32,
    pub buffer: BusAddr,
    /// Interrupts that had come when the device ended its last transfer. `None`: it has none to end with.
    pub interrupts_seen: Option<u64>,
}

/// What a request moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Sectors,
    /// A list of unused sectors of the namespace at this place.
    Unused {
        place: usize,
    },
    IdentifyController,
    IdentifyNamespace,
    Data,
}
