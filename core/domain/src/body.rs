//! A program that runs: its memory, registers and tables.

use crate::{
    Arguments, BadElf, Buffer, Cause, HEAP, Image, Machine, PAGE_BYTES, Program, Rights, STACK_END, Space, Thread,
};
use alloc::vec::Vec;
use core::ops::Range;
use message::{Error, Name, Port, Registration};
use record::Frames;

/// Ports of a program at the same time, and services.
const MOST_PORTS: usize = 16;
const MOST_SERVICES: usize = 8;

/// Of a back trace: in endless recursion the first ones tell enough.
const MOST_CALLERS: usize = 4;

pub(crate) struct Body<M: Machine> {
    pub thread: M::Thread,
    pub space: M::Space,
    ports: Vec<Option<Port>>,
    services: Vec<Option<Registration>>,
    heap_pages: u64,
    text: Option<Range<u64>>,
    /// When this run must have come to its end.
    pub until: u64,
    /// What may still be sent and logged in this run.
    pub messages_left: u32,
}

/// Why a program does not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unstartable {
    Elf(BadElf),
    NoMemory,
}

impl From<BadElf> for Unstartable {
    fn from(bad: BadElf) -> Self {
        Self::Elf(bad)
    }
}

impl<M: Machine> Body<M> {
    /// Maps the program; it is about to execute its first instruction.
    pub fn new(machine: &M, program: &Program) -> Result<Self, Unstartable> {
        let image = Image::parse(program.elf)?;
        let mut space = machine.new_space().ok_or(Unstartable::NoMemory)?;
        map(&mut space, &image, program).ok_or(Unstartable::NoMemory)?;
        Ok(Self {
            // As after a call (System V ABI, AMD64 supplement 1.0, s. 3.2.2).
            thread: machine.new_thread(image.entry, STACK_END.wrapping_sub(8)),
            space,
            ports: Vec::new(),
            services: Vec::new(),
            heap_pages: 0,
            text: image.text().next(),
            until: 0,
            messages_left: 0,
        })
    }

    pub fn arguments(&self) -> Arguments {
        self.thread.arguments()
    }

    /// One message more.
    pub fn count_message(&mut self) -> Result<(), Cause> {
        self.messages_left = self.messages_left.checked_sub(1).ok_or(Cause::Flood)?;
        Ok(())
    }

    /// More heap, which begins where what there is ends.
    pub fn grow(&mut self, bytes: u64, program: &Program) -> Result<u64, Error> {
        if bytes == 0 || !bytes.is_multiple_of(PAGE_BYTES) {
            return Err(Error::BadArgument);
        }
        let pages = bytes / PAGE_BYTES;
        let budget = u64::from(program.heap_kib) << 10;
        let sum = self.heap_pages.checked_add(pages).ok_or(Error::NoMemory)?;
        if sum.checked_mul(PAGE_BYTES).is_none_or(|sum| sum > budget) {
            return Err(Error::NoMemory);
        }
        let at = HEAP.wrapping_add(self.heap_pages.wrapping_mul(PAGE_BYTES));
        // What a failure has mapped is counted as the program's: it cannot be mapped twice.
        self.heap_pages = sum;
        self.space.map(at, pages as usize, Rights::Write).ok_or(Error::NoMemory)?;
        Ok(at)
    }

    pub fn name(&self, buffer: Buffer) -> Result<Name, Error> {
        let mut bytes = [0; Name::MAX_BYTES];
        let name = bytes.get_mut(..buffer.len).ok_or(Error::BadArgument)?;
        self.space.read(buffer.at, name).ok_or(Error::BadAddress)?;
        Name::new(name)
    }

    pub fn add_port(&mut self, port: Port) -> Result<u64, Error> {
        add(&mut self.ports, port, MOST_PORTS)
    }

    pub fn port(&self, descriptor: u64) -> Result<&Port, Error> {
        self.ports.get(descriptor as usize).and_then(Option::as_ref).ok_or(Error::BadArgument)
    }

    pub fn remove_port(&mut self, descriptor: u64) -> Result<Port, Error> {
        self.ports.get_mut(descriptor as usize).and_then(Option::take).ok_or(Error::BadArgument)
    }

    /// The number that the next service will have.
    pub fn next_service(&self) -> Result<u64, Error> {
        free(&self.services, MOST_SERVICES).map(|number| number as u64)
    }

    pub fn add_service(&mut self, registration: Registration) -> Result<u64, Error> {
        add(&mut self.services, registration, MOST_SERVICES)
    }

    pub fn remove_service(&mut self, number: u64) -> Result<Registration, Error> {
        self.services.get_mut(number as usize).and_then(Option::take).ok_or(Error::BadArgument)
    }

    /// Writes registers and back trace to the log, which `cargo xtask symbolize` reads.
    pub fn log_registers(&self, program: &str) {
        const NAMES: [&str; 15] =
            ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        let registers = self.thread.registers();
        log::warn!("| at {program}+{:#x}, rsp {:#x}, rflags {:#x}", registers.rip, registers.rsp, registers.rflags);
        for (names, values) in NAMES.chunks(5).zip(registers.gprs.chunks(5)) {
            let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|n| (names.get(n).unwrap_or(&""), values.get(n).unwrap_or(&0)));
            log::warn!(
                "| {} {:#x} {} {:#x} {} {:#x} {} {:#x} {} {:#x}",
                a.0,
                a.1,
                b.0,
                b.1,
                c.0,
                c.1,
                d.0,
                d.1,
                e.0,
                e.1
            );
        }
        let [_, _, _, _, _, _, rbp, ..] = registers.gprs;
        let read = |at| {
            let mut word = [0; 8];
            self.space.read(at, &mut word).map_or(0, |()| u64::from_le_bytes(word))
        };
        let stack = registers.rsp.min(STACK_END)..STACK_END;
        for caller in Frames::new(rbp, stack, self.text.clone().unwrap_or_default(), read).take(MOST_CALLERS) {
            log::warn!("| called from {program}+{caller:#x}");
        }
    }
}

fn map<S: Space>(space: &mut S, image: &Image<'_>, program: &Program) -> Option<()> {
    for segment in &image.segments {
        let pages = segment.pages.end.checked_sub(segment.pages.start)? / PAGE_BYTES;
        space.map(segment.pages.start, pages as usize, segment.rights)?;
        space.load(segment.at, segment.data)?;
    }
    let stack_pages = (u64::from(program.stack_kib) << 10).div_ceil(PAGE_BYTES);
    let stack = STACK_END.checked_sub(stack_pages.checked_mul(PAGE_BYTES)?)?;
    space.map(stack, stack_pages as usize, Rights::Write)
}

/// The first place that is free.
fn free<T>(table: &[Option<T>], most: usize) -> Result<usize, Error> {
    let place = table.iter().position(Option::is_none).unwrap_or(table.len());
    if place < most { Ok(place) } else { Err(Error::Full) }
}

fn add<T>(table: &mut Vec<Option<T>>, value: T, most: usize) -> Result<u64, Error> {
    let place = free(table, most)?;
    match table.get_mut(place) {
        Some(slot) => *slot = Some(value),
        None => {
            table.try_reserve(1).map_err(|_| Error::NoMemory)?;
            table.push(Some(value));
        }
    }
    Ok(place as u64)
}
