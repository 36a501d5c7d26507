//! Start of the guest: BIOS boot sector and memory-map hook.
#![no_std]

extern crate alloc;

pub mod memory_map;
