//! Frames that wait, in memory that is allocated once.

use alloc::vec::Vec;

/// What stands before each frame: its length.
const LEN_BYTES: usize = 2;

/// A ring of bytes with frames in it, first in, first out; bounded by their bytes.
pub struct Queue {
    bytes: Vec<u8>,
    /// Where the first frame begins.
    start: usize,
    used: usize,
    frames: usize,
}

impl Queue {
    /// `None`: no memory.
    pub fn new(capacity_bytes: usize) -> Option<Self> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity_bytes).ok()?;
        bytes.resize(capacity_bytes, 0);
        Some(Self { bytes, start: 0, used: 0, frames: 0 })
    }

    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes that are free. A frame takes two more than it has.
    pub fn room(&self) -> usize {
        self.bytes.len().saturating_sub(self.used)
    }

    /// False: there is no room, and the frame is lost.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Ok(len) = u16::try_from(frame.len()) else { return false };
        if frame.len().saturating_add(LEN_BYTES) > self.room() {
            return false;
        }
        self.append(&len.to_le_bytes());
        self.append(frame);
        self.frames = self.frames.saturating_add(1);
        true
    }

    /// Length of the first frame.
    pub fn first_len(&self) -> Option<usize> {
        let mut len = [0; LEN_BYTES];
        self.peek(0, &mut len);
        (self.frames > 0).then(|| usize::from(u16::from_le_bytes(len)))
    }

    /// Takes the first frame out, to the start of `to`, and gives its length. One that `to` is too short for is lost.
    pub fn pop(&mut self, to: &mut [u8]) -> Option<usize> {
        let len = self.first_len()?;
        let fits = to.get_mut(..len).map(|to| self.peek(LEN_BYTES, to));
        let taken = LEN_BYTES.saturating_add(len);
        self.start = self.wrapped(self.start.saturating_add(taken));
        self.used = self.used.saturating_sub(taken);
        self.frames = self.frames.saturating_sub(1);
        fits.map(|()| len)
    }

    /// Drops all; gives how many there were.
    pub fn clear(&mut self) -> u64 {
        let frames = self.frames as u64;
        (self.start, self.used, self.frames) = (0, 0, 0);
        frames
    }

    fn append(&mut self, data: &[u8]) {
        let at = self.wrapped(self.start.saturating_add(self.used));
        let (wrapped, place) = self.bytes.split_at_mut_checked(at).unwrap_or_default();
        let (head, tail) = data.split_at_checked(place.len()).unwrap_or((data, &[]));
        for (place, part) in [(place, head), (wrapped, tail)] {
            if let Some(place) = place.get_mut(..part.len()) {
                place.copy_from_slice(part);
            }
        }
        self.used = self.used.saturating_add(data.len());
    }

    /// Copies what lies `offset` bytes behind the start.
    fn peek(&self, offset: usize, to: &mut [u8]) {
        let at = self.wrapped(self.start.saturating_add(offset));
        let (wrapped, place) = self.bytes.split_at_checked(at).unwrap_or_default();
        let first = to.len().min(place.len());
        let (head, tail) = to.split_at_mut_checked(first).unwrap_or_default();
        for (part, place) in [(head, place), (tail, wrapped)] {
            if let Some(place) = place.get(..part.len()) {
                part.copy_from_slice(place);
            }
        }
    }

    fn wrapped(&self, at: usize) -> usize {
        at.checked_sub(self.bytes.len()).unwrap_or(at)
    }
}
