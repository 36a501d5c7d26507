//! What each system call does. Whatever a program passes, it gets a result, waits, or ends.

use crate::body::Body;
use crate::domain::Domain;
use crate::service::{Lent, LentBuffer, Provided};
use crate::{Buffer, Cause, Machine, Space, SystemCall, Thread};
use abi::call::{LEASE_BYTES, MOST_LEASES};
use alloc::sync::Arc;
use core::fmt::{self, Write};
use message::{Error, Leases};

/// The answer to the call that a program has worked on.
pub(crate) type Reply = Result<u64, Error>;

/// How a program goes on.
pub(crate) enum Next {
    Resume,
    /// It waits for a call, having answered the last one.
    Wait(Reply),
}

/// Of a line of the log.
const LINE_BYTES: usize = 200;
/// What is copied at once between two programs.
const CHUNK_BYTES: usize = 512;

impl<M: Machine> Domain<M> {
    /// Performs the system call that the program has stopped at.
    pub(crate) fn perform(self: &Arc<Self>, body: &mut Body<M>, leases: &mut dyn Leases) -> Result<Next, Cause> {
        let call = SystemCall::decode(&body.arguments());
        match call {
            Ok(SystemCall::Exit { status }) => return Err(Cause::Exit(status)),
            Ok(SystemCall::Receive { status, answer }) => {
                return Ok(Next::Wait(Error::of_code(status).map_or(Ok(answer), Err)));
            }
            Ok(SystemCall::Log { .. } | SystemCall::SendInt { .. } | SystemCall::SendPort { .. }) => {
                body.count_message()?;
            }
            _ => {}
        }
        let results = match call.and_then(|call| self.result(body, leases, call)) {
            Ok([first, second]) => [0, first, second, 0],
            Err(error) => [error.code(), 0, 0, 0],
        };
        body.thread.set_results(results);
        Ok(Next::Resume)
    }

    fn result(
        self: &Arc<Self>,
        body: &mut Body<M>,
        leases: &mut dyn Leases,
        call: SystemCall,
    ) -> Result<[u64; 2], Error> {
        let one = |result: u64| Ok([result, 0]);
        match call {
            SystemCall::Log { level, text } => self.log(body, level, text).and(Ok([0; 2])),
            SystemCall::Grow { bytes } => body.grow(bytes, self.program).and_then(one),
            SystemCall::Open { name } => {
                let name = body.name(name)?;
                // What goes through a tunnel is ring 0's affair alone.
                if name.as_str() == abi::disk::NAME && !self.program.disks || name.as_str() == abi::vpn::NAME {
                    return Err(Error::NotAllowed);
                }
                let port = message::open(name.as_str())?;
                body.add_port(port).and_then(one)
            }
            SystemCall::Close { port } => body.remove_port(port).and(Ok([0; 2])),
            SystemCall::SendInt { port, value } => body.port(port)?.clone().send_int(value).and(Ok([0; 2])),
            SystemCall::SendPort { port, other } => {
                let other = body.port(other)?.clone();
                body.port(port)?.clone().send_port(other).and(Ok([0; 2]))
            }
            SystemCall::Call { port, op, leases, count } => call_out(body, port, op, leases, count).and_then(one),
            SystemCall::Register { name } => self.register(body, name).and_then(one),
            SystemCall::Unregister { service } => body.remove_service(service).and(Ok([0; 2])),
            SystemCall::LeaseInfo { index } => {
                let (len, write) = leases.info(index).ok_or(Error::BadArgument)?;
                Ok([len as u64, write.into()])
            }
            SystemCall::LeaseRead { index, offset, buffer } => {
                lease_read(body, leases, index, offset, buffer).and_then(one)
            }
            SystemCall::LeaseWrite { index, offset, buffer } => {
                lease_write(body, leases, index, offset, buffer).and_then(one)
            }
            SystemCall::NewProcess { .. } | SystemCall::EndProcess { .. } if !self.program.manages => {
                Err(Error::NotAllowed)
            }
            SystemCall::NewProcess { name } => self.home.start(body.name(name)?.as_str()).and_then(one),
            SystemCall::EndProcess { process } => self.home.end(process).and(Ok([0; 2])),
            SystemCall::Now => one(self.home.machine.now()),
            // Dealt with before.
            SystemCall::Exit { .. } | SystemCall::Receive { .. } => Err(Error::UnknownCall),
        }
    }

