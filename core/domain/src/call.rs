//! The table of system calls: what programs can ask for, and nothing else.

use crate::Arguments;
use abi::call;
use message::Error;

/// Some of the program's memory, not checked yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffer {
    pub at: u64,
    pub len: usize,
}

/// A system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemCall {
    Exit { status: u64 },
    Log { level: u64, text: Buffer },
    Grow { bytes: u64 },
    Open { name: Buffer },
    Close { port: u64 },
    SendInt { port: u64, value: u64 },
    SendPort { port: u64, other: u64 },
    Call { port: u64, op: u64, leases: u64, count: usize },
    Register { name: Buffer },
    Unregister { service: u64 },
    Receive { status: u64, answer: u64 },
    LeaseInfo { index: usize },
    LeaseRead { index: usize, offset: usize, buffer: Buffer },
    LeaseWrite { index: usize, offset: usize, buffer: Buffer },
    NewProcess { name: Buffer },
    EndProcess { process: u64 },
    Now,
}

impl SystemCall {
    /// # Errors
    /// [`Error::UnknownCall`].
    pub fn decode(arguments: &Arguments) -> Result<Self, Error> {
        let [a, b, c, d] = arguments.values;
        let buffer = |at, len| Buffer { at, len: len as usize };
        Ok(match arguments.number {
            call::EXIT => Self::Exit { status: a },
            call::LOG => Self::Log { level: a, text: buffer(b, c) },
            call::GROW => Self::Grow { bytes: a },
            call::OPEN => Self::Open { name: buffer(a, b) },
            call::CLOSE => Self::Close { port: a },
            call::SEND_INT => Self::SendInt { port: a, value: b },
            call::SEND_PORT => Self::SendPort { port: a, other: b },
            call::CALL => Self::Call { port: a, op: b, leases: c, count: d as usize },
            call::REGISTER => Self::Register { name: buffer(a, b) },
            call::UNREGISTER => Self::Unregister { service: a },
            call::RECEIVE => Self::Receive { status: a, answer: b },
            call::LEASE_INFO => Self::LeaseInfo { index: a as usize },
            call::LEASE_READ => Self::LeaseRead { index: a as usize, offset: b as usize, buffer: buffer(c, d) },
            call::LEASE_WRITE => Self::LeaseWrite { index: a as usize, offset: b as usize, buffer: buffer(c, d) },
            call::NEW_PROCESS => Self::NewProcess { name: buffer(a, b) },
            call::END_PROCESS => Self::EndProcess { process: a },
            call::NOW => Self::Now,
            _ => return Err(Error::UnknownCall),
        })
    }
}
