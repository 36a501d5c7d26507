//! Hypercalls from a program in the guest: see `abi::hypercall`.
//!
//! Unsafe code: the instruction, and the handler of the signal that says that there is none.
#![deny(unsafe_op_in_unsafe_fn)]

mod instruction;

use abi::hypercall::{Error, LOOKUP, MAX_ANSWER_BYTES, VERSION, VERSION_1};
use std::fmt;

/// The Shoji that this program runs under.
#[derive(Debug)]
pub struct Shoji(());

/// A call that Shoji answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    number: u64,
}

/// Why there is nobody to call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// The instruction is none here, or somebody else answers it.
    NoShoji,
    /// A Shoji of another version; its number.
    OtherVersion(u64),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShoji => f.write_str(
                "Shoji does not run here, or its configuration allows this program no hypercalls: \
                 see [guest-calls]",
            ),
            Self::OtherVersion(version) => {
                write!(f, "this Shoji has version {version} of the hypercalls; install the `shoji` that belongs to it")
            }
        }
    }
}

impl std::error::Error for Absent {}

impl Shoji {
    /// Asks whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub fn find() -> Result<Self, Absent> {
        const VERSION_MASK: u64 = 0xffff;
        match instruction::hypercall(VERSION, &[], &mut []) {
            Some(VERSION_1) => Ok(Self(())),
            Some(other) if (other ^ VERSION_1) & !VERSION_MASK == 0 => Err(Absent::OtherVersion(other & VERSION_MASK)),
            _ => Err(Absent::NoShoji),
        }
    }

    /// Finds a call by its name.
    ///
    /// # Errors
    /// [`Error::Unknown`]: this Shoji does not have it, or does not allow it to this program.
    pub fn look_up(&self, name: &str) -> Result<Call, Error> {
        perform(LOOKUP, name.as_bytes(), &mut []).map(|number| Call { number })
    }

    /// Makes a call; gives the answer.
    ///
    /// # Errors
    /// As Shoji says.
    pub fn call(&self, call: Call, parameters: &[u8]) -> Result<Vec<u8>, Error> {
        let mut answer = vec![0; MAX_ANSWER_BYTES];
        let len_bytes = perform(call.number, parameters, &mut answer)?;
        answer.truncate(usize::try_from(len_bytes).unwrap_or(usize::MAX));
        Ok(answer)
    }
}

fn perform(number: u64, parameters: &[u8], answer: &mut [u8]) -> Result<u64, Error> {
    Error::result(instruction::hypercall(number, parameters, answer).ok_or(Error::Unavailable)?)
}