    fn log(&self, body: &Body<M>, level: u64, text: Buffer) -> Result<(), Error> {
        let mut bytes = [0; LINE_BYTES];
        let line = bytes.get_mut(..text.len.min(LINE_BYTES)).unwrap_or_default();
        body.space.read(text.at, line).ok_or(Error::BadAddress)?;
        let level = match level {
            1 => log::Level::Error,
            2 => log::Level::Warn,
            3 => log::Level::Info,
            4 => log::Level::Debug,
            _ => log::Level::Trace,
        };
        log::log!(level, "{}: {}", self.program.name, Plain(line));
        Ok(())
    }

    fn register(self: &Arc<Self>, body: &mut Body<M>, name: Buffer) -> Result<u64, Error> {
        let (name, number) = (body.name(name)?, body.next_service()?);
        // The manifest says who provides what: no program takes another's name.
        if !self.program.services.contains(&name.as_str()) {
            return Err(Error::NotAllowed);
        }
        let service = Arc::new(Provided { domain: Arc::clone(self), number });
        body.add_service(message::register(name, self.program.name, service)?)
    }
}

/// The program calls a service itself.
fn call_out<M: Machine>(body: &mut Body<M>, port: u64, op: u64, leases: u64, count: usize) -> Result<u64, Error> {
    let mut buffers = [LentBuffer::default(); MOST_LEASES];
    let buffers = buffers.get_mut(..count).ok_or(Error::BadArgument)?;
    for (index, buffer) in buffers.iter_mut().enumerate() {
        let mut raw = [0; LEASE_BYTES];
        let at = leases.checked_add(index.saturating_mul(LEASE_BYTES) as u64).ok_or(Error::BadAddress)?;
        body.space.read(at, &mut raw).ok_or(Error::BadAddress)?;
        let mut words = raw.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || words.next().unwrap_or(0);
        *buffer = LentBuffer { at: next(), len: next() as usize, write: next() & 1 != 0 };
    }
    let port = body.port(port)?.clone();
    port.call(op, &mut Lent { space: &mut body.space, buffers })
}

fn lease_read<M: Machine>(
    body: &mut Body<M>,
    leases: &dyn Leases,
    index: usize,
    offset: usize,
    buffer: Buffer,
) -> Result<u64, Error> {
    in_chunks(offset, buffer, |offset, at, chunk| {
        let count = leases.read(index, offset, chunk)?;
        body.space.write(at, chunk.get(..count).unwrap_or_default()).ok_or(Error::BadAddress)?;
        Ok(count)
    })
}

fn lease_write<M: Machine>(
    body: &mut Body<M>,
    leases: &mut dyn Leases,
    index: usize,
    offset: usize,
    buffer: Buffer,
) -> Result<u64, Error> {
    in_chunks(offset, buffer, |offset, at, chunk| {
        body.space.read(at, chunk).ok_or(Error::BadAddress)?;
        leases.write(index, offset, chunk)
    })
}

/// Calls `copy` with offset, address and room for each chunk of a buffer until one is not filled. Gives the sum of what it gave.
fn in_chunks(
    offset: usize,
    buffer: Buffer,
    mut copy: impl FnMut(usize, u64, &mut [u8]) -> Result<usize, Error>,
) -> Result<u64, Error> {
    let (mut chunk, mut done) = ([0; CHUNK_BYTES], 0_usize);
    while done < buffer.len {
        let wanted = buffer.len.saturating_sub(done).min(CHUNK_BYTES);
        let at = buffer.at.checked_add(done as u64).ok_or(Error::BadAddress)?;
        let chunk = chunk.get_mut(..wanted).unwrap_or_default();
        let count = copy(offset.checked_add(done).ok_or(Error::BadArgument)?, at, chunk)?;
        done = done.saturating_add(count);
        if count < wanted {
            break;
        }
    }
    Ok(done as u64)
}

/// A program's bytes, of which none does anything to a terminal.
struct Plain<'a>(&'a [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b' '..=b'~' => f.write_char(byte.into()),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}
