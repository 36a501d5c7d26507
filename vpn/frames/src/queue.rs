//! Frames that wait.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A bounded queue of frames, first in, first out. Its buffers are used again: once each has been full, it allocates nothing.
#[derive(Default)]
pub struct FrameQueue {
    waiting: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    capacity: usize,
}

impl FrameQueue {
    /// A queue of at most `capacity` frames.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(capacity), spare: Vec::with_capacity(capacity), capacity }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.capacity
    }

    /// Appends a frame that is the parts one behind the other. False: the queue is full, and the frame is lost.
    pub fn push(&mut self, parts: &[&[u8]]) -> bool {
        if self.is_full() {
            return false;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        parts.iter().for_each(|part| buffer.extend_from_slice(part));
        self.waiting.push_back(buffer);
        true
    }

    /// Appends a frame of `len` zeros, to be filled.
    pub fn push_empty(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(len, 0);
        self.waiting.push_back(buffer);
        self.waiting.back_mut().map(Vec::as_mut_slice)
    }

    /// The oldest frame, at the start of `into`, and its length. One that `into` is too short for is lost.
    pub fn pop(&mut self, into: &mut [u8]) -> Option<usize> {
        while let Some(frame) = self.waiting.pop_front() {
            let len = frame.len();
            let place = into.get_mut(..len);
            let fits = place.is_some();
            if let Some(place) = place {
                place.copy_from_slice(&frame);
            }
            self.spare.push(frame);
            if fits {
                return Some(len);
            }
        }
        None
    }

    /// Takes the oldest frame out for `look`.
    pub fn pop_with<R>(&mut self, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let frame = self.waiting.pop_front()?;
        let result = look(&frame);
        self.spare.push(frame);
        Some(result)
    }

    pub fn clear(&mut self) {
        while let Some(frame) = self.waiting.pop_front() {
            self.spare.push(frame);
        }
    }
}
