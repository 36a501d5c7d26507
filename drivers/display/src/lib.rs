//! The screen while Shoji has it: from its start to the guest's first instruction, and for the last words of a defect. It guards
//! nothing: the guest has its graphics card for itself.
//!
//! [`Display`] draws on what the boot loader has left: VGA text cells, or a linear framebuffer of direct colour. [`Console`] is text on
//! it. Video memory is only written, never read: reading it is slow, and a guest may have changed it.
//!
//! Sources: Multiboot2 Specification 2.0 s. 3.6.12 (modes); IBM VGA Technical Reference (1992), text modes (cells and attributes).
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

mod colour;
mod console;
mod mode;
mod screen;
#[cfg(test)]
mod tests;

pub use colour::Colour;
pub use console::{Console, Style};
pub use mode::{Channel, Mode};
pub use screen::{Display, Image, Rect};

/// The memory that the screen shows, from its first byte on.
pub trait VideoMemory {
    /// Writes at an offset in bytes. What lies outside vanishes.
    fn write(&mut self, offset: usize, bytes: &[u8]);
}

/// Nothing that draws needs more than an 8K screen of 32 bits.
pub const MAX_SCREEN_BYTES: usize = 256 << 20;
