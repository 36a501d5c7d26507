//! Disk images of the tiny guests (crate `tiny`), what each needs of its machine, and the boot medium that starts
//! Shoji for them.
//!
//! # How a guest reaches the machine
//! The guest's disk is always the first IDE disk (channel 0, unit 0; BIOS drive 80h). Under Shoji a CD, made by
//! [`boot_media`], holds GRUB, Shoji and its configuration, and the machine boots from it; Shoji then boots the guest's
//! disk, which its configuration names. [`Machine`] is one of QEMU's or a model of Bochs' ([`MODELS`]).
//!
//! # The verdict
//! A guest logs to COM2 and ends the emulator: `PASS name` and one way to end, or `FAIL name: reason` and another
//! (QEMU: two values for isa-debug-exit; Bochs: its debugger, or a shutdown). A pass counts only when both agree
//! ([`verdict`]), no VM entry has failed, and the disk holds what it should ([`plain_text`]).
#![forbid(unsafe_code)]

mod attacks;
mod boot_media;
mod compare;
mod differences;
mod explained;
mod image;
mod machine;
mod manifest;
mod models;
mod platter;
mod qemu;
mod section;
mod shoji;
mod verdict;

pub use attacks::ATTACKS;
pub use boot_media::{Before, Files, boot_media};
pub use compare::{Comparison, Pair, Results, compare};
pub use differences::{Difference, Side};
pub use explained::EXPLAINED;
pub use image::{DISK_SECTORS, build_programs, write_disk};
pub use machine::{DRIVE_UNDER_SHOJI, Emulator, Machine};
pub use manifest::{Board, GUESTS, Sectors, TinyGuest, all, guest};
pub use models::{EXCLUSIONS, Exclusion, MODELS, Model, model};
pub use platter::plain_text;
pub use section::write_section;
pub use shoji::{KEY, SHELL_KEY, blob};
pub use verdict::{End, Verdict, verdict};
