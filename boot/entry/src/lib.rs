//! From the boot loader's 32-bit hand-over to 64-bit code at the VMM's own virtual address, and the move of the whole
//! image to the memory that Shoji keeps.
//!
//! Sources: Multiboot Specification 0.6.96 s. 3.1 and 3.2; Multiboot2 Specification 2.0 s. 3.1 and 3.3; AMD64
//! Architecture Programmer's Manual Vol. 2 (24593, 3.41) s. 14.6 and 14.7.
#![no_std]

mod leave;
mod start;
mod switch;
mod trampoline;
mod waking;

pub use leave::boot_natively;
pub use switch::move_image;
pub use trampoline::{Jump, TRAMPOLINE_AT, TRAMPOLINE_BYTES, code_bytes, install, is_entered};
pub use waking::{Return, leave};

/// Virtual address that the image is linked at; the physical one is free (`link.ld` has the same number).
pub const IMAGE_VIRTUAL: u64 = 0xffff_ffff_8000_0000;
/// Where the boot loader puts the image (`link.ld` has the same number).
pub const IMAGE_LOADED_AT: u64 = 0x20_0000;
