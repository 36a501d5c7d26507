//! An AHCI controller with SATA disks and a CD drive.
//!
//! Written from "Serial ATA AHCI" 1.3.1, Serial ATA 3.2 and ATA8-ACS (INCITS 452-2008), independently of the mediator, as a
//! second opinion.

mod command;
mod device;
mod guest;
mod machine;
mod port;

pub use command::Queued;
pub use device::SimAhci;
pub use guest::{AhciGuest, Failure, Fis, Table, fis};
pub use machine::{AhciMachine, BAR, FUNCTION};
pub use port::SimPort;

/// Registers of the controller (AHCI s. 3.1).
pub mod hba {
    pub const CAP: u32 = 0x00;
    pub const GHC: u32 = 0x04;
    pub const IS: u32 = 0x08;
    pub const PI: u32 = 0x0c;
    pub const CAP2: u32 = 0x24;
    pub const BOHC: u32 = 0x28;
}

/// Registers of a port (AHCI s. 3.3).
pub mod px {
    pub const CLB: u32 = 0x00;
    pub const CLBU: u32 = 0x04;
    pub const FB: u32 = 0x08;
    pub const FBU: u32 = 0x0c;
    pub const IS: u32 = 0x10;
    pub const IE: u32 = 0x14;
    pub const CMD: u32 = 0x18;
    pub const TFD: u32 = 0x20;
    pub const SIG: u32 = 0x24;
    pub const SSTS: u32 = 0x28;
    pub const SCTL: u32 = 0x2c;
    pub const SERR: u32 = 0x30;
    pub const SACT: u32 = 0x34;
    pub const CI: u32 = 0x38;
    pub const FBS: u32 = 0x40;
}

/// The address of a port's register.
pub fn at(port: u32, register: u32) -> u32 {
    0x100 + port * 0x80 + register
}
