//! Bulk copy and transform, separated from the decision to make them.

use crate::disk::SectorTransform;
use crate::{BusAddr, Ctx, DmaArena, Gpa, GuestMemory, NotRam, OutOfArena};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Guest memory is copied to the bounce buffer, then encrypted there: a write of the guest.
    GuestToDevice,
    /// The bounce buffer is decrypted in place, then copied to guest memory: a read of the guest.
    DeviceToGuest,
}

/// A piece of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestSegment {
    pub at: Gpa,
    pub len_bytes: u32,
}

/// Sectors of the bounce buffer that are transformed. What no run covers stays as it is (plain sectors).
#[derive(Clone)]
pub struct TransformRun {
    /// Bytes from the start of the bounce range.
    pub offset_bytes: usize,
    pub len_bytes: usize,
    /// Tweak of the first sector: its number from the start of the protected range.
    pub first_sector: u64,
    pub transform: Arc<dyn SectorTransform>,
}

/// One copy between guest memory and the arena with the transform between.
pub struct Work {
    /// The mediator's own, to know it again.
    pub tag: u32,
    pub direction: Direction,
    /// In order; together `len_bytes` long.
    pub guest: Vec<GuestSegment>,
    pub bounce: BusAddr,
    pub len_bytes: usize,
    pub runs: Vec<TransformRun>,
}

/// Work that could not be done. Part of the guest's memory may have been written; the device was not touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkError {
    NotRam(NotRam),
    OutOfArena,
    /// The guest segments are not as long as the bounce range.
    Length,
    /// It was not begun: more followed one call of the mediator than is done at a time.
    TooMuch,
}

impl From<NotRam> for WorkError {
    fn from(e: NotRam) -> Self {
        Self::NotRam(e)
    }
}

impl From<OutOfArena> for WorkError {
    fn from(_: OutOfArena) -> Self {
        Self::OutOfArena
    }
}

impl Work {
    /// Performs the work. Called by the VMM outside the mediator's lock, and by simulations.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub fn perform(&self, guest: &mut dyn GuestMemory, arena: &mut dyn DmaArena) -> Result<(), WorkError> {
        let bounce = arena.bytes(self.bounce, self.len_bytes)?;
        match self.direction {
            Direction::GuestToDevice => {
                self.each_segment(bounce, |at, bytes| guest.read(at, bytes))?;
                self.each_run(bounce, |run, bytes| run.transform.encrypt(run.first_sector, bytes))
            }
            Direction::DeviceToGuest => {
                self.each_run(bounce, |run, bytes| run.transform.decrypt(run.first_sector, bytes))?;
                self.each_segment(bounce, |at, bytes| guest.write(at, bytes))
            }
        }
    }

    fn each_segment(
        &self,
        bounce: &mut [u8],
        mut copy: impl FnMut(Gpa, &mut [u8]) -> Result<(), NotRam>,
    ) -> Result<(), WorkError> {
        let mut rest = bounce;
        for segment in &self.guest {
            let len = usize::try_from(segment.len_bytes).map_err(|_| WorkError::Length)?;
            let (piece, tail) = rest.split_at_mut_checked(len).ok_or(WorkError::Length)?;
            copy(segment.at, piece)?;
            rest = tail;
        }
        if rest.is_empty() { Ok(()) } else { Err(WorkError::Length) }
    }

    fn each_run(&self, bounce: &mut [u8], mut apply: impl FnMut(&TransformRun, &mut [u8])) -> Result<(), WorkError> {
        for run in &self.runs {
            let end = run.offset_bytes.checked_add(run.len_bytes).ok_or(WorkError::Length)?;
            apply(run, bounce.get_mut(run.offset_bytes..end).ok_or(WorkError::Length)?);
        }
        Ok(())
    }
}

impl Ctx<'_> {
    /// Pushes work; it is performed, in order, after the call that pushed it.
    pub fn push(&mut self, work: Work) {
        self.work.push(work);
    }
}
