//! Disks that boot Shoji, and the emulator that runs them.
//!
//! A disk has an MBR, a plain boot partition (GRUB, `shoji.elf`, configuration, guest kernel) and a data partition that is
//! encrypted on disk. Everything lies under `target/shoji`; what is expensive to make (Debian) is cached for the user.
#![forbid(unsafe_code)]

pub mod accel;
pub mod artifact;
pub mod bochs;
pub mod console;
pub mod debian;
pub mod demo;
pub mod disk;
pub mod disks;
pub mod ext;
pub mod grub;
pub mod guest_tools;
pub mod initramfs;
pub mod mbr;
pub mod monitor;
pub mod program;
pub mod progress;
pub mod qemu;
pub mod shell;
pub mod small;
pub mod workspace;
pub mod xts;

pub use workspace::Workspace;
