//! What a run of bytes holds, so that nothing is overwritten by mistake.

use super::Device;
use ranges::signature::{self, PIECE_BYTES, SECOND_AT};

/// What it holds, or nothing that is known. A partition table counts for the whole of a disk only.
pub fn content(device: &Device) -> Option<String> {
    let known = recognise(device).map(|name| name.to_owned());
    known.or_else(|| {
        let table = device.partition().is_none().then(|| device.partitions().ok()).flatten()?;
        (!table.partitions.is_empty()).then(|| format!("a partition table ({})", table.scheme))
    })
}

/// The file system, volume or swap area that begins there.
pub fn recognise(device: &Device) -> Option<&'static str> {
    let piece = |at: u64| {
        let len = device.len_bytes().saturating_sub(at).min(PIECE_BYTES as u64) as usize;
        let mut bytes = vec![0; len];
        device.read_at(at, &mut bytes).ok().map(|()| bytes).unwrap_or_default()
    };
    signature::recognise(&piece(0), &piece(SECOND_AT))
}
