//! Registers of the bus master. No logic. The command set's own are those of the crate `acs`.
//!
//! Programming Interface for Bus Master IDE Controller, revision 1.0 (5/16/94), here "BMIDE".

pub use acs::spec::*;

/// Bus master registers of one channel: offset from the channel's eight ports (BMIDE s. 2.0).
pub mod bm {
    /// Ports of one channel.
    pub const CHANNEL_PORTS: u32 = 8;
    pub const COMMAND: u32 = 0;
    pub const STATUS: u32 = 2;
    /// Physical address of the PRD table, dword.
    pub const PRDT: u32 = 4;

    /// Command: start.
    pub const START: u8 = 1 << 0;
    /// Command: the bus master writes memory, i.e. the guest reads the disk.
    pub const TO_MEMORY: u8 = 1 << 3;

    /// Status: the bus master is at work.
    pub const ACTIVE: u8 = 1 << 0;
    /// Status: a transfer to or from memory failed; written 1 clears.
    pub const ERROR: u8 = 1 << 1;
    /// Status: the device has raised its interrupt since; written 1 clears.
    pub const INTERRUPT: u8 = 1 << 2;
    /// Status: only one channel at a time can transfer. A property of the controller.
    pub const SIMPLEX: u8 = 1 << 7;
    /// Status: "drive is DMA capable", for software's own use.
    pub const CAPABLE: u8 = 3 << 5;
}

/// Physical region descriptor table (BMIDE s. 1.2).
pub mod prd {
    pub const ENTRY_BYTES: usize = 8;
    /// Neither a table nor the region of one entry may cross a boundary of this.
    pub const BOUNDARY: u32 = 0x1_0000;
    /// Last entry of the table: bit 31 of the second dword.
    pub const END: u32 = 1 << 31;
}
