//! A frame of a capture.

use std::fmt;

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    FromMachine,
    ToMachine,
}

impl Direction {
    pub const fn other(self) -> Self {
        match self {
            Self::FromMachine => Self::ToMachine,
            Self::ToMachine => Self::FromMachine,
        }
    }
}

/// One frame as it was on the wire, without its checksum.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// In its capture, from 1, as other programs count.
    pub number: u64,
    /// Since 1970.
    pub time_ns: u64,
    pub direction: Direction,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {} ({:?}, {} bytes)", self.number, self.direction, self.bytes.len())
    }
}

/// A big-endian number of 16 bits at `at`.
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// A hardware address as people write it.
pub fn shown_mac(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
