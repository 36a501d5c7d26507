//! AMD-V: the Vcpu on VMCBs.
#![no_std]
