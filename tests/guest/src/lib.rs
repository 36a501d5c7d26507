//! The frame of programs for the bare machine: `tiny` (guests with one exit kind each) and `attack` (guests that attack).
//!
//! A program holds many guests; the boot sector of an image names the one that runs ([`boot::name`]). A guest
//! owns a bare BIOS machine: it does its checks in 64-bit mode (and in the other modes through [`machine::modes`]),
//! writes a readable log to COM2 (COM1 belongs to Shoji) and ends by [`report::pass`] or [`report::fail`], which
//! print `PASS name` or `FAIL name: reason` and write 10h or 11h to QEMU's isa-debug-exit at port F4h.
//!
//! What differs between a bare machine and Shoji follows from the signature leaf of CPUID: on a bare machine a guest
//! prints `BARE` and leaves out what only Shoji promises, so that all else is checked against the emulator itself.
//!
//! A guest's mistakes end in a wrong verdict, not in lost data: the machine is an emulator's and holds one test disk.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
#[macro_use]
pub mod report;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod machine;
