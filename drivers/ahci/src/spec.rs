//! Registers and layouts. No logic.
//!
//! Serial ATA AHCI 1.3.1, here "AHCI"; Serial ATA 3.2 for the frames ("FIS").

/// Generic host control (AHCI s. 3.1).
pub mod hba {
    /// Capabilities.
    pub const CAP: u32 = 0x00;
    /// Global control.
    pub const GHC: u32 = 0x04;
    /// Interrupt status, a bit for each port.
    pub const IS: u32 = 0x08;
    /// Ports implemented.
    pub const PI: u32 = 0x0c;
    /// Version.
    pub const VS: u32 = 0x10;
    /// Capabilities, extended.
    pub const CAP2: u32 = 0x24;
    /// BIOS and OS hand-off.
    pub const BOHC: u32 = 0x28;

    /// The ports' registers begin here, 80h bytes for each.
    pub const PORTS: u32 = 0x100;
    pub const PORT_BYTES: u32 = 0x80;
}

/// Bits of CAP (AHCI s. 3.1.1).
pub mod cap {
    /// Enclosure management.
    pub const EMS: u32 = 1 << 6;
    /// Command completion coalescing.
    pub const CCCS: u32 = 1 << 7;
    /// FIS-based switching.
    pub const FBSS: u32 = 1 << 16;
    /// Port multipliers.
    pub const SPM: u32 = 1 << 17;
    /// Native command queuing.
    pub const SNCQ: u32 = 1 << 30;
    /// 64-bit addressing.
    pub const S64A: u32 = 1 << 31;
    /// What the guest is not told of.
    pub const HIDDEN: u32 = EMS | CCCS | FBSS | SPM;
}

/// Bits of CAP2 (AHCI s. 3.1.10).
pub mod cap2 {
    /// NVMHCI is present: another way to a disk.
    pub const NVMP: u32 = 1 << 1;
}

/// Bits of GHC (AHCI s. 3.1.2).
pub mod ghc {
    /// HBA reset; clears itself.
    pub const HR: u32 = 1 << 0;
    /// Interrupts enabled.
    pub const IE: u32 = 1 << 1;
    /// AHCI enabled.
    pub const AE: u32 = 1 << 31;
}

/// Registers of a port (AHCI s. 3.3).
pub mod port {
    /// Command list base, and its upper half.
    pub const CLB: u32 = 0x00;
    pub const CLBU: u32 = 0x04;
    /// Base of the received FISes, and its upper half.
    pub const FB: u32 = 0x08;
    pub const FBU: u32 = 0x0c;
    /// Interrupt status, and enable.
    pub const IS: u32 = 0x10;
    pub const IE: u32 = 0x14;
    /// Command and status.
    pub const CMD: u32 = 0x18;
    /// Task file data: status, then error.
    pub const TFD: u32 = 0x20;
    /// Signature.
    pub const SIG: u32 = 0x24;
    /// SATA status, control, error, active.
    pub const SSTS: u32 = 0x28;
    pub const SCTL: u32 = 0x2c;
    pub const SERR: u32 = 0x30;
    pub const SACT: u32 = 0x34;
    /// Command issue.
    pub const CI: u32 = 0x38;
    /// SATA notification.
    pub const SNTF: u32 = 0x3c;
    /// FIS-based switching.
    pub const FBS: u32 = 0x40;
    /// Device sleep.
    pub const DEVSLP: u32 = 0x44;
}

/// Bits of PxCMD (AHCI s. 3.3.7).
pub mod cmd {
    pub const ST: u32 = 1 << 0;
    /// FIS receive enable.
    pub const FRE: u32 = 1 << 4;
    /// FIS receive running.
    pub const FR: u32 = 1 << 14;
    /// Command list running.
    pub const CR: u32 = 1 << 15;
    /// A port multiplier is attached.
    pub const PMA: u32 = 1 << 17;
}

/// Bits of PxIS (AHCI s. 3.3.5).
pub mod is {
    /// A register FIS, a PIO setup FIS, a DMA setup FIS, a set device bits FIS with its interrupt bit has come.
    pub const DHRS: u32 = 1 << 0;
    pub const PSS: u32 = 1 << 1;
    pub const DSS: u32 = 1 << 2;
    pub const SDBS: u32 = 1 << 3;
    /// An unknown FIS.
    pub const UFS: u32 = 1 << 4;
    /// The descriptor of a region with its interrupt bit is processed; ours have none.
    pub const DPS: u32 = 1 << 5;
    /// Interface fatal error, host bus data error, host bus fatal error, task file error.
    pub const IFS: u32 = 1 << 27;
    pub const HBDS: u32 = 1 << 28;
    pub const HBFS: u32 = 1 << 29;
    pub const TFES: u32 = 1 << 30;
    /// Those that tell of a command's progress.
    pub const PROGRESS: u32 = DHRS | PSS | DSS | SDBS | DPS;
    /// Those that stop the port until it is started anew (AHCI s. 6.2.2).
    pub const FATAL: u32 = IFS | HBDS | HBFS | TFES;
}

