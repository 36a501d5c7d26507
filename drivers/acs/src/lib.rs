//! The ATA command set: what the drivers of IDE and AHCI controllers share.
//!
//! Specifications: ATA/ATAPI-7 (T13/1532D revision 4b) volume 1, ATA8-ACS (T13/1699D revision 6a) for later commands,
//! Serial ATA 3.2 for native command queuing.
//!
//! - [`cmd`]: the table that says what becomes of each command of a disk.
//! - [`taskfile`]: the registers of a command, and the sectors that it names.
//! - [`identify`]: what a disk tells of itself, and what of that the guest may see.
//! - [`trim`]: lists of unused sectors in the disk's own numbers.
//! - [`denied`]: the errors of sectors that are not the guest's to move.
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

pub mod cmd;
pub mod denied;
pub mod identify;
pub mod spec;
pub mod taskfile;
pub mod trim;
