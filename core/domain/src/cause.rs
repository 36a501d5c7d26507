//! Why a program has ended.

use abi::call::status;
use core::fmt;

/// An exception of the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub vector: u8,
    pub error: u64,
    /// Of a page fault.
    pub address: u64,
}

/// Why a program has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    Fault(Fault),
    /// Its time was over before it had an answer.
    TimeOut,
    /// It has sent or logged too much.
    Flood,
    /// Another one has ended it.
    Ended,
    /// It has ended itself, with this status.
    Exit(u64),
    /// The memory does not suffice to start it.
    NoMemory,
}

impl Cause {
    /// Is it to be started anew?
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Exit(0) | Self::Ended)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vector {
            0 => write!(f, "division error"),
            6 => write!(f, "invalid instruction"),
            7 => write!(f, "floating point or vector instruction, which programs have none of"),
            13 => write!(f, "general protection fault, error {:#x}", self.error),
            14 => write!(f, "page fault at {:#x}, error {:#x}", self.address, self.error),
            vector => write!(f, "exception {vector}, error {:#x}", self.error),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::TimeOut => write!(f, "its time is over"),
            Self::Flood => write!(f, "too many messages"),
            Self::Ended => write!(f, "another program has ended it"),
            Self::Exit(status::PANIC) => write!(f, "panic"),
            Self::Exit(status::OUT_OF_MEMORY) => write!(f, "its heap is full"),
            Self::Exit(status) => write!(f, "exit with status {status}"),
            Self::NoMemory => write!(f, "no memory to start it"),
        }
    }
}
