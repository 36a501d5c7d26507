//! The service `disk`, for programs whose manifest allows it.

/// Its name.
pub const NAME: &str = "disk";

/// Operations: the lowest byte of the number; the disk or the ticket in the others.
pub mod op {
    pub const SHIFT: u32 = 8;
    pub const MASK: u64 = 0xff;
    /// A text for people into the first lease.
    pub const TEXT: u64 = 0;
    /// Answers how many disks there are; their numbers begin at 0.
    pub const COUNT: u64 = 1;
    /// Number of sectors and bytes of a sector of a disk into the first lease, 8 bytes each, little-endian.
    pub const SIZE: u64 = 2;
    /// First lease: number of the first sector and number of bytes, 8 bytes each. Answers a ticket.
    pub const READ: u64 = 3;
    /// First lease: number of the first sector, 8 bytes; second lease: what is written. Answers a ticket.
    pub const WRITE: u64 = 4;
    /// What was written is on the medium afterwards. Answers a ticket.
    pub const FLUSH: u64 = 5;
    /// What has become of the request with a ticket: the error `Busy` while it is under way; what was read into the first lease, and
    /// its length as the answer. It is to be asked again until then, soon.
    pub const POLL: u64 = 6;
    /// Nobody asks for the request with a ticket any more.
    pub const FORGET: u64 = 7;
}

/// Most bytes of one request.
pub const MAX_BYTES: usize = 64 << 10;
