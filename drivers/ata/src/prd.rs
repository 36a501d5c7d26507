//! Physical region descriptor tables (BMIDE s. 1.2): the guest's, copied once, and ours.

use crate::spec::prd::{BOUNDARY, END, ENTRY_BYTES};
use alloc::vec::Vec;
use mediator::{BusAddr, Gpa, GuestMemory, GuestSegment};

/// Size of a table of ours: the largest that may be (it may not cross 64 KiB), 8192 entries.
pub const TABLE_BYTES: usize = 0x1_0000;

/// Copied from guest memory at once; divides a page, so that no read runs past the page that holds the last entry.
const CHUNK_BYTES: usize = 128;

/// A table that cannot be followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrdError {
    /// The table or a region is no memory that the guest may give a device.
    NotRam,
    /// Split at 64 KiB boundaries the regions do not fit a table.
    TooLong,
    /// The VMM has no memory left for the copy.
    OutOfMemory,
}

/// A guest's table, copied.
#[derive(Debug)]
pub struct Regions {
    pub segments: Vec<GuestSegment>,
    /// At most what was asked for.
    pub len_bytes: u64,
    /// The table describes more than was asked for.
    pub longer: bool,
}

/// Copies the table at `address`, as far as it is needed for `wanted_bytes` (> 0).
///
/// # Errors
/// [`PrdError`]: the table is not readable, or there is no memory for the copy.
pub fn copy(guest: &mut dyn GuestMemory, address: u32, wanted_bytes: u64) -> Result<Regions, PrdError> {
    let mut regions = Regions { segments: Vec::new(), len_bytes: 0, longer: false };
    walk(guest, address, |_, segment, last| {
        let missing = wanted_bytes.saturating_sub(regions.len_bytes);
        let used = u32::try_from(missing).unwrap_or(u32::MAX).min(segment.len_bytes);
        regions.segments.try_reserve(1).map_err(|_| PrdError::OutOfMemory)?;
        regions.segments.push(GuestSegment { at: segment.at, len_bytes: used });
        regions.len_bytes = regions.len_bytes.saturating_add(u64::from(used));
        let full = regions.len_bytes >= wanted_bytes;
        regions.longer = full && (used < segment.len_bytes || !last);
        Ok(!full)
    })?;
    Ok(regions)
}

/// Copies the table at `address` into `table`, a shadow that points at guest memory itself.
///
/// # Errors
/// [`PrdError`]: nothing may be sent to the device.
pub fn shadow(guest: &mut dyn GuestMemory, address: u32, table: &mut [u8]) -> Result<(), PrdError> {
    let mut shadow = Shadow { table, used: 0 };
    walk(guest, address, |guest, segment, _| {
        let bus = guest.bus_addr(segment.at, u64::from(segment.len_bytes)).map_err(|_| PrdError::NotRam)?;
        shadow.push(bus, segment.len_bytes)?;
        Ok(true)
    })?;
    shadow.end()
}

/// Fills `table` with one physically contiguous buffer of `len_bytes` (> 0).
///
/// # Errors
/// [`PrdError::TooLong`]: the buffer does not fit the table or lies above 4 GiB.
pub fn contiguous(bus: BusAddr, len_bytes: u32, table: &mut [u8]) -> Result<(), PrdError> {
    let mut shadow = Shadow { table, used: 0 };
    shadow.push(bus, len_bytes)?;
    shadow.end()
}

/// Calls `each` for every entry, with "this is the last one", until it says no. The table ends with the entry that
/// says so, or at the 64 KiB boundary that it may not cross.
fn walk(
    guest: &mut dyn GuestMemory,
    address: u32,
    mut each: impl FnMut(&mut dyn GuestMemory, GuestSegment, bool) -> Result<bool, PrdError>,
) -> Result<(), PrdError> {
    let mut at = address & !3;
    // A table at an odd dword has an entry across the boundary at its end, which does not count.
    let mut left = (BOUNDARY.saturating_sub(at % BOUNDARY) / 8).saturating_mul(8);
    let mut chunk = [0_u8; CHUNK_BYTES];
    while left > 0 {
        let to_chunk_end = CHUNK_BYTES.saturating_sub(usize::try_from(at).unwrap_or(0) % CHUNK_BYTES);
        let whole = to_chunk_end.next_multiple_of(ENTRY_BYTES).min(CHUNK_BYTES);
        let len = whole.min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = chunk.get_mut(..len).ok_or(PrdError::TooLong)?;
        guest.read(Gpa(u64::from(at)), bytes).map_err(|_| PrdError::NotRam)?;
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            left = left.saturating_sub(8);
            let (segment, end) = decode(entry);
            let last = end || left == 0;
            if !each(guest, segment, last)? || last {
                return Ok(());
            }
        }
        at = at.wrapping_add(u32::try_from(len).unwrap_or(BOUNDARY));
    }
    Ok(())
}

/// Base: bit 0 reads as 0. Count: bit 0 reads as 0, and 0 means 64 KiB.
fn decode(entry: &[u8]) -> (GuestSegment, bool) {
    let dword = |bytes: Option<&[u8; 4]>| bytes.copied().map(u32::from_le_bytes).unwrap_or(0);
    let base = dword(entry.first_chunk()) & !1;
    let second = dword(entry.last_chunk());
    let len_bytes = match second & 0xfffe {
        0 => BOUNDARY,
        count => count,
    };
    (GuestSegment { at: Gpa(u64::from(base)), len_bytes }, second & END != 0)
}

/// A table being written.
struct Shadow<'a> {
    table: &'a mut [u8],
    used: usize,
}

impl Shadow<'_> {
    /// Adds a region, split at 64 KiB boundaries: what controllers do with a region across one differs, and one that
    /// wraps would reach memory that was not checked.
    fn push(&mut self, bus: BusAddr, len_bytes: u32) -> Result<(), PrdError> {
        let mut base = u32::try_from(bus.0).map_err(|_| PrdError::TooLong)?;
        let mut left = len_bytes;
        base.checked_add(len_bytes.saturating_sub(1)).ok_or(PrdError::TooLong)?;
        while left > 0 {
            let piece = left.min(BOUNDARY.saturating_sub(base % BOUNDARY));
            let end = self.used.saturating_add(ENTRY_BYTES);
            let entry = self.table.get_mut(self.used..end).ok_or(PrdError::TooLong)?;
            let (first, second) = entry.split_at_mut_checked(4).ok_or(PrdError::TooLong)?;
            first.copy_from_slice(&base.to_le_bytes());
            second.copy_from_slice(&(piece & 0xfffe).to_le_bytes());
            self.used = end;
            base = base.wrapping_add(piece);
            left = left.saturating_sub(piece);
        }
        Ok(())
    }

    fn end(self) -> Result<(), PrdError> {
        let flags = self.used.checked_sub(1).and_then(|at| self.table.get_mut(at)).ok_or(PrdError::TooLong)?;
        *flags |= END.to_be_bytes()[0];
        Ok(())
    }
}
