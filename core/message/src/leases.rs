//! Buffers that are lent for one call.

use crate::Error;
use core::fmt;

/// The buffers of a call, in the caller's order.
pub trait Leases {
    /// Length in bytes, and whether it is to be written instead of read. `None`: the call lends no such buffer.
    fn info(&self, index: usize) -> Option<(usize, bool)>;

    /// Copies from a buffer that is lent to be read: as much as there is from `offset` on, at most what `data` holds. Gives how
    /// much.
    ///
    /// # Errors
    /// [`Error::BadArgument`]: no such buffer, or one to be written.
    fn read(&self, index: usize, offset: usize, data: &mut [u8]) -> Result<usize, Error>;

    /// Copies to a buffer that is lent to be written, as much as has room from `offset` on. Gives how much.
    ///
    /// # Errors
    /// [`Error::BadArgument`]: no such buffer, or one to be read.
    fn write(&mut self, index: usize, offset: usize, data: &[u8]) -> Result<usize, Error>;
}

/// A buffer of the caller's own memory.
#[derive(Debug)]
pub enum Lease<'a> {
    Read(&'a [u8]),
    Write(&'a mut [u8]),
}

impl Leases for [Lease<'_>] {
    fn info(&self, index: usize) -> Option<(usize, bool)> {
        self.get(index).map(|lease| match lease {
            Lease::Read(buffer) => (buffer.len(), false),
            Lease::Write(buffer) => (buffer.len(), true),
        })
    }

    fn read(&self, index: usize, offset: usize, data: &mut [u8]) -> Result<usize, Error> {
        let Some(Lease::Read(buffer)) = self.get(index) else { return Err(Error::BadArgument) };
        let from = buffer.get(offset..).unwrap_or_default();
        let (from, to) = (from.get(..data.len()).unwrap_or(from), data);
        if let Some(to) = to.get_mut(..from.len()) {
            to.copy_from_slice(from);
        }
        Ok(from.len())
    }

    fn write(&mut self, index: usize, offset: usize, data: &[u8]) -> Result<usize, Error> {
        let Some(Lease::Write(buffer)) = self.get_mut(index) else { return Err(Error::BadArgument) };
        let to = buffer.get_mut(offset..).unwrap_or_default();
        let count = to.len().min(data.len());
        if let (Some(to), Some(from)) = (to.get_mut(..count), data.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

impl<const N: usize> Leases for [Lease<'_>; N] {
    fn info(&self, index: usize) -> Option<(usize, bool)> {
        self.as_slice().info(index)
    }

    fn read(&self, index: usize, offset: usize, data: &mut [u8]) -> Result<usize, Error> {
        self.as_slice().read(index, offset, data)
    }

    fn write(&mut self, index: usize, offset: usize, data: &[u8]) -> Result<usize, Error> {
        self.as_mut_slice().write(index, offset, data)
    }
}

/// Those of a call that lends nothing.
#[derive(Debug)]
pub struct NoLeases;

impl Leases for NoLeases {
    fn info(&self, _: usize) -> Option<(usize, bool)> {
        None
    }

    fn read(&self, _: usize, _: usize, _: &mut [u8]) -> Result<usize, Error> {
        Err(Error::BadArgument)
    }

    fn write(&mut self, _: usize, _: usize, _: &[u8]) -> Result<usize, Error> {
        Err(Error::BadArgument)
    }
}

/// Text into a buffer that is lent to be written. What has no room left is dropped.
pub struct Writer<'a> {
    leases: &'a mut dyn Leases,
    index: usize,
    written: usize,
}

impl<'a> Writer<'a> {
    pub fn new(leases: &'a mut dyn Leases, index: usize) -> Self {
        Self { leases, index, written: 0 }
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written as u64
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let count = self.leases.write(self.index, self.written, text.as_bytes()).map_err(|_| fmt::Error)?;
        self.written = self.written.saturating_add(count);
        Ok(())
    }
}
