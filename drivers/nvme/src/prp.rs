//! Physical region pages: the guest's, copied once, and ours (NVMe s. 4.3).

use crate::cmd::Status;
use crate::identify::MAX_TRANSFER_BYTES;
use crate::spec::PAGE_BYTES;
use alloc::vec::Vec;
use mediator::{BusAddr, Gpa, GuestMemory, GuestSegment};

/// Bytes of a PRP entry.
const ENTRY_BYTES: usize = 8;
/// Entries of a list of ours: the largest transfer, which need not begin at a page, less the first entry.
const LIST_ENTRIES: usize = MAX_TRANSFER_BYTES as usize / PAGE_BYTES as usize;
/// Bytes of a list of ours; a divisor of a page, so that none crosses one.
pub const LIST_BYTES: usize = LIST_ENTRIES * ENTRY_BYTES;
/// Copied from guest memory at once.
const CHUNK_ENTRIES: u64 = 32;
/// More lists than this are a chain that leads on and on; a transfer needs two at most.
const MAX_LISTS: usize = 4;

const _: () = assert!((PAGE_BYTES as usize).is_multiple_of(LIST_BYTES));

/// Copies what the entries of a command describe, as far as `len_bytes` (1 to [`MAX_TRANSFER_BYTES`]) go. Pieces that follow each
/// other in memory become one. They are put into `segments`, whose own content goes.
///
/// # Errors
/// The status that the device would give: an entry that is not at a page's start, a list that cannot be read.
pub fn copy(
    guest: &mut dyn GuestMemory,
    prps: [Gpa; 2],
    len_bytes: u32,
    segments: &mut Vec<GuestSegment>,
) -> Result<(), Status> {
    segments.clear();
    if len_bytes > MAX_TRANSFER_BYTES {
        return Err(Status::INVALID_FIELD);
    }
    let [first, second] = prps;
    let mut pages = Pages { segments, left: len_bytes };
    if first.0 & 3 != 0 {
        return Err(Status::PRP_OFFSET_INVALID);
    }
    pages.push(first)?;
    if pages.left == 0 {
        return Ok(());
    }
    if u64::from(pages.left) <= PAGE_BYTES {
        return pages.push_page(second);
    }
    follow(guest, second, &mut pages)
}

/// The lists of a transfer: the last entry of a page of list, if more is to come, leads to the next list.
fn follow(guest: &mut dyn GuestMemory, list: Gpa, pages: &mut Pages<'_>) -> Result<(), Status> {
    let mut at = list;
    for _ in 0..MAX_LISTS {
        if at.0 & 7 != 0 {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        let to_page_end = (PAGE_BYTES.saturating_sub(at.0 % PAGE_BYTES)) >> 3;
        let needed = u64::from(pages.left).div_ceil(PAGE_BYTES);
        let read = to_page_end.min(needed);
        let mut entries = [0; CHUNK_ENTRIES as usize * ENTRY_BYTES];
        let bytes = usize::try_from(read << 3).ok().and_then(|len| entries.get_mut(..len));
        let bytes = bytes.ok_or(Status::INVALID_FIELD)?;
        guest.read(at, bytes).map_err(|_| Status::DATA_TRANSFER_ERROR)?;
        let chained = needed > to_page_end;
        let mut entries = bytes.as_chunks().0.iter().map(|bytes| Gpa(u64::from_le_bytes(*bytes)));
        let next = if chained { entries.next_back() } else { None };
        entries.try_for_each(|page| pages.push_page(page))?;
        match next {
            None => return Ok(()),
            Some(next) => at = next,
        }
    }
    Err(Status::INVALID_FIELD)
}

struct Pages<'a> {
    segments: &'a mut Vec<GuestSegment>,
    left: u32,
}

impl Pages<'_> {
    fn push_page(&mut self, page: Gpa) -> Result<(), Status> {
        if page.0.is_multiple_of(PAGE_BYTES) { self.push(page) } else { Err(Status::PRP_OFFSET_INVALID) }
    }

    /// Up to the end of the page.
    fn push(&mut self, at: Gpa) -> Result<(), Status> {
        let to_page_end = PAGE_BYTES.saturating_sub(at.0 % PAGE_BYTES);
        let len_bytes = u32::try_from(to_page_end).unwrap_or(0).min(self.left);
        self.left = self.left.saturating_sub(len_bytes);
        if let Some(last) = self.segments.last_mut()
            && last.at.checked_add(last.len_bytes.into()) == Some(at)
        {
            last.len_bytes = last.len_bytes.saturating_add(len_bytes);
            return Ok(());
        }
        self.segments.try_reserve(1).map_err(|_| Status::INTERNAL_ERROR)?;
        self.segments.push(GuestSegment { at, len_bytes });
        Ok(())
    }
}

/// The entries of a command whose data lies in these pieces. `list` is ours, at `list_at`, and is filled when it is needed. All but
/// the first piece begin at a page, all but the last end at one.
///
/// # Errors
/// The pieces are longer than a list, or do not fit pages.
pub fn encode(
    pieces: impl Iterator<Item = (BusAddr, u32)>,
    list: &mut [u8],
    list_at: BusAddr,
) -> Result<[u64; 2], Status> {
    let mut first = None;
    let mut used = 0_usize;
    let mut entries = list.as_chunks_mut::<ENTRY_BYTES>().0.iter_mut();
    let mut may_follow = true;
    for (at, len_bytes) in pieces {
        let mut at = at.0;
        let mut left = u64::from(len_bytes);
        while left > 0 {
            let len = left.min(PAGE_BYTES.saturating_sub(at % PAGE_BYTES));
            if !may_follow || first.is_some() && at % PAGE_BYTES != 0 {
                return Err(Status::PRP_OFFSET_INVALID);
            }
            if first.is_none() {
                first = Some(at);
            } else {
                *entries.next().ok_or(Status::INVALID_FIELD)? = at.to_le_bytes();
                used = used.saturating_add(1);
            }
            at = at.checked_add(len).ok_or(Status::INVALID_FIELD)?;
            may_follow = at % PAGE_BYTES == 0;
            left = left.saturating_sub(len);
        }
    }
    let only = list.first_chunk().copied().map(u64::from_le_bytes);
    Ok(match used {
        0 => [first.unwrap_or(0), 0],
        1 => [first.unwrap_or(0), only.unwrap_or(0)],
        _ => [first.unwrap_or(0), list_at.0],
    })
}
