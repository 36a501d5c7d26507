//! Start of the guest on a BIOS machine: what Shoji puts into its memory, the map of memory that it is told, and the
//! boot sector.
//!
//! Sources: BIOS Enhanced Disk Drive Services 3.0; ACPI Specification 6.5 s. 15 (INT 15h, E820h).
#![no_std]

extern crate alloc;

mod bios;
#[allow(unsafe_code)] // The bytes between two linker symbols.
mod calls;
pub mod memory_map;
#[allow(unsafe_code)] // The bytes between two linker symbols.
mod stub;

pub use bios::{BiosError, Prepared, Start, prepare};
pub use calls::{BiosCalls, keyboard_flags};
pub use stub::STUB_BYTES;
