//! The service `disk`: the same for programs. See [`abi::disk`] for its operations.

use crate::{Error, Io, Ticket, zeros};
use abi::disk::op;
use core::fmt::Write;
use mediator::disk::{MAX_OWN_BYTES, OwnError, OwnOp, OwnRequest};
use message::{Leases, Port, Service, Writer};

/// What is registered.
pub struct DiskService(pub &'static Io);

impl Service<Port> for DiskService {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, message::Error> {
        let Self(io) = *self;
        let (what, rest) = (op & op::MASK, op >> op::SHIFT);
        let disk = usize::try_from(rest).map_err(|_| message::Error::BadArgument)?;
        match what {
            op::TEXT => text(io, leases),
            op::COUNT => Ok(io.count() as u64),
            op::SIZE => {
                let (sectors, sector_bytes) = io.size(disk).ok_or(message::Error::BadArgument)?;
                let fields = [sectors, sector_bytes.into()].map(u64::to_le_bytes);
                Ok(leases.write(0, 0, fields.as_flattened())? as u64)
            }
            op::READ => {
                let [lba, len_bytes] = numbers(leases)?;
                let len_bytes = usize::try_from(len_bytes).ok().filter(|len| *len <= MAX_OWN_BYTES);
                let data = zeros(len_bytes.ok_or(message::Error::BadArgument)?).map_err(|e| code(e.into()))?;
                submit(io, disk, OwnRequest { op: OwnOp::Read, lba, data })
            }
            op::WRITE => {
                let [lba] = numbers(leases)?;
                let (len_bytes, _) =
                    leases.info(1).filter(|(len, _)| *len <= MAX_OWN_BYTES).ok_or(message::Error::BadArgument)?;
                let mut data = zeros(len_bytes).map_err(|e| code(e.into()))?;
                if leases.read(1, 0, &mut data)? != len_bytes {
                    return Err(message::Error::BadArgument);
                }
                submit(io, disk, OwnRequest { op: OwnOp::Write, lba, data })
            }
            op::FLUSH => submit(io, disk, OwnRequest { op: OwnOp::Flush, lba: 0, data: zeros(0).unwrap_or_default() }),
            op::POLL => match io.poll(ticket(rest)) {
                None => Err(message::Error::Busy),
                Some(Err(error)) => Err(code(error)),
                Some(Ok(_)) if leases.info(0).is_none() => Ok(0),
                Some(Ok(data)) => Ok(leases.write(0, 0, &data)? as u64),
            },
            op::FORGET => {
                io.forget(ticket(rest));
                Ok(0)
            }
            _ => Err(message::Error::Refused),
        }
    }
}

/// A line a disk.
fn text(io: &Io, leases: &mut dyn Leases) -> Result<u64, message::Error> {
    let mut out = Writer::new(leases, 0);
    for disk in 0..io.count() {
        let Some((sectors, sector_bytes)) = io.size(disk) else { continue };
        writeln!(out, "disk {disk}: {sectors} sectors of {sector_bytes} bytes")
            .map_err(|_| message::Error::BadArgument)?;
    }
    Ok(out.written())
}

fn submit(io: &Io, disk: usize, request: OwnRequest) -> Result<u64, message::Error> {
    let ticket = io.submit(disk, request).map_err(code)?;
    Ok(ticket.number << op::SHIFT | u64::from(ticket.disk))
}

/// As [`submit`] gives it.
fn ticket(number: u64) -> Ticket {
    Ticket { disk: u8::try_from(number & op::MASK).unwrap_or(0), number: number >> op::SHIFT }
}

/// The numbers in the first lease.
fn numbers<const N: usize>(leases: &dyn Leases) -> Result<[u64; N], message::Error> {
    let mut bytes = [[0; 8]; N];
    if leases.read(0, 0, bytes.as_flattened_mut())? != size_of::<[u64; N]>() {
        return Err(message::Error::BadArgument);
    }
    Ok(bytes.map(u64::from_le_bytes))
}

fn code(error: Error) -> message::Error {
    match error {
        Error::Disk(OwnError::Request) | Error::Unknown => message::Error::BadArgument,
        Error::Disk(OwnError::Busy) => message::Error::Full,
        Error::Disk(OwnError::NotReady) => message::Error::NotNow,
        Error::Disk(OwnError::Denied) => message::Error::NotAllowed,
        Error::Disk(OwnError::Lost) => message::Error::Dead,
        Error::Disk(OwnError::Device) => message::Error::Failed,
        Error::Disk(OwnError::Unserved) => message::Error::NoMemory,
        Error::TimedOut => message::Error::TimedOut,
    }
}
