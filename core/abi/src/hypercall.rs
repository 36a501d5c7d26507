//! Hypercalls: VMMCALL or VMCALL, whichever is the CPU vendor's.
//!
//! # Calls by name
//! All are off unless the configuration's `[guest-calls]` allows them, to the guest's kernel or to any program. Where none is
//! allowed to the caller the instruction raises #UD, as on a machine without Shoji. Registers:
//!
//! | register | before | after |
//! |---|---|---|
//! | RAX | number of the call | bytes of the answer, or another result of 0 and above; below 0: an [`Error`] |
//! | RBX | linear address of the parameters | as before |
//! | RCX | their length in bytes, at most [`MAX_PARAMETER_BYTES`] | as before |
//! | RDX | linear address of the buffer for the answer | as before |
//! | RSI | its length in bytes; of more than [`MAX_ANSWER_BYTES`] the rest is not used | as before |
//!
//! Code that is not 64-bit code uses the lower halves of these registers, and gets the lower half of the result. Addresses are
//! linear: no segment is added. Parameters are copied once, and both buffers are reached through the caller's page tables with the
//! caller's rights: what it may not touch raises #PF in it, and the instruction can be executed again, so that a kernel brings
//! pages in as for any other instruction. Nothing has happened then. A buffer of no bytes may lie anywhere.
//!
//! A program asks [`VERSION`] first, then [`LOOKUP`] for the number of each call; numbers differ between builds.
//!
//! # Debug hypercalls
//! Their numbers are fixed; number and result in RAX, an argument in RBX. Of the guest's kernel only, and only where the
//! configuration's `[debug]` allows them.

/// What [`VERSION`] answers: the name, and in the low 16 bits the version of everything in this crate that a guest sees. A
/// change of a layout is a new version.
pub const VERSION_1: u64 = 0x53_484f_4a49_0001; // "SHOJI", then 1

/// Gives [`VERSION_1`]; no parameters, no answer.
pub const VERSION: u64 = 0x100;

/// Parameters: a call's name in ASCII; gives its number, or [`Error::Unknown`].
pub const LOOKUP: u64 = 0x101;

/// Numbers of calls with names begin here.
pub const FIRST_NAMED: u64 = 0x110;

/// Names of the calls.
pub mod name {
    /// No parameters; the answer is [`crate::status::Status`].
    pub const STATUS: &str = "status";
    /// Parameters are [`crate::log::Request`], which tells the answer.
    pub const LOG: &str = "log";
    /// Parameters are [`crate::shell::Request`], the answer is [`crate::shell::Answer`].
    pub const SHELL: &str = "shell";
}

/// Longest parameters.
pub const MAX_PARAMETER_BYTES: usize = 4096;

/// Longest answer.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Why a call has no result; in RAX as a negative number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i64)]
pub enum Error {
    /// No call has this number or name, or not for this caller.
    Unknown = -1,
    /// The parameters are none of this call's.
    Parameters = -2,
    /// More than [`MAX_PARAMETER_BYTES`] of parameters.
    TooLong = -3,
    /// The answer needs a larger buffer.
    BufferTooSmall = -4,
    /// A buffer lies in no RAM of the guest.
    NoRam = -5,
    /// What the call needs is not there: memory of Shoji's, or the service behind it.
    Unavailable = -6,
}

impl Error {
    const ALL: [Self; 6] =
        [Self::Unknown, Self::Parameters, Self::TooLong, Self::BufferTooSmall, Self::NoRam, Self::Unavailable];

    /// What RAX holds.
    pub const fn code(self) -> u64 {
        self as i64 as u64
    }

    /// The result in RAX.
    ///
    /// # Errors
    /// It is negative; one that is not known counts as [`Error::Unavailable`].
    pub fn result(rax: u64) -> Result<u64, Self> {
        if rax as i64 >= 0 {
            return Ok(rax);
        }
        Err(Self::ALL.into_iter().find(|error| error.code() == rax).unwrap_or(Self::Unavailable))
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Shoji's configuration does not allow this call, or this Shoji does not have it",
            Self::Parameters => "Shoji does not understand the parameters",
            Self::TooLong => "the parameters are too long",
            Self::BufferTooSmall => "the answer does not fit into its buffer",
            Self::NoRam => "a buffer lies in no RAM",
            Self::Unavailable => "Shoji cannot answer now",
        })
    }
}

impl core::error::Error for Error {}

/// Logs the exit counters; gives 0. Only where the configuration allows debug hypercalls.
pub const DEBUG_LOG_COUNTERS: u64 = 1;

/// Queues an external interrupt with the vector in RBX, 32 to 255, for this CPU; gives 0. Only where the configuration allows
/// debug hypercalls.
pub const DEBUG_QUEUE_INTERRUPT: u64 = 2;

/// Tries the VMM's deadlines: with RBX other than 0, see [`deadlines`], a task of this CPU begins that sleeps as told there; gives
/// 0. With RBX = 0: how many of its sleeps are over (low half), and how many microseconds the latest one was late (high half). Only
/// where the configuration allows debug hypercalls.
pub const DEBUG_DEADLINES: u64 = 4;

/// RBX of [`DEBUG_DEADLINES`]: class, then milliseconds from bit 8 on (not 0), and the number of sleeps from bit 32 on.
pub mod deadlines {
    pub const AT_EXIT: u64 = 1;
    pub const AT_INTERRUPT: u64 = 2;
    pub const HARD: u64 = 3;
    /// After the last sleep an NMI is sent to this CPU: it wakes a guest that halts with interrupts off.
    pub const END_BY_NMI: u64 = 1 << 7;
}

/// Calls the service that RBX tells, one of [`service`], with the operation in RCX; gives 0 and, in RBX, the answer, or the number of
/// an error of the crate `message`. Only where the configuration allows debug hypercalls.
pub const DEBUG_CALL_SERVICE: u64 = 5;

/// What can be called by [`DEBUG_CALL_SERVICE`].
pub mod service {
    /// The program hello.
    pub const HELLO: u64 = 0;
    /// The program crash.
    pub const CRASH: u64 = 1;
    /// How often the program crash has failed; the operation means nothing.
    pub const FAILURES: u64 = 2;
    /// How long its last restart took, in nanoseconds.
    pub const RESTART_NS: u64 = 3;
    /// Frames that are free.
    pub const FREE_FRAMES: u64 = 4;
    /// How often the program crash was started.
    pub const STARTS: u64 = 5;
}

/// Provokes a defect of the VMM, the one of [`defect`] that RBX tells; does not return. Only where the configuration allows debug
/// hypercalls and defects.
pub const DEBUG_PROVOKE_DEFECT: u64 = 3;

/// Defects that can be provoked.
pub mod defect {
    /// A panic.
    pub const PANIC: u64 = 0;
    /// A read of the null page.
    pub const NULL_READ: u64 = 1;
    /// Recursion until the stack is full.
    pub const STACK_OVERFLOW: u64 = 2;
    /// A write to the VMM's own code, by its address in the direct map.
    pub const CODE_WRITE: u64 = 3;
}

/// Result of a number that does not exist, and of an argument that is out of range.
pub const UNKNOWN: u64 = Error::Unknown.code();
