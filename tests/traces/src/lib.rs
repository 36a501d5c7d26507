//! Scripts of what a driver does to a disk controller, as data, and their trace: every value that a script asks for, a line each.
//!
//! The same script runs in a tiny guest on QEMU's device and in a host test on the simulated one of the crate `sim`. What QEMU's
//! answered lies in the folder `golden`; an emulator case makes it anew and compares, so that another QEMU is noticed. The host test
//! compares the simulated device with it, line by line, but for differences that are listed with their reason.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod ahci;
pub mod nvme;
mod steps;

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// A script: its name is that of the golden file.
pub struct Script {
    pub name: &'static str,
    pub steps: fn() -> Vec<Step>,
}

/// All of them.
pub const SCRIPTS: &[Script] = &[ahci::SCRIPT, nvme::SCRIPT];

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// 32 bits of the controller's registers.
    Register(u32),
    /// 32 bits of memory.
    Memory(u64),
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// These bits have this value.
    Is { mask: u32, value: u32 },
    /// At least one of these bits is set.
    Any(u32),
}

impl Until {
    fn met(self, value: u32) -> bool {
        match self {
            Self::Is { mask, value: wanted } => value & mask == wanted,
            Self::Any(mask) => value & mask != 0,
        }
    }
}

/// One thing that a driver does.
#[derive(Clone, Debug)]
pub enum Step {
    /// What follows is about this.
    About(&'static str),
    Write {
        register: u32,
        value: u32,
    },
    Put {
        at: u64,
        bytes: Vec<u8>,
    },
    Fill {
        at: u64,
        len: usize,
        byte: u8,
    },
    /// Waits, not for ever: a line tells if it never comes.
    Wait {
        name: &'static str,
        place: Place,
        until: Until,
    },
    /// Time for whatever the device still has to do, or must not do.
    Pause,
    /// A line with the value.
    Note {
        name: &'static str,
        place: Place,
    },
    /// A line with these bytes of memory.
    Show {
        name: &'static str,
        at: u64,
        len: usize,
    },
    /// A line with the length and a checksum of memory.
    Sum {
        name: &'static str,
        at: u64,
        len: usize,
    },
}

/// What a script runs on. Memory is the guest's, from [`MEMORY`] on, [`MEMORY_LEN`] bytes.
pub trait Machine {
    fn read(&mut self, register: u32) -> u32;
    fn write(&mut self, register: u32, value: u32);
    fn load(&mut self, at: u64, bytes: &mut [u8]);
    fn store(&mut self, at: u64, bytes: &[u8]);
    /// A millisecond passes, or so.
    fn moment(&mut self);
    /// A line of the trace.
    fn say(&mut self, line: fmt::Arguments<'_>);
}

/// Where scripts have their memory: RAM of the simulated machine, and of every real one that has 64 MiB.
pub const MEMORY: u64 = 32 << 20;
pub const MEMORY_LEN: u64 = 16 << 20;

/// Moments until a wait is given up.
const PATIENCE: u32 = 500;
/// Moments of a pause.
const PAUSE: u32 = 5;

/// Runs a script.
pub fn run(machine: &mut impl Machine, script: &Script) {
    let mut about = "";
    for step in (script.steps)() {
        match step {
            Step::About(what) => about = what,
            Step::Write { register, value } => machine.write(register, value),
            Step::Put { at, bytes } => machine.store(at, &bytes),
            Step::Fill { at, len, byte } => machine.store(at, &vec![byte; len]),
            Step::Wait { name, place, until } => {
                if let Some(last) = wait(machine, place, until) {
                    machine.say(format_args!("{about}: {name}: never, {last:#010x}"));
                }
            }
            Step::Pause => (0..PAUSE).for_each(|_| machine.moment()),
            Step::Note { name, place } => {
                let value = look(machine, place);
                machine.say(format_args!("{about}: {name} = {value:#010x}"));
            }
            Step::Show { name, at, len } => {
                let bytes = loaded(machine, at, len);
                machine.say(format_args!("{about}: {name} = {}", Hex(&bytes)));
            }
            Step::Sum { name, at, len } => {
                let sum = checksum(&loaded(machine, at, len));
                machine.say(format_args!("{about}: {name} = {len} bytes, {sum:016x}"));
            }
        }
    }
}

/// Gives the last value if it never comes.
fn wait(machine: &mut impl Machine, place: Place, until: Until) -> Option<u32> {
    for _ in 0..PATIENCE {
        if until.met(look(machine, place)) {
            return None;
        }
        machine.moment();
    }
    Some(look(machine, place)).filter(|&last| !until.met(last))
}

fn look(machine: &mut impl Machine, place: Place) -> u32 {
    match place {
        Place::Register(register) => machine.read(register),
        Place::Memory(at) => {
            let mut bytes = [0; 4];
            machine.load(at, &mut bytes);
            u32::from_le_bytes(bytes)
        }
    }
}

fn loaded(machine: &mut impl Machine, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    machine.load(at, &mut bytes);
    bytes
}

/// FNV-1a, 64 bits: it tells contents apart, nothing more.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Groups of four bytes, as they lie in memory.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, group) in self.0.chunks(4).enumerate() {
            f.write_str(if n == 0 { "" } else { " " })?;
            group.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}
