//! LUKS2: the header of an encrypted volume, read, unlocked by a pass phrase, and made.
//!
//! A header is two copies of a binary header with a JSON text, and behind them the areas of the key slots:
//!
//! | offset | what |
//! |---|---|
//! | 0 | binary header (4096 bytes), JSON text up to the header's size S, 16 KiB to 4 MiB |
//! | S | the same once more |
//! | 2 S | areas of the key slots |
//!
//! All of it comes from a disk or a file and is hostile: what is read, allocated and computed is bounded before it happens. What
//! Shoji opens is what `cryptsetup luksFormat` makes: one segment of `aes-xts-plain64` with a 512-bit key, whose
//! sectors have 512 or 4096 bytes; key slots of type `luks2` with Argon2 or PBKDF2. Anything else is named and refused.
//!
//! Source: LUKS2 On-Disk Format Specification, version 1.1.3; sections are those of it.
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

mod af;
mod binary;
mod create;
mod error;
mod hash;
mod header;
mod metadata;
mod read;
mod segment;
mod slot;
#[cfg(test)]
mod tests;

/// 1 KiB of the memory that Argon2 takes.
pub use argon2::Block;
pub use binary::{HEADER_SIZES, MAX_JSON_TEXT_BYTES, uuid};
pub use create::{AREA_ALIGN, Cost, New, SLOT_AREA_BYTES, create};
pub use error::{CreateError, Flaw, ReadError, UnlockError};
pub use header::{Copies, Header, MAX_AREA_BYTES};
pub use read::{ReadAt, parse};
pub use segment::{CIPHER, Segment};
pub use slot::{Kdf, MAX_ARGON2_KIB, MAX_ARGON2_KIB_PASSED, Slot, VOLUME_KEY_BYTES, VolumeKey};
