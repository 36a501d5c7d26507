//! VT-x: the [`exit::Vcpu`] on VMCSs.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual (325462, 083) Vol. 3C, cited as "SDM".
#![no_std]

mod control;
mod event;
mod features;
mod instructions;
mod nested;
mod nmi;
mod policy;
mod recall;
mod refused;
mod switch;
mod task;
mod vcpu;

pub use features::{Features, Unsupported, detect, disable, enable};
pub use nested::Memory;
pub use policy::policy;
pub use vcpu::VmxVcpu;
