//! Registers, status bits and command codes. No logic.
//!
//! ATA/ATAPI-7 volume 1 (T13/1532D revision 4b), ATA8-ACS (T13/1699D revision 6a) for later commands.

/// Bytes of a logical sector of every disk that may be protected.
pub const SECTOR_BYTES: usize = 512;

/// Command block registers: offset from the block's base (ATA/ATAPI-7 s. 4.3).
pub mod reg {
    pub const DATA: u32 = 0;
    /// Read: error. Write: features.
    pub const ERROR: u32 = 1;
    pub const FEATURES: u32 = 1;
    pub const COUNT: u32 = 2;
    pub const LBA_LOW: u32 = 3;
    pub const LBA_MID: u32 = 4;
    pub const LBA_HIGH: u32 = 5;
    pub const DEVICE: u32 = 6;
    /// Read: status, and the pending interrupt is cleared.
    pub const STATUS: u32 = 7;
    pub const COMMAND: u32 = 7;
}

/// Status register (ATA/ATAPI-7 s. 5.14).
pub mod status {
    pub const ERR: u8 = 1 << 0;
    pub const DRQ: u8 = 1 << 3;
    pub const DF: u8 = 1 << 5;
    pub const DRDY: u8 = 1 << 6;
    pub const BSY: u8 = 1 << 7;
    /// "Seek complete" in older revisions; drives keep it set.
    pub const DSC: u8 = 1 << 4;
    /// What a read of a channel without any device gives: all lines pulled up, or all but bit 7 (pull-down on DD7).
    pub const FLOATING: [u8; 2] = [0xff, 0x7f];
}

/// Error register (ATA/ATAPI-7 s. 5.9).
pub mod error {
    pub const ABRT: u8 = 1 << 2;
    /// Address not found; LBA then names the sector, as with `UNC`.
    pub const IDNF: u8 = 1 << 4;
    /// Uncorrectable data.
    pub const UNC: u8 = 1 << 6;
    /// The same bit of a write: the medium is write-protected (ATA/ATAPI-7 s. 6.65).
    pub const WP: u8 = 1 << 6;
}

/// Device register.
pub mod device {
    /// Addresses are logical block addresses, not cylinder, head, sector.
    pub const LBA: u8 = 1 << 6;
    /// Unit 1 is selected.
    pub const DEV: u8 = 1 << 4;
    /// Obsolete bits that drives before ATA-6 want to be set.
    pub const OBSOLETE: u8 = 0xa0;
    /// Head, or LBA 27:24.
    pub const HEAD: u8 = 0x0f;
}

/// Device control register (ATA/ATAPI-7 s. 5.7).
pub mod control {
    pub const NIEN: u8 = 1 << 1;
    pub const SRST: u8 = 1 << 2;
    /// The previous content of the two-deep registers is read.
    pub const HOB: u8 = 1 << 7;
}

/// Features of PACKET (ATA/ATAPI-7 s. 6.24).
pub mod packet {
    pub const DMA: u8 = 1 << 0;
    /// Overlapped: the device may release the bus.
    pub const OVERLAP: u8 = 1 << 1;
}

/// Signature in LBA mid and LBA high after reset (ATA/ATAPI-7 s. 5.15).
pub const SIGNATURE_PACKET: [u8; 2] = [0x14, 0xeb];

/// Command codes (ATA8-ACS table 50, ATA/ATAPI-7 and earlier for obsolete ones).
pub mod code {
    pub const NOP: u8 = 0x00;
    pub const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub const DEVICE_RESET: u8 = 0x08;
    pub const READ_SECTORS: u8 = 0x20;
    pub const READ_SECTORS_EXT: u8 = 0x24;
    pub const READ_DMA_EXT: u8 = 0x25;
    pub const READ_MULTIPLE_EXT: u8 = 0x29;
    pub const READ_LOG_EXT: u8 = 0x2f;
    pub const WRITE_SECTORS: u8 = 0x30;
    pub const WRITE_SECTORS_EXT: u8 = 0x34;
    pub const WRITE_DMA_EXT: u8 = 0x35;
    pub const WRITE_MULTIPLE_EXT: u8 = 0x39;
    pub const READ_LOG_DMA_EXT: u8 = 0x47;
    pub const READ_FPDMA_QUEUED: u8 = 0x60;
    pub const WRITE_FPDMA_QUEUED: u8 = 0x61;
    pub const WRITE_VERIFY: u8 = 0x3c;
    pub const WRITE_DMA_FUA_EXT: u8 = 0x3d;
    pub const READ_VERIFY: u8 = 0x40;
    pub const READ_VERIFY_EXT: u8 = 0x42;
    pub const EXECUTE_DEVICE_DIAGNOSTIC: u8 = 0x90;
    pub const INITIALIZE_DEVICE_PARAMETERS: u8 = 0x91;
    pub const PACKET: u8 = 0xa0;
    pub const IDENTIFY_PACKET_DEVICE: u8 = 0xa1;
    pub const SMART: u8 = 0xb0;
    pub const READ_MULTIPLE: u8 = 0xc4;
    pub const WRITE_MULTIPLE: u8 = 0xc5;
    pub const SET_MULTIPLE_MODE: u8 = 0xc6;
    pub const READ_DMA: u8 = 0xc8;
    pub const WRITE_DMA: u8 = 0xca;
    pub const WRITE_MULTIPLE_FUA_EXT: u8 = 0xce;
    pub const FLUSH_CACHE: u8 = 0xe7;
    pub const FLUSH_CACHE_EXT: u8 = 0xea;
    pub const IDENTIFY_DEVICE: u8 = 0xec;
    pub const SET_FEATURES: u8 = 0xef;
    pub const SECURITY_FREEZE_LOCK: u8 = 0xf5;
}
