//! The sector transform on AES-NI, compiled for a hard-float target and linked as one object.
#![no_std]
