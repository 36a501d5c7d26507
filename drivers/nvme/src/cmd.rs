//! Submission and completion queue entries: bytes <-> fields (NVMe s. 4.2, 4.6).

use crate::spec::{CQE_BYTES, SQE_BYTES};
use mediator::Gpa;

/// A submission queue entry, copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    dwords: [u32; SQE_BYTES / 4],
}

impl Command {
    pub fn parse(bytes: &[u8; SQE_BYTES]) -> Self {
        let mut dwords = [0; SQE_BYTES / 4];
        for (dword, bytes) in dwords.iter_mut().zip(bytes.as_chunks().0) {
            *dword = u32::from_le_bytes(*bytes);
        }
        Self { dwords }
    }

    /// A command of our own, without data.
    pub fn new(opcode: u8, nsid: u32) -> Self {
        let mut dwords = [0; SQE_BYTES / 4];
        dwords[0] = opcode.into();
        dwords[1] = nsid;
        Self { dwords }
    }

    pub fn encode(&self) -> [u8; SQE_BYTES] {
        let mut bytes = [0; SQE_BYTES];
        for (bytes, dword) in bytes.as_chunks_mut().0.iter_mut().zip(self.dwords) {
            *bytes = dword.to_le_bytes();
        }
        bytes
    }

    /// Dword `n`; 0 where there is none.
    pub fn dword(&self, n: usize) -> u32 {
        self.dwords.get(n).copied().unwrap_or(0)
    }

    pub fn with_dword(mut self, n: usize, value: u32) -> Self {
        if let Some(dword) = self.dwords.get_mut(n) {
            *dword = value;
        }
        self
    }

    fn qword(&self, low: usize) -> u64 {
        u64::from(self.dword(low)) | u64::from(self.dword(low.wrapping_add(1))) << 32
    }

    fn with_qword(self, low: usize, value: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        let (first, second) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        self.with_dword(low, first).with_dword(low.wrapping_add(1), second)
    }

    pub fn opcode(&self) -> u8 {
        self.dword(0).to_le_bytes()[0]
    }

    pub fn id(&self) -> u16 {
        high(self.dword(0))
    }

    pub fn with_id(self, id: u16) -> Self {
        let first = self.dword(0) & 0xffff | u32::from(id) << 16;
        self.with_dword(0, first)
    }

    pub fn nsid(&self) -> u32 {
        self.dword(1)
    }

    /// First and second PRP entry.
    pub fn prps(&self) -> [Gpa; 2] {
        [Gpa(self.qword(6)), Gpa(self.qword(8))]
    }

    /// No metadata, and these PRP entries.
    pub fn with_prps(self, prps: [u64; 2]) -> Self {
        self.with_qword(4, 0).with_qword(6, prps[0]).with_qword(8, prps[1])
    }

    /// Of READ, WRITE and their like: the first block.
    pub fn lba(&self) -> u64 {
        self.qword(10)
    }

    /// Of READ, WRITE and their like: the number of blocks, 1 to 65536.
    pub fn blocks(&self) -> u32 {
        u32::from(low(self.dword(12))).saturating_add(1)
    }

    /// With another first block, and a number of blocks from 1 to 65536.
    pub fn with_blocks(self, lba: u64, blocks: u32) -> Self {
        let count = blocks.saturating_sub(1) & 0xffff;
        let rest = self.dword(12) & 0xffff_0000;
        self.with_qword(10, lba).with_dword(12, rest | count)
    }

    /// Lower half of dword 10: queue, feature, log page, IDENTIFY's CNS.
    pub fn low10(&self) -> u16 {
        low(self.dword(10))
    }

    /// Upper half of dword 10: the size of a queue, the command that ABORT means.
    pub fn high10(&self) -> u16 {
        high(self.dword(10))
    }

    /// Upper half of dword 11: interrupt vector, or completion queue.
    pub fn high11(&self) -> u16 {
        high(self.dword(11))
    }
}

