//! Ordered init functions through a linker section.
#![no_std]
