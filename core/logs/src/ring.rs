//! One CPU's records, the newest that fit.
//!
//! Numbers are little endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | number |
//! | 8 | 8 | time, in nanoseconds |
//! | 16 | 2 | length of the text |
//! | 18 | 2 | CPU |
//! | 20 | 1 | level, and in bit 7 whether the text was cut |
//! | 21 | | text |

use abi::log::{Level, MAX_TEXT_BYTES, Record};
use alloc::vec::Vec;

const HEADER_BYTES: usize = 21;
const CUT: u8 = 0x80;

/// Bytes that were ever written have positions from 0 on; the newest are there, at their position modulo the size.
pub(crate) struct Ring {
    bytes: Vec<u8>,
    /// Position of the oldest record.
    start: u64,
    end: u64,
}

/// A record, taken out of its ring.
pub(crate) struct Taken {
    header: Header,
    text: [u8; MAX_TEXT_BYTES],
}

impl Taken {
    pub const NONE: Self = Self { header: Header::NONE, text: [0; MAX_TEXT_BYTES] };

    pub fn record(&self) -> Record<'_> {
        let Header { number, time_ns, len_bytes, cpu, level, cut } = self.header;
        let text = self.text.get(..len_bytes.into()).unwrap_or_default();
        Record { number, time_ns, level, cpu, cut, text: core::str::from_utf8(text).unwrap_or_default() }
    }
}

struct Header {
    number: u64,
    time_ns: u64,
    len_bytes: u16,
    cpu: u16,
    level: Level,
    cut: bool,
}

impl Header {
    const NONE: Self = Self { number: 0, time_ns: 0, len_bytes: 0, cpu: 0, level: Level::Error, cut: false };

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let level = self.level as u8 | if self.cut { CUT } else { 0 };
        let fields = (self.number.to_le_bytes().into_iter())
            .chain(self.time_ns.to_le_bytes())
            .chain(self.len_bytes.to_le_bytes())
            .chain(self.cpu.to_le_bytes())
            .chain([level]);
        let mut bytes = [0; HEADER_BYTES];
        bytes.iter_mut().zip(fields).for_each(|(to, byte)| *to = byte);
        bytes
    }

    fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [n0, n1, n2, n3, n4, n5, n6, n7, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, c0, c1, level] = bytes;
        Self {
            number: u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            time_ns: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            len_bytes: u16::from_le_bytes([l0, l1]),
            cpu: u16::from_le_bytes([c0, c1]),
            level: Level::ALL.get(usize::from(level & !CUT)).copied().unwrap_or_default(),
            cut: level & CUT != 0,
        }
    }

    fn record_bytes(&self) -> u64 {
        (HEADER_BYTES as u64).saturating_add(self.len_bytes.into())
    }
}

impl Ring {
    /// Some records of every length have room. `None`: there is no such memory.
    pub fn new(size_bytes: usize) -> Option<Self> {
        let size_bytes = size_bytes.max(4096);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size_bytes).ok()?;
        bytes.resize(size_bytes, 0);
        Some(Self { bytes, start: 0, end: 0 })
    }

    /// Adds a record; the oldest make room. `record`'s text is at most [`MAX_TEXT_BYTES`] long.
    pub fn push(&mut self, record: &Record<'_>) {
        let Record { number, time_ns, level, cpu, cut, text } = *record;
        let header = Header { number, time_ns, len_bytes: text.len().min(MAX_TEXT_BYTES) as u16, cpu, level, cut };
        let end = self.end.saturating_add(header.record_bytes());
        while end.saturating_sub(self.start) > self.bytes.len() as u64 {
            self.start = self.start.saturating_add(self.header(self.start).record_bytes());
        }
        let text = text.bytes().take(header.len_bytes.into());
        let (offset, bytes) = (self.offset(self.end), &mut self.bytes);
        let Some((before, behind)) = bytes.split_at_mut_checked(offset) else { return };
        let room = behind.iter_mut().chain(before);
        room.zip(header.encode().into_iter().chain(text)).for_each(|(to, byte)| *to = byte);
        self.end = end;
    }

    /// The number of the first record from `number` on. `position` becomes its position; a search before it has found the
    /// records before that position to be lower.
    pub fn find(&self, number: u64, position: &mut u64) -> Option<u64> {
        *position = (*position).max(self.start);
        while *position < self.end {
            let header = self.header(*position);
            if header.number >= number {
                return Some(header.number);
            }
            *position = position.saturating_add(header.record_bytes());
        }
        None
    }

    /// Copies out the record at a position that [`Ring::find`] has given. False: it is gone.
    pub fn take(&self, position: u64, taken: &mut Taken) -> bool {
        let is_there = (self.start..self.end).contains(&position);
        if is_there {
            taken.header = self.header(position);
            let text = self.bytes_from(position.saturating_add(HEADER_BYTES as u64));
            let text = text.take(taken.header.len_bytes.into());
            taken.text.iter_mut().zip(text).for_each(|(to, byte)| *to = byte);
        }
        is_there
    }

    fn header(&self, position: u64) -> Header {
        let mut bytes = [0; HEADER_BYTES];
        bytes.iter_mut().zip(self.bytes_from(position)).for_each(|(to, byte)| *to = byte);
        Header::decode(bytes)
    }

    fn bytes_from(&self, position: u64) -> impl Iterator<Item = u8> {
        let (before, behind) = self.bytes.split_at_checked(self.offset(position)).unwrap_or_default();
        behind.iter().chain(before).copied()
    }

    fn offset(&self, position: u64) -> usize {
        // No ring is empty.
        position.checked_rem(self.bytes.len() as u64).unwrap_or_default() as usize
    }
}