pub fn low(dword: u32) -> u16 {
    let [a, b, ..] = dword.to_le_bytes();
    u16::from_le_bytes([a, b])
}

pub fn high(dword: u32) -> u16 {
    let [.., c, d] = dword.to_le_bytes();
    u16::from_le_bytes([c, d])
}

/// Status field of a completion, without the phase: more, do-not-retry, status code type and status code
/// (NVMe s. 4.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(u16);

impl Status {
    pub const SUCCESS: Self = Self(0);
    pub const INVALID_OPCODE: Self = Self::refused(0, 0x01);
    pub const INVALID_FIELD: Self = Self::refused(0, 0x02);
    pub const DATA_TRANSFER_ERROR: Self = Self::refused(0, 0x04);
    pub const INTERNAL_ERROR: Self = Self::refused(0, 0x06);
    pub const ABORTED_BY_DELETION: Self = Self::refused(0, 0x08);
    pub const INVALID_NAMESPACE: Self = Self::refused(0, 0x0b);
    pub const PRP_OFFSET_INVALID: Self = Self::refused(0, 0x13);
    pub const LBA_OUT_OF_RANGE: Self = Self::refused(0, 0x80);
    pub const COMPLETION_QUEUE_INVALID: Self = Self::refused(1, 0x00);
    pub const INVALID_QUEUE_IDENTIFIER: Self = Self::refused(1, 0x01);
    pub const INVALID_QUEUE_SIZE: Self = Self::refused(1, 0x02);
    pub const INVALID_LOG_PAGE: Self = Self::refused(1, 0x09);
    pub const INVALID_QUEUE_DELETION: Self = Self::refused(1, 0x0c);
    pub const READ_ONLY_RANGE: Self = Self::refused(1, 0x82);
    pub const UNRECOVERED_READ_ERROR: Self = Self::refused(2, 0x81);
    pub const WRITE_FAULT: Self = Self::refused(2, 0x80);

    /// With the do-not-retry bit: the same command would be refused again.
    const fn refused(code_type: u16, code: u16) -> Self {
        Self(1 << 14 | code_type << 8 | code)
    }

    pub fn is_success(self) -> bool {
        self.0 & 0x7ff == 0
    }

    /// Status code type and status code.
    pub fn code(self) -> (u8, u8) {
        let [code, code_type] = self.0.to_le_bytes();
        (code_type & 7, code)
    }
}

/// A completion queue entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Dword 0: what the command says.
    pub result: u32,
    /// Dword 1: reserved by the base specification, passed on.
    pub result_high: u32,
    pub sq_head: u16,
    pub sq_id: u16,
    pub id: u16,
    pub status: Status,
    pub phase: bool,
}

impl Completion {
    /// What we answer ourselves; the queue fills in the rest.
    pub fn of(id: u16, status: Status, result: u32) -> Self {
        Self { result, result_high: 0, sq_head: 0, sq_id: 0, id, status, phase: false }
    }

    pub fn parse(bytes: &[u8; CQE_BYTES]) -> Self {
        let mut dwords = [0; CQE_BYTES / 4];
        for (dword, bytes) in dwords.iter_mut().zip(bytes.as_chunks().0) {
            *dword = u32::from_le_bytes(*bytes);
        }
        let [result, result_high, queue, last] = dwords;
        Self {
            result,
            result_high,
            sq_head: low(queue),
            sq_id: high(queue),
            id: low(last),
            status: Status(high(last) >> 1),
            phase: high(last) & 1 != 0,
        }
    }

    pub fn encode(&self) -> [u8; CQE_BYTES] {
        let join = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
        let last = self.status.0 << 1 | u16::from(self.phase);
        let dwords = [self.result, self.result_high, join(self.sq_head, self.sq_id), join(self.id, last)];
        let mut bytes = [0; CQE_BYTES];
        for (bytes, dword) in bytes.as_chunks_mut().0.iter_mut().zip(dwords) {
            *bytes = dword.to_le_bytes();
        }
        bytes
    }
}
