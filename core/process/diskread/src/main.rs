//! Program: an example of disk I/O beside the guest. It reads a range of a disk, as long as a file, and tells its checksum.
//!
//! Service `diskread`: operation 0 gives the disks, a line each; operation 1 takes `DISK FIRST_SECTOR BYTES` in the first lease and
//! writes what it has read about that into the second. Bytes beyond the last whole sector are read and do not count.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod checksum;
mod range;

use abi::disk::op;
use alloc::vec;
use alloc::vec::Vec;
use checksum::Adler32;
use core::fmt::Write;
use range::{Piece, Range};
use userlib::{Error, Lease, Leases, Port, Service, Writer, now, open};

const LINE_BYTES: usize = 64;
/// Of one request: half of what it may be, so that the heap stays small.
const PIECE_BYTES: usize = abi::disk::MAX_BYTES / 2;
/// What is not read by then is not read: the program may not take longer.
const PATIENCE_NS: u64 = 300_000_000;

struct DiskRead;

impl Service<Port> for DiskRead {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        match op {
            0 => {
                let mut text = vec![0; 4096];
                let len = open(abi::disk::NAME)?.call(op::TEXT, &mut [Lease::Write(&mut text)])?;
                Ok(leases.write(0, 0, text.get(..len as usize).unwrap_or_default())? as u64)
            }
            1 => {
                let mut line = [0; LINE_BYTES];
                let len = leases.read(0, 0, &mut line)?;
                let line = core::str::from_utf8(line.get(..len).unwrap_or_default()).map_err(|_| Error::BadArgument)?;
                read(Range::parse(line).ok_or(Error::BadArgument)?, leases)
            }
            _ => Err(Error::Refused),
        }
    }
}

fn read(range: Range, leases: &mut dyn Leases) -> Result<u64, Error> {
    let disk = Disk { port: open(abi::disk::NAME)?, number: range.disk };
    let (mut sum, mut bytes) = (Adler32::default(), 0_u64);
    let begin = now();
    for Piece { lba, whole_bytes, wanted_bytes } in range.pieces(disk.sector_bytes()?, PIECE_BYTES) {
        let data = disk.read(lba, whole_bytes, begin.saturating_add(PATIENCE_NS))?;
        let wanted = data.get(..wanted_bytes).ok_or(Error::Failed)?;
        sum.add(wanted);
        bytes = bytes.saturating_add(wanted.len() as u64);
    }
    let micros = now().saturating_sub(begin) / 1000;
    let mut out = Writer::new(leases, 1);
    writeln!(out, "{bytes} bytes in {micros} us, Adler-32 {:08x}", sum.value()).map_err(|_| Error::BadArgument)?;
    Ok(out.written())
}

/// One of the machine's disks.
struct Disk {
    port: Port,
    number: u64,
}

impl Disk {
    fn sector_bytes(&self) -> Result<usize, Error> {
        let mut size = [[0; 8]; 2];
        self.port.call(self.number << op::SHIFT | op::SIZE, &mut [Lease::Write(size.as_flattened_mut())])?;
        let [_, sector_bytes] = size.map(u64::from_le_bytes);
        usize::try_from(sector_bytes).map_err(|_| Error::BadArgument)
    }

    /// Begins a request, and asks until it has ended.
    fn read(&self, lba: u64, len_bytes: usize, until: u64) -> Result<Vec<u8>, Error> {
        let what = [lba, len_bytes as u64].map(u64::to_le_bytes);
        let ticket = self.port.call(self.number << op::SHIFT | op::READ, &mut [Lease::Read(what.as_flattened())])?;
        let mut data = vec![0; len_bytes];
        loop {
            match self.port.call(ticket << op::SHIFT | op::POLL, &mut [Lease::Write(&mut data)]) {
                Err(Error::Busy) if now() < until => core::hint::spin_loop(),
                Err(Error::Busy) => {
                    self.port.call(ticket << op::SHIFT | op::FORGET, &mut [])?;
                    return Err(Error::TimedOut);
                }
                Err(error) => return Err(error),
                Ok(len) if len == len_bytes as u64 => return Ok(data),
                Ok(_) => return Err(Error::Failed),
            }
        }
    }
}

fn main() {
    userlib::serve(&[("diskread", &DiskRead)]);
}
