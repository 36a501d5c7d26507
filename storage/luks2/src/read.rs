//! From the device to a header: both copies are read, and the newer good one counts (section 2.2).

use crate::binary::{self, BINARY_BYTES, Binary, CHECKSUM, HEADER_SIZES, MAX_JSON_TEXT_BYTES, Which};
use crate::error::{Flaw, ReadError};
use crate::header::{self, Copies, Header};
use crate::metadata::{self, Metadata};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Reads from the device at an offset in bytes; both offset and length are multiples of 4096. Else why it cannot.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> Result<(), String> + 'a;

/// Read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// One copy.
struct Copy {
    binary: Binary,
    metadata: Metadata,
}

/// Reads the header of a device. At most 10 binary headers and two copies of at most 4 MiB each are read; what is kept of
/// a copy is its JSON text, at most [`MAX_JSON_TEXT_BYTES`].
///
/// # Errors
/// See [`ReadError`].
pub fn parse(read: &mut ReadAt<'_>) -> Result<Header, ReadError> {
    let primary = read_copy(Which::Primary, read);
    if primary.as_ref().err() == Some(&Flaw::Version(1)) {
        return Err(ReadError::Luks1);
    }
    let secondary = match &primary {
        Ok(copy) => read_copy(Which::Secondary(copy.binary.size_bytes), read),
        Err(_) => search_secondary(read),
    };
    let sequence = |copy: &Result<Copy, Flaw>| copy.as_ref().map(|copy| copy.binary.sequence).map_err(Flaw::clone);
    let copies = Copies { primary: sequence(&primary), secondary: sequence(&secondary) };
    let copy = match (primary, secondary) {
        (Ok(primary), Ok(secondary)) if secondary.binary.sequence > primary.binary.sequence => secondary,
        (Ok(copy), _) | (Err(_), Ok(copy)) => copy,
        (Err(Flaw::Magic), Err(Flaw::Magic)) => return Err(ReadError::NotLuks),
        (Err(primary), Err(secondary)) => return Err(ReadError::Damaged { primary, secondary }),
    };
    Ok(Header { binary: copy.binary, metadata: copy.metadata, copies })
}

/// The first good secondary copy at an offset where one may lie; else the flaw of one that at least has the magic.
fn search_secondary(read: &mut ReadAt<'_>) -> Result<Copy, Flaw> {
    let mut flaw = Flaw::Magic;
    for at in HEADER_SIZES {
        match read_copy(Which::Secondary(at), read) {
            Ok(copy) => return Ok(copy),
            // A small device ends before the last of them.
            Err(Flaw::Magic | Flaw::Read(_)) => {}
            Err(other) => flaw = other,
        }
    }
    Err(flaw)
}

fn read_copy(which: Which, read: &mut ReadAt<'_>) -> Result<Copy, Flaw> {
    let mut first = Box::new([0; BINARY_BYTES]);
    read(which.at(), &mut *first).map_err(Flaw::Read)?;
    let binary = binary::parse(&first, which)?;
    let text = read_text(&binary, which, &mut first, read)?;
    let metadata = metadata::parse(&text).map_err(Flaw::Text)?;
    header::check(&binary, &metadata).map_err(|why| Flaw::Text(why.into()))?;
    Ok(Copy { binary, metadata })
}

/// Reads the JSON area piece by piece, compares the checksum and gives the text. Behind its end there are zeros only.
fn read_text(
    binary: &Binary,
    which: Which,
    first: &mut [u8; BINARY_BYTES],
    read: &mut ReadAt<'_>,
) -> Result<Vec<u8>, Flaw> {
    first.get_mut(CHECKSUM).unwrap_or_default().fill(0);
    let mut state = binary.hash.start();
    state.update(first);
    let (mut text, mut ended, mut fits) = (Vec::new(), false, true);
    let mut piece = vec![0; PIECE_BYTES];
    let end = which.at().saturating_add(binary.size_bytes);
    let mut at = which.at().saturating_add(BINARY_BYTES as u64);
    while at < end {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = piece.get_mut(..left).unwrap_or_default();
        read(at, piece).map_err(Flaw::Read)?;
        state.update(piece);
        let len = if ended { 0 } else { piece.iter().position(|byte| *byte == 0).unwrap_or(left) };
        let (part, zeros) = piece.split_at_checked(len).unwrap_or_default();
        ended |= !zeros.is_empty();
        fits &= text.len().saturating_add(part.len()) <= MAX_JSON_TEXT_BYTES && zeros.iter().all(|byte| *byte == 0);
        if fits {
            text.extend(part);
        }
        at = at.saturating_add(left as u64);
    }
    let expected = binary.checksum.get(..binary.hash.len_bytes()).unwrap_or_default();
    if state.finish() != expected {
        return Err(Flaw::Checksum);
    }
    if fits && ended { Ok(text) } else { Err(Flaw::TextLength) }
}
