//! Frames that wait, in memory that is allocated once.

use alloc::boxed::Box;
use alloc::vec;

/// What stands before each frame: its length.
const LEN_BYTES: usize = 2;

/// A queue of frames, bounded by their bytes. A frame that does not fit is not taken.
pub struct FrameQueue {
    bytes: Box<[u8]>,
    /// Where the first frame begins.
    start: usize,
    used: usize,
    frames: usize,
}

impl FrameQueue {
    /// Room for so many bytes, of which each frame takes two more than it has.
    pub fn new(capacity_bytes: usize) -> Self {
        Self { bytes: vec![0; capacity_bytes].into_boxed_slice(), start: 0, used: 0, frames: 0 }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames
    }

    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// False: there is no room, or it is no frame that could be.
    #[must_use]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let Ok(len) = u16::try_from(frame.len()) else { return false };
        let needed = frame.len().saturating_add(LEN_BYTES);
        if frame.is_empty() || needed > self.bytes.len().saturating_sub(self.used) {
            return false;
        }
        self.append(&len.to_le_bytes());
        self.append(frame);
        self.frames = self.frames.saturating_add(1);
        true
    }

    /// Takes the first frame out, to the start of `to`, and gives its length. One that is longer than `to` is lost.
    pub fn pop(&mut self, to: &mut [u8]) -> Option<usize> {
        self.frames = self.frames.checked_sub(1)?;
        let mut len = [0; LEN_BYTES];
        self.take(LEN_BYTES, &mut len);
        let len = usize::from(u16::from_le_bytes(len));
        match to.get_mut(..len) {
            Some(to) => self.take(len, to),
            None => self.take(len, &mut []),
        }
        (len <= to.len()).then_some(len)
    }

    fn append(&mut self, data: &[u8]) {
        let at = self.wrapped(self.start.saturating_add(self.used));
        let first = data.len().min(self.bytes.len().saturating_sub(at));
        let (head, tail) = data.split_at_checked(first).unwrap_or((data, &[]));
        copy(self.bytes.get_mut(at..), head);
        copy(Some(&mut self.bytes), tail);
        self.used = self.used.saturating_add(data.len());
    }

    /// Drops the first `len` bytes, having copied as many as `to` holds.
    fn take(&mut self, len: usize, to: &mut [u8]) {
        let upper = self.bytes.get(self.start..).unwrap_or_default();
        let bytes = upper.iter().chain(self.bytes.iter());
        to.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.start = self.wrapped(self.start.saturating_add(len));
        self.used = self.used.saturating_sub(len);
    }

    fn wrapped(&self, at: usize) -> usize {
        at.checked_sub(self.bytes.len()).unwrap_or(at)
    }
}

fn copy(to: Option<&mut [u8]>, from: &[u8]) {
    if let Some(to) = to.and_then(|to| to.get_mut(..from.len())) {
        to.copy_from_slice(from);
    }
}
