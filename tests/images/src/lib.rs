//! Disk images of the tiny guests (crate `tiny`), what each needs of its machine, and the boot medium that starts
//! Shoji for them.
//!
//! # How a guest reaches the machine
//! The guest's disk is always the first IDE disk (channel 0, unit 0). On a bare machine the BIOS boots it as drive
//! 80h. Under Shoji a second disk, made by [`boot_media`], holds GRUB, Shoji and its configuration; `bootindex` makes
//! SeaBIOS number it 80h and the guest's disk [`DRIVE_UNDER_SHOJI`] (81h), which Shoji's configuration names as the
//! drive to boot. [`qemu_arguments`] gives the machine for both.
//!
//! # The verdict
//! A guest logs to COM2 and ends by isa-debug-exit: `PASS name` and status [`PASS_STATUS`], or `FAIL name: reason`
//! and [`FAIL_STATUS`]. A pass counts only when log and status agree ([`verdict`]), and the disk holds what it should
//! ([`plain_text`]).
#![forbid(unsafe_code)]

mod boot_media;
mod image;
mod machine;
mod manifest;
mod platter;
mod shoji;

pub use boot_media::boot_media;
pub use image::{DISK_SECTORS, build_program, write_disk};
pub use machine::{DRIVE_UNDER_SHOJI, FAIL_STATUS, PASS_STATUS, Verdict, qemu_arguments, verdict};
pub use manifest::{GUESTS, Sectors, TinyGuest, guest};
pub use platter::plain_text;
pub use shoji::{KEY, blob};
