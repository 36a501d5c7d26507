//! Program: a line of dbgsh to text. It knows nothing itself but the commands: what they tell, services of ring 0 and other programs
//! do.
//!
//! Service `shell`, operation 1: the line in the first lease, the text into the second; gives its length.
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

mod commands;

use alloc::string::String;
use alloc::vec;
use commands::System;
use userlib::{Error, Lease, Leases, Port, Service, end_process, new_process, open};

/// Longest line, and longest text.
const LINE_BYTES: usize = 256;
const TEXT_BYTES: usize = 16 << 10;
const RUN: u64 = 1;

struct Shell;

impl Service<Port> for Shell {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        if op != RUN {
            return Err(Error::Refused);
        }
        let mut line = [0; LINE_BYTES];
        let len = leases.read(0, 0, &mut line)?;
        let line = core::str::from_utf8(line.get(..len).unwrap_or_default()).map_err(|_| Error::BadArgument)?;
        let mut text = String::new();
        commands::perform(&mut Real, line, &mut text);
        Ok(leases.write(1, 0, text.as_bytes())? as u64)
    }
}

/// What commands reach.
struct Real;

impl System for Real {
    fn text(&mut self, service: &str, argument: &str) -> Result<String, Error> {
        let mut text = vec![0; TEXT_BYTES];
        let port = open(service)?;
        let answer = match argument {
            "" => port.call(0, &mut [Lease::Write(&mut text)]),
            argument => port.call(1, &mut [Lease::Read(argument.as_bytes()), Lease::Write(&mut text)]),
        };
        text.truncate(answer? as usize);
        String::from_utf8(text).map_err(|_| Error::Refused)
    }

    fn start(&mut self, program: &str) -> Result<u64, Error> {
        new_process(program)
    }

    fn end(&mut self, process: u64) -> Result<(), Error> {
        end_process(process)
    }
}

fn main() {
    userlib::serve(&[("shell", &Shell)]);
}
