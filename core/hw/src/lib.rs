//! The machine: memory, tables, ports, console, time. The only crate besides the world switch, the entry code and the
//! binary that touches hardware.
//!
//! Sources: AMD64 Architecture Programmer's Manual Vol. 2 (24593, 3.41), cited as "APM"; ACPI Specification 6.5.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
pub mod acpi;
mod alarm;
pub mod apic_timer;
pub mod arena;
pub mod console;
pub mod cpu;
pub mod cpus;
pub mod descriptors;
pub mod direct;
pub mod frames;
pub mod guest_ram;
pub mod heap;
pub mod interrupts;
pub mod lapic;
pub mod logger;
pub mod msr;
pub mod nested;
pub mod nmi;
pub mod paging;
pub mod port;
pub mod random;
pub mod ring3;
pub mod rtc;
pub mod space;
pub mod time;
pub mod trails;
pub mod xcr;

/// Host-physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hpa(pub u64);

/// A range of host-physical memory; `end` is exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HpaRange {
    pub start: u64,
    pub end: u64,
}

impl HpaRange {
    pub fn len_bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Do the two have a byte in common?
    pub fn overlaps(&self, start: u64, end: u64) -> bool {
        start < self.end && self.start < end
    }
}
