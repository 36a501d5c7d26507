//! The hypercall `log`.

use crate::Logs;
use abi::hypercall::Error;
use abi::log::{HEADER_BYTES, Header, Request};

/// Answers one request; gives the length of the answer. `previous` is what the last run's defect has left.
///
/// # Errors
/// The request is none, or the answer has no room for a single record.
pub fn answer(logs: &Logs, previous: &str, now_ns: u64, request: &[u8], room: &mut [u8]) -> Result<usize, Error> {
    match postcard::take_from_bytes(request) {
        Ok((Request::Records { from, level }, [])) => {
            let (header, records) = room.split_at_mut_checked(HEADER_BYTES).ok_or(Error::BufferTooSmall)?;
            let (mut used, mut is_full) = (0_usize, false);
            let progress = logs.read(from, level, |record| {
                let left = records.get_mut(used..).unwrap_or_default();
                let written = postcard::to_slice(record, left).map(|written| written.len()).ok();
                used = used.saturating_add(written.unwrap_or_default());
                is_full = written.is_none();
                !is_full
            });
            if is_full && used == 0 {
                return Err(Error::BufferTooSmall);
            }
            let told = Header { now_ns, next: progress.next, lost: progress.lost };
            postcard::to_slice(&told, header).map_err(|_| Error::BufferTooSmall)?;
            Ok(HEADER_BYTES.saturating_add(used))
        }
        Ok((Request::Previous { skip_bytes }, [])) => {
            let text = previous.as_bytes().get(skip_bytes as usize..).unwrap_or_default();
            let written = room.iter_mut().zip(text).map(|(to, byte)| *to = *byte).count();
            Ok(written)
        }
        _ => Err(Error::Parameters),
    }
}
