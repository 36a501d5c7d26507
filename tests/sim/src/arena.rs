//! The DMA arena, with allocations that fail on demand and leaks that show.

use crate::ARENA;
use mediator::{BusAddr, DmaArena, DmaBuffer, OutOfArena};
use std::collections::BTreeMap;

/// First fit over [`ARENA`].
pub struct SimArena {
    bytes: Vec<u8>,
    /// Start and length of what is allocated.
    live: BTreeMap<u64, usize>,
    /// From here on nothing was ever allocated, so all is zero.
    fresh: u64,
    /// Grows whenever the contents or the buffers may have changed.
    pub version: u64,
    /// Allocations asked for so far.
    pub asked: u64,
    /// The allocation of this number (counted by `asked`, from 0) fails.
    pub fail_nth: Option<u64>,
    /// Every allocation fails.
    pub exhausted: bool,
}

impl Default for SimArena {
    fn default() -> Self {
        let bytes = vec![0; (ARENA.end - ARENA.start) as usize];
        Self {
            bytes,
            live: BTreeMap::new(),
            fresh: ARENA.start,
            version: 0,
            asked: 0,
            fail_nth: None,
            exhausted: false,
        }
    }
}

impl SimArena {
    /// Buffers that are allocated and not yet freed.
    pub fn live_buffers(&self) -> usize {
        self.live.len()
    }

    /// Bytes that are allocated and not yet freed.
    pub fn live_bytes(&self) -> usize {
        self.live.values().sum()
    }

    /// The whole arena, freed parts included.
    pub fn peek(&self) -> &[u8] {
        &self.bytes
    }

    /// Does the range lie wholly inside one live buffer?
    pub fn holds(&self, at: u64, len_bytes: u64) -> bool {
        let Some(end) = at.checked_add(len_bytes) else { return false };
        self.live.range(..=at).next_back().is_some_and(|(&start, &len)| end <= start + len as u64)
    }

    /// The bytes as a device sees them; `None` outside the live buffers.
    pub fn as_device(&mut self, at: u64, len_bytes: usize) -> Option<&mut [u8]> {
        let holds = self.holds(at, len_bytes as u64);
        self.version += 1;
        let offset = at.checked_sub(ARENA.start)? as usize;
        holds.then(|| &mut self.bytes[offset..offset + len_bytes])
    }

    /// First fit.
    fn place(&self, len_bytes: usize, align: u64) -> Option<u64> {
        let mut at = ARENA.start.next_multiple_of(align);
        for (&start, &len) in &self.live {
            if at + len_bytes as u64 <= start {
                break;
            }
            at = (start + len as u64).next_multiple_of(align).max(at);
        }
        (at + len_bytes as u64 <= ARENA.end).then_some(at)
    }
}

impl DmaArena for SimArena {
    fn alloc(&mut self, len_bytes: usize, align: usize) -> Option<DmaBuffer> {
        assert!(len_bytes > 0 && align.is_power_of_two(), "alloc of {len_bytes} bytes at {align}");
        let number = self.asked;
        self.asked += 1;
        if self.exhausted || self.fail_nth == Some(number) {
            return None;
        }
        let at = self.place(len_bytes, align as u64)?;
        self.live.insert(at, len_bytes);
        let used = (self.fresh.saturating_sub(at) as usize).min(len_bytes);
        self.fresh = self.fresh.max(at + len_bytes as u64);
        self.as_device(at, len_bytes)?[..used].fill(0);
        Some(DmaBuffer::new(BusAddr(at), len_bytes))
    }

    fn free(&mut self, buffer: DmaBuffer) {
        let at = buffer.bus_addr().0;
        assert_eq!(self.live.get(&at), Some(&buffer.len_bytes()), "free of what is not allocated: {buffer:?}");
        // What is used after its end shall not look right by accident.
        self.as_device(at, buffer.len_bytes()).into_iter().for_each(|bytes| bytes.fill(0xdd));
        self.live.remove(&at);
        self.version += 1;
    }

    /// Stricter than the contract: the piece must lie inside one live buffer.
    fn bytes(&mut self, at: BusAddr, len_bytes: usize) -> Result<&mut [u8], OutOfArena> {
        self.as_device(at.0, len_bytes).ok_or(OutOfArena)
    }
}