/// Bits of PxSERR (AHCI s. 3.3.12): the device, or its presence, may have changed.
pub mod serr {
    /// PhyRdy has changed; a COMINIT has come.
    pub const CHANGED: u32 = 1 << 16 | 1 << 26;
}

/// PxSCTL.DET and PxSSTS.DET.
pub mod det {
    pub const MASK: u32 = 0xf;
    /// Of SCTL: the link is being reset.
    pub const RESET: u32 = 1;
    /// Of SSTS: device present, communication established.
    pub const PRESENT: u32 = 3;
}

/// PxSIG of a packet device.
pub const SIGNATURE_PACKET: u32 = 0xeb14_0101;

/// Command list (AHCI s. 4.2.2): 32 headers.
pub mod header {
    pub const BYTES: usize = 32;
    pub const LIST_BYTES: usize = 1024;
    /// Length of the command FIS in dwords.
    pub const CFL: u32 = 0x1f;
    pub const ATAPI: u32 = 1 << 5;
    pub const WRITE: u32 = 1 << 6;
    /// The FIS is part of a software reset.
    pub const RESET: u32 = 1 << 8;
    /// Built-in self test.
    pub const BIST: u32 = 1 << 9;
    /// BSY is cleared once the FIS is sent.
    pub const CLEAR_BUSY: u32 = 1 << 10;
    /// Port of a multiplier.
    pub const PMP: u32 = 0xf << 12;
    pub const PRDTL_SHIFT: u32 = 16;

    /// Of the header of slot 0 to 31 in its list.
    pub const fn offset(slot: usize) -> u64 {
        (slot as u64 & 31).saturating_mul(BYTES as u64)
    }
}

/// Command table (AHCI s. 4.2.3).
pub mod table {
    /// Of the packet of an ATAPI command.
    pub const ACMD: usize = 0x40;
    /// FIS and packet.
    pub const COMMAND_BYTES: usize = 0x50;
    /// FIS, packet, reserved.
    pub const HEAD_BYTES: usize = 0x80;
    /// An entry of the descriptor table.
    pub const ENTRY_BYTES: usize = 16;
    /// The most that an entry describes.
    pub const ENTRY_MAX: u32 = 4 << 20;
    /// Count of an entry, less one.
    pub const COUNT: u32 = 0x3f_ffff;
}

/// Received FISes (AHCI s. 4.2.1): offset and length of each, and the bit of PxIS that tells of it.
pub mod received {
    pub const BYTES: usize = 256;
    pub const DMA_SETUP: (usize, usize) = (0x00, 28);
    pub const PIO_SETUP: (usize, usize) = (0x20, 20);
    pub const REGISTER: (usize, usize) = (0x40, 20);
    pub const SET_DEVICE_BITS: (usize, usize) = (0x58, 8);
    pub const UNKNOWN: (usize, usize) = (0x60, 64);
}

/// Register FIS from host to device (Serial ATA 3.2 s. 10.5.5).
pub mod fis {
    pub const BYTES: usize = 20;
    pub const HOST_TO_DEVICE: u8 = 0x27;
    /// Second byte: it updates the command register, not device control.
    pub const COMMAND: u8 = 1 << 7;
    /// Second byte: port of a multiplier.
    pub const PMP: u8 = 0x0f;
    /// Software reset, in the device control register.
    pub const SRST: u8 = 1 << 2;
    /// First byte of a set device bits FIS, and its second: it interrupts.
    pub const SET_DEVICE_BITS: u8 = 0xa1;
    pub const INTERRUPT: u8 = 1 << 6;
}

/// The log of a failed queued command (ATA8-ACS s. A.14).
pub mod log {
    pub const QUEUED_ERROR: u8 = 0x10;
    /// The tag, and that the command was not queued.
    pub const TAG: u8 = 0x1f;
    pub const NOT_QUEUED: u8 = 1 << 7;
}
