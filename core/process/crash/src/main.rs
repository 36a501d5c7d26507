//! A program that fails in every way there is, for tests. What to do is the lowest byte of the operation; the rest is a number for it.
//!
//! Unsafe: the faults themselves (`faults`). Whatever they break is this program's.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

#[cfg(target_os = "none")]
mod faults;
mod sequence;

use alloc::vec::Vec;
use userlib::{Error, Leases, Port, Service};

struct Crash;

impl Service<Port> for Crash {
    fn handle(&self, op: u64, _: &mut dyn Leases) -> Result<u64, Error> {
        match op as u8 {
            // Well, for once.
            0 => Ok(op >> 8),
            1 => overflow(op),
            2 => panic!("on purpose"),
            3 => loop {
                core::hint::spin_loop();
            },
            4 => flood(),
            5 => leak(),
            6 => Ok(sequence::wild()),
            7 => Ok(sequence::random(op >> 8)),
            8 => ports(),
            #[cfg(target_os = "none")]
            fault => faults::provoke(fault),
            #[cfg(not(target_os = "none"))]
            _ => Err(Error::Refused),
        }
    }

    fn on_int(&self, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// Until there is no stack left.
#[expect(unconditional_recursion, reason = "it is what is wanted")]
fn overflow(depth: u64) -> Result<u64, Error> {
    let frame = [depth; 32];
    core::hint::black_box(&frame);
    let result = overflow(depth.wrapping_add(1));
    core::hint::black_box(&frame);
    result
}

/// Messages without end, to itself: it has no time to read them.
fn flood() -> Result<u64, Error> {
    let own = userlib::open("crash")?;
    loop {
        let _full = own.send_int(1);
    }
}

/// Memory without end.
fn leak() -> Result<u64, Error> {
    let mut all = Vec::new();
    loop {
        all.push([0_u8; 1000].to_vec());
    }
}

/// As many ports as it gets.
fn ports() -> Result<u64, Error> {
    let mut all = Vec::new();
    loop {
        match userlib::open("crash") {
            Ok(port) => all.push(port),
            Err(error) => return if error == Error::Full { Ok(all.len() as u64) } else { Err(error) },
        }
    }
}

fn main() {
    userlib::serve(&[("crash", &Crash)]);
}
