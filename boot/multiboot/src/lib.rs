//! What the boot loader tells, by Multiboot 1 (`multiboot`) or Multiboot 2 (`multiboot2`), as one [`BootInfo`].
//!
//! Specifications: *Multiboot Specification 0.6.96*, *Multiboot2 Specification 2.0*. The loader is trusted, but it is
//! also old, patched and configured by hand: every length and count is bounded and every structure is copied once, so
//! that odd input ends in a [`BootError`].
//!
//! - [`header`]: what must stand in the image so that a loader takes it
//! - [`Files`]: modules that are read where they lie
//! - [`map`]: memory map entries, and how overlapping ones are brought in order
//! - [`place`]: where the VMM goes
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

mod bytes;
mod error;
mod files;
pub mod header;
mod info;
pub mod map;
pub mod place;
mod v1;
mod v2;

pub use error::BootError;
pub use files::{FileError, Files};
pub use info::{BootDrive, BootInfo, Channel, Console, Module};
pub use map::{Entry, Kind};

/// Physical memory as the boot loader left it.
pub trait PhysicalMemory {
    /// Copies memory from `at` on. False, with `into` in any state, when a part of it is not memory.
    fn read(&self, at: u64, into: &mut [u8]) -> bool;
}

/// Most memory map entries that are taken. BIOSes give up to 128, UEFI firmware some hundred.
pub const MAX_MAP_ENTRIES: usize = 1024;
/// Most modules that are taken.
pub const MAX_MODULES: usize = 32;
/// Longest string (command line, loader name) without its NUL, in bytes.
pub const MAX_STRING_BYTES: usize = 4096;
/// Largest Multiboot 2 information in bytes; SMBIOS tables and EFI memory maps are in it.
pub const MAX_INFO_BYTES: usize = 256 * 1024;

/// Reads the information of either version.
///
/// `magic` and `info` are EAX and EBX as the loader passed them at the entry point (Multiboot 0.6.96 s. 3.2,
/// Multiboot2 2.0 s. 3.3).
///
/// # Errors
/// See [`BootError`]; the `Display` text is one sentence for the user.
pub fn parse(magic: u32, info: u32, memory: &dyn PhysicalMemory) -> Result<BootInfo, BootError> {
    let info = u64::from(info);
    let boot = match magic {
        header::v1::LOADER_MAGIC => v1::parse(info, memory)?,
        header::v2::LOADER_MAGIC => v2::parse(&v2::copy(info, memory)?)?,
        other => return Err(BootError::NotMultiboot(other)),
    };
    if boot.memory_map.is_empty() { Err(BootError::NoMemoryMap) } else { Ok(boot) }
}

#[cfg(test)]
mod tests;
