//! From the boot loader's 32-bit hand-over to 64-bit code at the VMM's own address.
#![no_std]
