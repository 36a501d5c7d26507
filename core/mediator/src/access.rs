//! One guest access, decoded, and what becomes of it.

/// Which of its own register blocks a mediator is asked about. The numbers are the mediator's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RegionId(pub u8);

/// Width of an access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Width {
    Byte,
    Word,
    Dword,
    Qword,
}

impl Width {
    /// In bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
            Self::Qword => 8,
        }
    }

    /// All ones in this width: what a read of nothing gives.
    pub const fn ones(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
            Self::Qword => u64::MAX,
        }
    }
}

/// Read, or write of a value (zero-extended).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write(u64),
}

/// A guest access to a register block that a mediator owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    pub region: RegionId,
    /// Bytes from the start of the region. In memory it is a multiple of the width: what the guest reaches otherwise comes in
    /// the parts that the bus makes of it.
    pub offset: u32,
    pub width: Width,
    pub op: Op,
}

/// A guest access to the configuration space of a guarded PCI function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigAccess {
    /// Bytes from the start of the function's configuration space; aligned to `width`.
    pub offset: u16,
    pub width: Width,
    pub op: Op,
}

/// The data of a repeated string access. The length is a multiple of the width.
pub enum StringIo<'a> {
    /// REP INS: to be filled with what the guest reads.
    In { width: Width, data: &'a mut [u8] },
    /// REP OUTS: what the guest writes.
    Out { width: Width, data: &'a [u8] },
}

/// What the VMM does with an access that the mediator accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Perform it on the device as it is, before anybody else's call. Not valid when work was pushed in this call.
    Passthrough,
    /// A read gives this value; the device is not touched by the VMM.
    Value(u64),
    /// A write is dealt with; the device is not touched by the VMM.
    Done,
    /// Perform the work that was pushed, then ask again. Where this call pushed none, ask again after a moment without the lock:
    /// work that another CPU is at has to come back, or the device to get on. The mediator bounds the wait by [`crate::Ctx::now`];
    /// the VMM itself refuses the access after a second of it.
    Again,
}

/// An access that breaks the rules of a guarded device (`fail-closed`). The dispatcher alone reacts (`one-reaction`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Says what was wrong, for the log; one fixed sentence per kind, so that it can be logged once per kind.
    pub what: &'static str,
    /// A number that helps to understand it: a register offset, a command code.
    pub detail: u64,
}
