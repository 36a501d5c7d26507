//! Ports: what messages are sent through.

use crate::system_call::pass;
use crate::{Error, Lease};
use abi::call;

/// A port to a service. Closed when it is dropped.
#[derive(Debug)]
pub struct Port(u64);

/// A port to the service of this name, which is started if need be.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Full`] where the program has too many, and what the start of a service gives.
pub fn open(name: &str) -> Result<Port, Error> {
    pass(call::OPEN, [name.as_ptr() as u64, name.len() as u64, 0, 0]).map(|[descriptor, _]| Port(descriptor))
}

impl Port {
    pub(crate) fn of(descriptor: u64) -> Self {
        Self(descriptor)
    }

    /// Asks the service, and waits for its answer.
    ///
    /// # Errors
    /// Those of the service; [`Error::Dead`] when it has ended, also meanwhile.
    pub fn call(&self, op: u64, leases: &mut [Lease<'_>]) -> Result<u64, Error> {
        let mut raw = [[0; 3]; call::MOST_LEASES];
        if leases.len() > raw.len() {
            return Err(Error::BadArgument);
        }
        for (lease, raw) in leases.iter_mut().zip(&mut raw) {
            *raw = match lease {
                Lease::Read(buffer) => [buffer.as_ptr() as u64, buffer.len() as u64, 0],
                Lease::Write(buffer) => [buffer.as_mut_ptr() as u64, buffer.len() as u64, 1],
            };
        }
        pass(call::CALL, [self.0, op, raw.as_ptr() as u64, leases.len() as u64]).map(|[answer, _]| answer)
    }

    /// # Errors
    /// As [`Port::call`]; [`Error::Full`] where a queue is.
    pub fn send_int(&self, value: u64) -> Result<(), Error> {
        pass(call::SEND_INT, [self.0, value, 0, 0]).map(drop)
    }

    /// # Errors
    /// As [`Port::send_int`].
    pub fn send_port(&self, port: &Port) -> Result<(), Error> {
        pass(call::SEND_PORT, [self.0, port.0, 0, 0]).map(drop)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // It is there.
        let _ = pass(call::CLOSE, [self.0, 0, 0, 0]);
    }
}

/// Starts a program of the manifest; gives the number of the process. Only where the manifest lets this program manage others.
///
/// # Errors
/// [`Error::NotAllowed`], [`Error::NotFound`], [`Error::Busy`] if it runs, [`Error::Dead`] if it has just failed.
pub fn new_process(name: &str) -> Result<u64, Error> {
    pass(call::NEW_PROCESS, [name.as_ptr() as u64, name.len() as u64, 0, 0]).map(|[process, _]| process)
}

/// Ends a process. Only where the manifest lets this program manage others.
///
/// # Errors
/// [`Error::NotAllowed`], [`Error::NotFound`].
pub fn end_process(process: u64) -> Result<(), Error> {
    pass(call::END_PROCESS, [process, 0, 0, 0]).map(drop)
}
