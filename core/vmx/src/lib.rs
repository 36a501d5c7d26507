//! VT-x: the [`exit::Vcpu`] on VMCSs.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual (325462, 083) Vol. 3C, cited as "SDM".
#![no_std]

mod policy;

pub use policy::policy;
