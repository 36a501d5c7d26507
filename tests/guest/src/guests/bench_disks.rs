//! What an operation of a disk costs, as the guest's driver sees it: from the first register to the last acknowledgement, and
//! how often it leaves the guest.

use super::bench::{ROUNDS, least, report};
use super::shoji;
use crate::machine::ahci::Ahci;
use crate::machine::ata::{SECTOR, fill_pattern};
use crate::machine::hypercall::hypercall;
use crate::machine::irq::with_lines;
use crate::machine::memory::{buffer, buffer_address};
use crate::machine::nvme::Nvme;
use crate::{boot, report};
use abi::hypercall::{Error, LOOKUP, MAX_ANSWER_BYTES, name};
use abi::status::Status;

/// Where no range of the disk is encrypted.
const ANYWHERE: u32 = 8192;
/// The buffer for what Shoji answers.
const ANSWER: usize = 2;

pub fn ahci() {
    let disk = Ahci::start();
    with_lines(1 << disk.line, || {
        measure(|write, lba, address, sectors| disk.transfer(write, lba, address, sectors));
    });
    disk.stop();
}

pub fn nvme() {
    let mut disk = Nvme::start();
    with_lines(1 << disk.line, || {
        measure(|write, lba, address, sectors| disk.transfer(write, lba, address, sectors));
    });
    disk.stop();
}

/// Writes and reads of both sizes in each place. `transfer` takes the direction (write), LBA, address and sectors.
pub fn measure(mut transfer: impl FnMut(bool, u64, u64, usize)) {
    let places = match boot::encrypted_range() {
        Some((first, count)) => [("encrypted", first), ("plain", first + count)],
        // The second is left out below.
        None => [("free", ANYWHERE); 2],
    };
    let calls = shoji().then(|| look_up(name::STATUS));
    // Small ones first, so that a trace of single steps comes to all of them soon.
    for (size, sectors) in [("4k", 8), ("1m", 2048)] {
        for (number, (place, lba)) in places.into_iter().enumerate() {
            if number > 0 && (place, lba) == places[0] {
                break;
            }
            fill_pattern(lba.into(), 1, &mut buffer(0)[..sectors * SECTOR]);
            for (direction, write) in [("write", true), ("read", false)] {
                let address = buffer_address(if write { 0 } else { 1 });
                let before = calls.map(exits);
                let taken = least(ROUNDS, || transfer(write, lba.into(), address, sectors));
                report(format_args!("{direction}_{size}_{place}"), taken);
                if let Some((before, after)) = before.zip(calls.map(exits)) {
                    // The second question is one, and so is the CPUID before it.
                    say!("BENCH exits_{direction}_{size}_{place} {}", (after - before - 2) as f64 / ROUNDS as f64);
                }
            }
            let same = buffer(0)[..sectors * SECTOR] == buffer(1)[..sectors * SECTOR];
            check!(same, "{place}: other data than was written");
        }
    }
}

fn look_up(name: &str) -> u64 {
    let at = buffer(ANSWER);
    at[..name.len()].copy_from_slice(name.as_bytes());
    answered(hypercall(LOOKUP, (buffer_address(ANSWER), name.len() as u64), (0, 0)).map(Error::result))
}

/// How often the guest was left so far, whatever for.
fn exits(status: u64) -> u64 {
    let answer = hypercall(status, (0, 0), (buffer_address(ANSWER), MAX_ANSWER_BYTES as u64)).map(Error::result);
    let len = answered(answer) as usize;
    match postcard::from_bytes::<Status>(&buffer(ANSWER)[..len]) {
        Ok(status) => status.cpus.iter().flat_map(|cpu| &cpu.exits).sum(),
        Err(_) => report::fail(format_args!("Shoji's status is {len} bytes without sense")),
    }
}

fn answered<F: core::fmt::Debug>(answer: Result<Result<u64, Error>, F>) -> u64 {
    match answer {
        Ok(Ok(value)) => value,
        other => report::fail(format_args!("Shoji answers {other:?}")),
    }
}
