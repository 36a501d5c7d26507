//! AMD-V: the [`exit::Vcpu`] on VMCBs.
//!
//! Source: AMD64 Architecture Programmer's Manual Vol. 2 (24593, 3.41) chapter 15, cited as "APM".
#![no_std]

extern crate alloc;

mod control;
mod event;
mod features;
mod instructions;
mod nested;
mod nmi;
mod policy;
mod recall;
mod refused;
mod ring3;
mod switch;
mod vcpu;

pub use features::{Features, Unsupported, detect, disable, enable};
pub use nested::Memory;
pub use nmi::while_nmis_come;
pub use policy::policy;
pub use vcpu::SvmVcpu;
