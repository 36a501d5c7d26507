//! Why a message has failed.

use core::fmt;

/// Why a message has failed. The numbers cross the border of ring 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Error {
    /// No service has this name.
    NotFound = 1,
    /// The service has ended, also while it was at work.
    Dead,
    /// The service does not know the operation, or takes no such message.
    Refused,
    /// The service is at work for a call that this one is a part of.
    Busy,
    /// The service was at work for others for too long.
    TimedOut,
    /// A queue or a table has no room left.
    Full,
    /// Calls of calls of calls.
    TooDeep,
    /// Not all of a buffer is the caller's own.
    BadAddress,
    /// A name, a descriptor, a lease or a number that cannot be.
    BadArgument,
    /// The budget or the machine has no memory left.
    NoMemory,
    /// There is no such system call.
    UnknownCall,
    /// The manifest does not allow it.
    NotAllowed,
    /// The CPU can run no program at the moment; the guest has the disk switched off.
    NotNow,
    /// A device reports an error.
    Failed,
}

impl Error {
    const ALL: [Self; 14] = [
        Self::NotFound,
        Self::Dead,
        Self::Refused,
        Self::Busy,
        Self::TimedOut,
        Self::Full,
        Self::TooDeep,
        Self::BadAddress,
        Self::BadArgument,
        Self::NoMemory,
        Self::UnknownCall,
        Self::NotAllowed,
        Self::NotNow,
        Self::Failed,
    ];

    /// Never 0.
    pub fn code(self) -> u64 {
        self as u64
    }

    /// `None`: 0. What is no error's number comes from a program that has its own: a refusal.
    pub fn of_code(code: u64) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|error| error.code() == code);
        (code != 0).then_some(known.unwrap_or(Self::Refused))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no service has this name",
            Self::Dead => "the service has ended",
            Self::Refused => "the service refuses it",
            Self::Busy => "the service is at work for this very call",
            Self::TimedOut => "the service is at work for others",
            Self::Full => "too many of them",
            Self::TooDeep => "too many calls within calls",
            Self::BadAddress => "a buffer is not the caller's",
            Self::BadArgument => "an argument makes no sense",
            Self::NoMemory => "no memory left",
            Self::UnknownCall => "there is no such system call",
            Self::NotAllowed => "the program may not do that",
            Self::NotNow => "not at the moment",
            Self::Failed => "the device reports an error",
        })
    }
}

impl core::error::Error for Error {}
