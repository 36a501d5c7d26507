//! Guest memory in pieces, taken from the front.

use crate::Unserved;
use alloc::vec::Vec;
use mediator::GuestSegment;

/// The memory of a request, copied from the guest's own table, and how far it is used.
#[derive(Clone, Default, Debug)]
pub struct Scatter {
    segments: Vec<GuestSegment>,
    /// Where the next bytes begin.
    segment: usize,
    within: u32,
}

impl Scatter {
    pub fn new(segments: Vec<GuestSegment>) -> Self {
        Self { segments, segment: 0, within: 0 }
    }

    /// The next `len` bytes; they are used then.
    ///
    /// # Errors
    /// [`Unserved`]: there are not so many, or no memory.
    pub fn take(&mut self, len: usize) -> Result<Vec<GuestSegment>, Unserved> {
        let mut taken = Vec::new();
        let mut left = u32::try_from(len).map_err(|_| Unserved)?;
        while left > 0 {
            let segment = self.segments.get(self.segment).ok_or(Unserved)?;
            let at = segment.at.checked_add(u64::from(self.within)).ok_or(Unserved)?;
            let rest = segment.len_bytes.saturating_sub(self.within);
            let len_bytes = rest.min(left);
            taken.try_reserve(1).map_err(|_| Unserved)?;
            taken.push(GuestSegment { at, len_bytes });
            left = left.saturating_sub(len_bytes);
            if len_bytes == rest {
                self.segment = self.segment.saturating_add(1);
                self.within = 0;
            } else {
                self.within = self.within.saturating_add(len_bytes);
            }
        }
        Ok(taken)
    }

    /// Number of its pieces, used or not.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// What there is in all, used or not.
    pub fn len_bytes(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(u64::from(segment.len_bytes)))
    }
}
