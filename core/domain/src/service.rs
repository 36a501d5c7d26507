//! What programs provide and lend, as ring 0 sees it.

use crate::domain::{Domain, Letter};
use crate::{Machine, Space};
use alloc::sync::Arc;
use message::{Error, Leases, Port, Service};

/// A service of a program.
pub(crate) struct Provided<M: Machine> {
    pub domain: Arc<Domain<M>>,
    /// The program's own number of it.
    pub number: u64,
}

impl<M: Machine> Service<Port> for Provided<M> {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        self.domain.call(self.number, op, leases)
    }

    fn on_int(&self, value: u64) -> Result<(), Error> {
        self.domain.send(Letter::Int { service: self.number, value })
    }

    fn on_port(&self, port: Port) -> Result<(), Error> {
        self.domain.send(Letter::Port { service: self.number, port })
    }
}

/// Memory that a program lends with a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LentBuffer {
    pub at: u64,
    pub len: usize,
    pub write: bool,
}

/// The leases of a program's call.
pub(crate) struct Lent<'a, S> {
    pub space: &'a mut S,
    pub buffers: &'a [LentBuffer],
}

impl<S: Space> Lent<'_, S> {
    /// Address and length of what is there from `offset` on, at most `len` bytes.
    fn part(&self, index: usize, write: bool, offset: usize, len: usize) -> Result<(u64, usize), Error> {
        let buffer = self.buffers.get(index).filter(|buffer| buffer.write == write).ok_or(Error::BadArgument)?;
        let len = buffer.len.saturating_sub(offset).min(len);
        let at = buffer.at.checked_add(offset as u64);
        if len == 0 { Ok((buffer.at, 0)) } else { at.map(|at| (at, len)).ok_or(Error::BadAddress) }
    }
}

impl<S: Space> Leases for Lent<'_, S> {
    fn info(&self, index: usize) -> Option<(usize, bool)> {
        self.buffers.get(index).map(|buffer| (buffer.len, buffer.write))
    }

    fn read(&self, index: usize, offset: usize, data: &mut [u8]) -> Result<usize, Error> {
        let (at, len) = self.part(index, false, offset, data.len())?;
        let data = data.get_mut(..len).unwrap_or_default();
        self.space.read(at, data).ok_or(Error::BadAddress)?;
        Ok(len)
    }

    fn write(&mut self, index: usize, offset: usize, data: &[u8]) -> Result<usize, Error> {
        let (at, len) = self.part(index, true, offset, data.len())?;
        let data = data.get(..len).unwrap_or_default();
        self.space.write(at, data).ok_or(Error::BadAddress)?;
        Ok(len)
    }
}
