//! An end of the relay: a TAP device, or QEMU's `-netdev stream`, whose frames lie one behind the other in a stream, each behind its length
//! (32 bits, big endian).

use anyhow::{Context, Result};
use nix::poll::PollFlags;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

/// No frame is longer: QEMU's own limit is 68 KiB.
const MAX_FRAME: usize = 69 << 10;
/// What waits for a machine that takes nothing; then frames are lost, as in any switch.
const MAX_WAITING: usize = 1 << 20;
/// Frames taken at a time, so that the other direction gets its turn.
const BATCH: usize = 64;

/// One end.
pub enum Port {
    Tap(File),
    Stream(Stream),
}

/// Where a QEMU connects to; another one may when it has ended.
pub struct Stream {
    listener: UnixListener,
    machine: Option<UnixStream>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Port {
    /// A device of the calling thread's network namespace.
    pub fn tap(name: &str) -> Result<Self> {
        crate::tap::open(name).map(Self::Tap)
    }

    /// QEMU connects there, as a client: an abstract address, which leaves no file and ends with this program.
    pub fn stream(name: &str) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address).with_context(|| format!("cannot listen at @{name}"))?;
        listener.set_nonblocking(true)?;
        Ok(Self::Stream(Stream { listener, machine: None, input: Vec::new(), output: Vec::new() }))
    }

    /// What to wait for before [`Port::receive`] or [`Port::flush`].
    pub fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        match self {
            Self::Tap(file) => (file.as_fd(), PollFlags::POLLIN),
            Self::Stream(Stream { machine: Some(machine), output, .. }) => {
                let room = if output.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
                (machine.as_fd(), PollFlags::POLLIN | room)
            }
            Self::Stream(stream) => (stream.listener.as_fd(), PollFlags::POLLIN),
        }
    }

    /// Frames that have come, if any.
    pub fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        match self {
            Self::Tap(file) => from_tap(file),
            Self::Stream(stream) => stream.receive(),
        }
    }

    /// Gives a frame out; `false`: it is lost, for nobody takes it.
    pub fn send(&mut self, frame: &[u8]) -> Result<bool> {
        match self {
            Self::Tap(file) => match file.write(frame) {
                // Its queue is full, or the device is down.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock)
                        || error.raw_os_error() == Some(nix::libc::EIO) =>
                {
                    Ok(false)
                }
                Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(false),
                result => result.map(|_| true).context("cannot write to the TAP device"),
            },
            Self::Stream(stream) => stream.send(frame),
        }
    }

    /// Gives out what waits.
    pub fn flush(&mut self) -> Result<()> {
        match self {
            Self::Tap(_) => Ok(()),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

fn from_tap(file: &mut File) -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    let mut buffer = vec![0; MAX_FRAME];
    while frames.len() < BATCH {
        match file.read(&mut buffer) {
            Ok(len) => frames.push(buffer[..len].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => break,
            Err(error) => return Err(error).context("cannot read from the TAP device"),
        }
    }
    Ok(frames)
}

impl Stream {
    fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        let Some(machine) = &mut self.machine else {
            self.accept()?;
            return Ok(Vec::new());
        };
        let mut buffer = vec![0; 2 * MAX_FRAME];
        match machine.read(&mut buffer) {
            Ok(0) => self.hang_up(),
            Ok(len) => self.input.extend(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // QEMU was killed.
            Err(_) => self.hang_up(),
        }
        Ok(std::iter::from_fn(|| self.next_frame()).collect())
    }

    fn accept(&mut self) -> Result<()> {
        match self.listener.accept() {
            Ok((machine, _)) => {
                machine.set_nonblocking(true)?;
                self.machine = Some(machine);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("no machine can connect"),
        }
    }

    fn hang_up(&mut self) {
        self.machine = None;
        self.input.clear();
        self.output.clear();
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let len = u32::from_be_bytes(*self.input.first_chunk()?) as usize;
        let frame = self.input.get(4..4 + len)?.to_vec();
        self.input.drain(..4 + len);
        Some(frame)
    }

    fn send(&mut self, frame: &[u8]) -> Result<bool> {
        if self.machine.is_none() || self.output.len() + frame.len() > MAX_WAITING {
            return Ok(false);
        }
        self.output.extend(u32::try_from(frame.len())?.to_be_bytes());
        self.output.extend(frame);
        self.flush()?;
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        let Some(machine) = &mut self.machine else { return Ok(()) };
        while !self.output.is_empty() {
            match machine.write(&self.output) {
                Ok(len) => drop(self.output.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What it has sent before it ended is still to be read.
                Err(_) => self.output.clear(),
            }
        }
        Ok(())
    }
}
