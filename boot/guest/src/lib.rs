//! Start of the guest: BIOS boot sector and memory-map hook.
#![no_std]
