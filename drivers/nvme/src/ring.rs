//! Queues: the guest's, in its memory, and our shadows, in the arena (NVMe s. 4.1).

use crate::cmd::{Command, Completion};
use crate::prp::LIST_BYTES;
use crate::spec::{CQE_BYTES, PAGE_BYTES, SQE_BYTES};
use mediator::{BusAddr, Ctx, DmaArena, DmaBuffer, Gpa, GuestMemory, NotRam, Width};

/// Entries of a submission queue of ours: a page of them.
pub const SQ_ENTRIES: u16 = (PAGE_BYTES as usize / SQE_BYTES) as u16;
/// Entries of a completion queue of ours. Where more submission queues share it, the device waits for us.
pub const CQ_ENTRIES: u16 = (PAGE_BYTES as usize / CQE_BYTES) as u16;

/// A queue of the guest's. Positions stay below `entries`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    pub base: Gpa,
    /// 2 to 65536.
    pub entries: u32,
}

impl Ring {
    fn at(&self, index: u32, entry_bytes: usize) -> Option<Gpa> {
        self.base.checked_add(u64::from(index).checked_mul(entry_bytes as u64)?)
    }

    pub fn next(&self, index: u32) -> u32 {
        let next = index.saturating_add(1);
        if next >= self.entries { 0 } else { next }
    }

    /// Copies a submission queue entry, once.
    ///
    /// # Errors
    /// It lies in no RAM of the guest.
    pub fn fetch(&self, guest: &mut dyn GuestMemory, index: u32) -> Result<Command, NotRam> {
        let mut bytes = [0; SQE_BYTES];
        guest.read(self.at(index, SQE_BYTES).ok_or(NotRam(self.base))?, &mut bytes)?;
        Ok(Command::parse(&bytes))
    }

    /// Writes a completion queue entry; the dword that holds the phase comes last and at once, because a guest may look at it at any
    /// time.
    ///
    /// # Errors
    /// It lies in no RAM of the guest.
    pub fn post(&self, guest: &mut dyn GuestMemory, index: u32, completion: &Completion) -> Result<(), NotRam> {
        let at = self.at(index, CQE_BYTES).ok_or(NotRam(self.base))?;
        let bytes = completion.encode();
        let (first, last) = bytes.split_at(CQE_BYTES - 4);
        guest.write(at, first)?;
        let at = at.checked_add(first.len() as u64).ok_or(NotRam(at))?;
        let new = last.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let mut old = [0; 4];
        guest.read(at, &mut old)?;
        let old = u32::from_le_bytes(old);
        if !guest.compare_exchange(at, Width::Dword, old.into(), new.into())? {
            // The guest writes its own completion queue meanwhile; what it then sees is its own affair.
            guest.write(at, last)?;
        }
        Ok(())
    }
}

/// A submission queue of ours.
pub struct ShadowSq {
    entries: DmaBuffer,
    /// A PRP list for each entry's command.
    lists: DmaBuffer,
    tail: u16,
    /// The device knows the tail.
    rung: bool,
}

impl ShadowSq {
    /// `None`: the arena is full.
    pub fn new(arena: &mut dyn DmaArena) -> Option<Self> {
        let page = PAGE_BYTES as usize;
        let entries = arena.alloc(page, page)?;
        match arena.alloc(LIST_BYTES.saturating_mul(SQ_ENTRIES.into()), page) {
            Some(lists) => Some(Self { entries, lists, tail: 0, rung: true }),
            None => {
                arena.free(entries);
                None
            }
        }
    }

    /// The device does not know the queue any more.
    pub fn free(self, arena: &mut dyn DmaArena) {
        arena.free(self.entries);
        arena.free(self.lists);
    }

    pub fn bus_addr(&self) -> BusAddr {
        self.entries.bus_addr()
    }

    /// Where the PRP list of the command in flight number `slot` lies.
    pub fn list(&self, slot: u16) -> Option<BusAddr> {
        self.lists.bus_addr().checked_add(u64::from(slot).checked_mul(LIST_BYTES as u64)?)
    }

    /// Puts a command in. Fewer than [`SQ_ENTRIES`] are with the device.
    pub fn push(&mut self, arena: &mut dyn DmaArena, command: &Command) {
        let at = self.bus_addr().checked_add(u64::from(self.tail).wrapping_mul(SQE_BYTES as u64));
        if let Some(bytes) = at.and_then(|at| arena.bytes(at, SQE_BYTES).ok()) {
            bytes.copy_from_slice(&command.encode());
        }
        self.tail = wrap(self.tail, SQ_ENTRIES);
        self.rung = false;
    }

    /// The tail that the device has to be told, if it does not know it.
    pub fn take_doorbell(&mut self) -> Option<u16> {
        (!core::mem::replace(&mut self.rung, true)).then_some(self.tail)
    }
}

/// A completion queue of ours.
pub struct ShadowCq {
    entries: DmaBuffer,
    /// At most [`CQ_ENTRIES`].
    size: u16,
    head: u16,
    /// What the phase of the next new entry is.
    phase: bool,
    /// Entries taken that the device has not been told of.
    taken: u16,
}

impl ShadowCq {
    /// `None`: the arena is full.
    pub fn new(arena: &mut dyn DmaArena, size: u16) -> Option<Self> {
        let page = PAGE_BYTES as usize;
        Some(Self { entries: arena.alloc(page, page)?, size, head: 0, phase: true, taken: 0 })
    }

    /// The device does not know the queue any more.
    pub fn free(self, arena: &mut dyn DmaArena) {
        arena.free(self.entries);
    }

    pub fn bus_addr(&self) -> BusAddr {
        self.entries.bus_addr()
    }

    /// The next new completion.
    pub fn take(&mut self, cx: &mut Ctx<'_>) -> Option<Completion> {
        let at = self.bus_addr().checked_add(u64::from(self.head).wrapping_mul(CQE_BYTES as u64))?;
        let bytes: [u8; CQE_BYTES] = *cx.arena.bytes(at, CQE_BYTES).ok()?.first_chunk()?;
        let completion = Completion::parse(&bytes);
        if completion.phase != self.phase {
            return None;
        }
        self.head = wrap(self.head, self.size);
        self.phase ^= self.head == 0;
        self.taken = self.taken.saturating_add(1);
        Some(completion)
    }

    /// Has anything been taken that the device has not been told of?
    pub fn has_taken(&self) -> bool {
        self.taken > 0
    }

    /// The head that the device is to be told: with `all` whatever it does not know, else only what keeps it from running full.
    ///
    /// A device that signals by pin takes its interrupt back then, so that the guest is left to take it first.
    pub fn take_doorbell(&mut self, all: bool) -> Option<u16> {
        let due = self.taken > if all { 0 } else { self.size >> 1 };
        due.then(|| {
            self.taken = 0;
            self.head
        })
    }
}

fn wrap(index: u16, entries: u16) -> u16 {
    let next = index.saturating_add(1);
    if next >= entries { 0 } else { next }
}
