//! Program: the log as people want it. It asks the service `log` of ring 0 for the last lines.
//!
//! Service `logs`: operation 0, all of them into the first lease; operation 1, those that hold the text in the first lease, case
//! aside, into the second.
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

mod filter;

use alloc::vec;
use userlib::{Error, Lease, Leases, Port, Service, open};

const TEXT_BYTES: usize = 32 << 10;
const PATTERN_BYTES: usize = 64;

struct Log;

impl Service<Port> for Log {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        let mut pattern = [0; PATTERN_BYTES];
        let (room, pattern) = match op {
            0 => (0, None),
            1 => {
                let len = leases.read(0, 0, &mut pattern)?;
                (1, pattern.get(..len))
            }
            _ => return Err(Error::Refused),
        };
        let (room_bytes, _) = leases.info(room).ok_or(Error::BadArgument)?;
        let mut text = vec![0; TEXT_BYTES];
        let len = open("log")?.call(0, &mut [Lease::Write(&mut text)])?;
        text.truncate(len as usize);
        let kept = filter::lines(&text, pattern.unwrap_or_default());
        leases.write(room, 0, filter::last(&kept, room_bytes)).map(|written| written as u64)
    }
}

fn main() {
    userlib::serve(&[("logs", &Log)]);
}
