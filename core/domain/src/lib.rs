//! Protection domains: programs that run in ring 3, each in an address space of its own, and serve calls ([`message`]).
//!
//! A program runs when it is called, on the CPU of the caller, until it waits for the next call: entering it is a function that
//! returns ([`Thread::run`]), and calls within calls are recursion. It has budgets of memory, time and messages. One that
//! faults or overruns a budget ends: its memory is wiped and given back, its services are gone, whoever waits for its answer gets
//! an error, and after a while it is started anew. It reaches nothing but its memory and its system calls ([`SystemCall`]), and
//! these read and write its memory by its own page tables only.
//!
//! What differs from machine to machine is behind [`Machine`], so that all of this runs on the host in tests.
#![no_std]
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
#[cfg(test)]
extern crate std;

mod body;
mod call;
mod cause;
mod domain;
mod domains;
mod elf;
mod perform;
mod program;
mod service;
#[cfg(test)]
mod tests;

pub use call::{Buffer, SystemCall};
pub use cause::{Cause, Fault};
pub use domains::{Domains, State, Status};
pub use elf::{BadElf, Image, Segment};
pub use program::{Program, Start};

/// The lower half of the address space is the program's.
pub const SPACE_END: u64 = 1 << 47;
/// Where the heap begins.
pub const HEAP: u64 = 0x1000_0000;
/// Where the stack ends. What lies below it is not mapped.
pub const STACK_END: u64 = 0x2000_0000;
pub const PAGE_BYTES: u64 = 4096;

/// What a program may do with memory: never write and execute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    Read,
    Write,
    Execute,
}

/// The memory of a program. It is wiped and given back when this is dropped.
pub trait Space: Send {
    /// Maps zeroed pages. `None` when the memory does not suffice, or something is mapped there; some may be mapped then.
    fn map(&mut self, at: u64, pages: usize, rights: Rights) -> Option<()>;
    /// Copies what the program itself can read. `None`: it cannot read all of it; a part may have been copied.
    fn read(&self, at: u64, data: &mut [u8]) -> Option<()>;
    /// Copies to where the program itself can write; as [`Space::read`].
    fn write(&mut self, at: u64, data: &[u8]) -> Option<()>;
    /// Copies to mapped memory whatever the program's rights; as [`Space::read`].
    fn load(&mut self, at: u64, data: &[u8]) -> Option<()>;
    /// How many are mapped.
    fn pages(&self) -> usize;
}

/// Why a program stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// A system call.
    Call,
    Fault(Fault),
    /// It has run up to the moment that it was given.
    TimeOut,
}

/// A system call as it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arguments {
    pub number: u64,
    pub values: [u64; 4],
}

/// Registers for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    pub rip: u64,
    pub rsp: u64,
    pub rflags: u64,
    /// RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15.
    pub gprs: [u64; 15],
}

/// The registers of a program, and the way into it.
pub trait Thread: Send {
    type Space: Space;
    /// Runs it up to its next trap, or to `until` (nanoseconds since Shoji started).
    fn run(&mut self, space: &mut Self::Space, until: u64) -> Trap;
    fn arguments(&self) -> Arguments;
    fn set_results(&mut self, results: [u64; 4]);
    fn registers(&self) -> Registers;
}

/// The machine that programs run on.
pub trait Machine: Send + Sync + 'static {
    type Space: Space + 'static;
    type Thread: Thread<Space = Self::Space> + 'static;
    /// An empty one. `None` when the memory does not suffice.
    fn new_space(&self) -> Option<Self::Space>;
    /// Starts at `entry` with this stack.
    fn new_thread(&self, entry: u64, stack: u64) -> Self::Thread;
    /// Nanoseconds since Shoji started.
    fn now(&self) -> u64;
    /// Of the CPU that runs this, from 0.
    fn cpu_number(&self) -> usize;
    /// Can this CPU run a program now, and get back from it in time?
    fn may_run(&self) -> bool;
    /// No program runs on this CPU any more: what watches over their time is not needed for now.
    fn rest(&self);
    /// A program has failed; [`Domains::restart`] is to be called at that time, or later.
    fn on_failure(&self, restart_at: u64);
}
