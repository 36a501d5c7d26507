//! Numbers and layouts that cross a privilege border.
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

pub mod call;
pub mod disk;
pub mod hypercall;
pub mod log;
pub mod seal;
pub mod shell;
pub mod status;
pub mod vpn;

/// Physical address of the byte by which a boot loader knows that Shoji has had its turn.
///
/// It lies in the intra-application area of the BIOS data area (0x4F0-0x4FF), which POST zeroes: the mark is gone
/// after every reset.
pub const SECOND_PASS_ADDRESS: u32 = 0x4F1;

/// Value at [`SECOND_PASS_ADDRESS`], `S`. Shoji writes it before it starts a boot sector: as its guest, or without
/// itself where the configuration says `boot-without-shoji`, so that the boot loader does not start Shoji again.
pub const SECOND_PASS_MARK: u8 = 0x53;
