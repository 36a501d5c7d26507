//! Queues as the device has them.

use super::command::{Entry, Reply};
use crate::{Bus, DmaFault};

/// A submission queue.
#[derive(Clone, Debug)]
pub struct DeviceSq {
    pub base: u64,
    pub size: u32,
    pub head: u32,
    pub tail: u32,
    pub cq: u16,
}

/// A completion queue.
#[derive(Clone, Debug)]
pub struct DeviceCq {
    pub base: u64,
    pub size: u32,
    pub head: u32,
    pub tail: u32,
    pub phase: bool,
    /// Interrupt vector.
    pub vector: Option<u16>,
}

/// Queues belong into the arena: what the guest can change is no queue.
pub fn audit(bus: &mut Bus<'_>, at: u64, len_bytes: u64) {
    if bus.mediated && !bus.arena.holds(at, len_bytes) {
        bus.fault(DmaFault::TableOutsideArena { at });
    }
}

impl DeviceSq {
    pub fn fetch(&mut self, bus: &mut Bus<'_>) -> Option<Entry> {
        if self.head == self.tail {
            return None;
        }
        let at = self.base + 64 * u64::from(self.head);
        audit(bus, at, 64);
        let mut bytes = [0; 64];
        bus.read(at, &mut bytes);
        self.head = (self.head + 1) % self.size;
        Some(Entry::parse(&bytes))
    }
}

impl DeviceCq {
    pub fn is_full(&self) -> bool {
        (self.tail + 1) % self.size == self.head
    }

    pub fn post(&mut self, bus: &mut Bus<'_>, reply: Reply) {
        let at = self.base + 16 * u64::from(self.tail);
        audit(bus, at, 16);
        bus.write(at, &Reply { phase: self.phase, ..reply }.bytes());
        self.tail = (self.tail + 1) % self.size;
        self.phase ^= self.tail == 0;
    }
}
