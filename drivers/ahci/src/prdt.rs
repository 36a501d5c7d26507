//! Physical region descriptor tables (AHCI s. 4.2.3.3): the guest's, copied once, and ours.

use crate::spec::table::{COUNT, ENTRY_BYTES, ENTRY_MAX};
use alloc::vec::Vec;
use mediator::{BusAddr, Gpa, GuestMemory, GuestSegment};

/// Entries copied from guest memory at once.
const CHUNK_ENTRIES: usize = 8;
const CHUNK_BYTES: usize = CHUNK_ENTRIES * ENTRY_BYTES;

/// A table that cannot be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrdtError {
    /// The table or a region is no memory that the guest may give a device, or of an odd place or count.
    Invalid,
    /// It does not describe so much.
    Short,
    /// It has more regions than fit our table, or than a request may have, or there is no memory for the copy.
    TooLong,
}

/// Where a guest's table lies.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub at: Gpa,
    pub entries: u32,
    /// The controller drives 64 address lines. On others it would cut the upper half off.
    pub wide: bool,
}

/// Copies the regions that are needed for `wanted` bytes (> 0). Neighbours become one.
///
/// # Errors
/// See [`PrdtError`].
pub fn copy(guest: &mut dyn GuestMemory, table: Table, wanted: u64) -> Result<Vec<GuestSegment>, PrdtError> {
    let mut segments: Vec<GuestSegment> = Vec::new();
    let mut missing = wanted;
    walk(guest, table, |_, segment| {
        let used = u32::try_from(missing).unwrap_or(u32::MAX).min(segment.len_bytes);
        missing = missing.saturating_sub(u64::from(used));
        if let Some(last) = segments.last_mut()
            && last.at.checked_add(last.len_bytes.into()) == Some(segment.at)
            && let Some(joined) = last.len_bytes.checked_add(used)
        {
            last.len_bytes = joined;
            return Ok(missing > 0);
        }
        if segments.len() == block::MAX_SEGMENTS {
            return Err(PrdtError::TooLong);
        }
        segments.try_reserve(1).map_err(|_| PrdtError::TooLong)?;
        segments.push(GuestSegment { at: segment.at, len_bytes: used });
        Ok(missing > 0)
    })?;
    if missing > 0 { Err(PrdtError::Short) } else { Ok(segments) }
}

/// Copies the table into `ours`, which then points at guest memory itself: all of it, or what `wanted` bytes need.
/// Returns the number of entries.
///
/// # Errors
/// See [`PrdtError`].
pub fn shadow(
    guest: &mut dyn GuestMemory,
    table: Table,
    wanted: Option<u64>,
    ours: &mut [u8],
) -> Result<u32, PrdtError> {
    let mut shadow = Shadow { table: ours, entries: 0, last: None };
    let mut missing = wanted.unwrap_or(u64::MAX);
    walk(guest, table, |guest, segment| {
        let bus = guest.bus_addr(segment.at, u64::from(segment.len_bytes)).map_err(|_| PrdtError::Invalid)?;
        shadow.push(bus, segment.len_bytes)?;
        missing = missing.saturating_sub(u64::from(segment.len_bytes));
        Ok(missing > 0)
    })?;
    if wanted.is_some() && missing > 0 { Err(PrdtError::Short) } else { Ok(shadow.entries) }
}

/// Fills `ours` with one buffer. Returns the number of entries.
///
/// # Errors
/// [`PrdtError::TooLong`].
pub fn contiguous(bus: BusAddr, len_bytes: u32, ours: &mut [u8]) -> Result<u32, PrdtError> {
    let mut shadow = Shadow { table: ours, entries: 0, last: None };
    shadow.push(bus, len_bytes)?;
    Ok(shadow.entries)
}

/// Calls `each` for every entry until it says no.
fn walk(
    guest: &mut dyn GuestMemory,
    table: Table,
    mut each: impl FnMut(&mut dyn GuestMemory, GuestSegment) -> Result<bool, PrdtError>,
) -> Result<(), PrdtError> {
    let mut left = usize::try_from(table.entries).map_err(|_| PrdtError::TooLong)?;
    let mut at = table.at;
    let mut chunk = [0_u8; CHUNK_BYTES];
    while left > 0 {
        let entries = left.min(CHUNK_ENTRIES);
        let bytes = chunk.get_mut(..entries.saturating_mul(ENTRY_BYTES)).ok_or(PrdtError::Invalid)?;
        guest.read(at, bytes).map_err(|_| PrdtError::Invalid)?;
        for entry in bytes.as_chunks::<ENTRY_BYTES>().0 {
            if !each(guest, decode(entry, table.wide)?)? {
                return Ok(());
            }
        }
        left = left.saturating_sub(entries);
        at = at.checked_add(CHUNK_BYTES as u64).ok_or(PrdtError::Invalid)?;
    }
    Ok(())
}

/// Base: a word. Count: an even number of bytes, less one.
fn decode(entry: &[u8; ENTRY_BYTES], wide: bool) -> Result<GuestSegment, PrdtError> {
    let [b0, b1, b2, b3, u0, u1, u2, u3, _, _, _, _, c0, c1, c2, c3] = *entry;
    let (low, high) = (u32::from_le_bytes([b0, b1, b2, b3]), u32::from_le_bytes([u0, u1, u2, u3]));
    let len_bytes = (u32::from_le_bytes([c0, c1, c2, c3]) & COUNT).wrapping_add(1);
    if low & 1 != 0 || len_bytes & 1 != 0 || (high != 0 && !wide) {
        return Err(PrdtError::Invalid);
    }
    Ok(GuestSegment { at: Gpa(u64::from(low) | u64::from(high) << 32), len_bytes })
}

/// A table being written.
struct Shadow<'a> {
    table: &'a mut [u8],
    entries: u32,
    /// The last entry.
    last: Option<(BusAddr, u32)>,
}

impl Shadow<'_> {
    /// Adds a region; neighbours become one.
    fn push(&mut self, bus: BusAddr, len_bytes: u32) -> Result<(), PrdtError> {
        if let Some((last, len)) = self.last {
            let joined = len.saturating_add(len_bytes);
            if last.checked_add(u64::from(len)) == Some(bus) && joined <= ENTRY_MAX {
                self.entries = self.entries.saturating_sub(1);
                return self.put(last, joined);
            }
        }
        self.put(bus, len_bytes)
    }

    fn put(&mut self, bus: BusAddr, len_bytes: u32) -> Result<(), PrdtError> {
        let at = usize::try_from(self.entries).unwrap_or(usize::MAX).saturating_mul(ENTRY_BYTES);
        let entry = self.table.get_mut(at..at.saturating_add(ENTRY_BYTES)).ok_or(PrdtError::TooLong)?;
        let (address, rest) = entry.split_at_mut_checked(8).ok_or(PrdtError::TooLong)?;
        address.copy_from_slice(&bus.0.to_le_bytes());
        rest.copy_from_slice(&(u64::from(len_bytes.saturating_sub(1) & COUNT) << 32).to_le_bytes());
        self.entries = self.entries.saturating_add(1);
        self.last = Some((bus, len_bytes));
        Ok(())
    }
}
