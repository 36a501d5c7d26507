//! Queue entries (NVMe s. 4.2, 4.6).

/// Status codes with their type in the upper byte.
pub mod status {
    pub const INVALID_OPCODE: u16 = 0x001;
    pub const INVALID_FIELD: u16 = 0x002;
    pub const DATA_TRANSFER: u16 = 0x004;
    pub const ABORTED: u16 = 0x007;
    pub const INVALID_NAMESPACE: u16 = 0x00b;
    pub const PRP_OFFSET: u16 = 0x013;
    pub const LBA_OUT_OF_RANGE: u16 = 0x080;
    pub const CQ_INVALID: u16 = 0x100;
    pub const INVALID_QUEUE: u16 = 0x101;
    pub const INVALID_QUEUE_SIZE: u16 = 0x102;
    pub const TOO_MANY_EVENTS: u16 = 0x105;
    pub const INVALID_VECTOR: u16 = 0x108;
    pub const INVALID_LOG: u16 = 0x109;
    pub const INVALID_DELETION: u16 = 0x10c;
    pub const READ_ONLY: u16 = 0x182;
    pub const WRITE_FAULT: u16 = 0x280;
    pub const UNRECOVERED_READ: u16 = 0x281;
    pub const COMPARE_FAILURE: u16 = 0x285;

    /// With Do Not Retry, but where the same command may succeed later: the field of a completion from bit 1 on (NVMe s. 4.6.1).
    pub fn with_dnr(status: u16) -> u16 {
        let lasts = !matches!(
            status,
            DATA_TRANSFER | ABORTED | TOO_MANY_EVENTS | INVALID_DELETION | WRITE_FAULT..=COMPARE_FAILURE
        );
        status | u16::from(lasts) << 14
    }
}

/// A submission queue entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entry(pub [u32; 16]);

impl Entry {
    pub fn new(opcode: u8, nsid: u32) -> Self {
        let mut entry = Self::default();
        entry.0[0] = opcode.into();
        entry.0[1] = nsid;
        entry
    }

    pub fn parse(bytes: &[u8; 64]) -> Self {
        let mut entry = Self::default();
        for (dword, bytes) in entry.0.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *dword = u32::from_le_bytes(*bytes);
        }
        entry
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|dword| dword.to_le_bytes()).collect()
    }

    pub fn opcode(&self) -> u8 {
        self.0[0] as u8
    }

    pub fn id(&self) -> u16 {
        (self.0[0] >> 16) as u16
    }

    pub fn nsid(&self) -> u32 {
        self.0[1]
    }

    pub fn qword(&self, low: usize) -> u64 {
        u64::from(self.0[low]) | u64::from(self.0[low + 1]) << 32
    }

    #[must_use]
    pub fn dword(mut self, n: usize, value: u32) -> Self {
        self.0[n] = value;
        self
    }

    #[must_use]
    pub fn with_qword(self, low: usize, value: u64) -> Self {
        self.dword(low, value as u32).dword(low + 1, (value >> 32) as u32)
    }

    #[must_use]
    pub fn prps(self, first: u64, second: u64) -> Self {
        self.with_qword(6, first).with_qword(8, second)
    }
}

/// A completion queue entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    pub result: u32,
    pub sq_head: u16,
    pub sq_id: u16,
    pub id: u16,
    /// Status code type and status code; where the device makes it, Do Not Retry too.
    pub status: u16,
    pub phase: bool,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            result: u32::from(half(0)) | u32::from(half(2)) << 16,
            sq_head: half(8),
            sq_id: half(10),
            id: half(12),
            status: half(14) >> 1 & 0x7ff,
            phase: half(14) & 1 != 0,
        }
    }

    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.result.to_le_bytes());
        for (at, half) in
            [(8, self.sq_head), (10, self.sq_id), (12, self.id), (14, self.status << 1 | u16::from(self.phase))]
        {
            bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        bytes
    }
}
