//! Starts that must not happen: a clear sentence on the serial line, and nothing written to the disk.

use crate::case::Case;

pub fn cases() -> Vec<Case> {
    Vec::new()
}
