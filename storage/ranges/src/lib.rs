//! From partition tables and rules to the range map of each disk.
//!
//! Everything here happens once, before the guest starts. The tables come from the disk and are hostile: all reads are
//! bounded, all arithmetic is checked, and an answer is either a table that holds or an error that says what to do.
//! What is left in memory is one [`RangeTable`] per disk.
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
mod gpt;
mod mbr;
mod partitions;
mod resolve;
pub mod signature;
mod table;
mod volume;

pub use error::{Problem, ResolveError};
pub use partitions::{Disk, Partition, PartitionTable, ReadSectors, Scheme, TableError, read_partitions};
pub use resolve::{Applied, DiskRanges, Machine, resolve};
pub use table::{Cipher, Range, RangeError, RangeTable};
pub use volume::{HeaderPlace, HeaderSource};

#[cfg(test)]
mod tests;
