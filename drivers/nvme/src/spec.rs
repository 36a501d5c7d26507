//! Registers, opcodes and layouts (NVM Express Base Specification, revision 1.4; "NVMe" below). No logic.

/// Controller registers: bytes from the start of BAR0 (NVMe s. 3.1).
pub mod reg {
    pub const CAP: u32 = 0x00;
    pub const CAP_HIGH: u32 = 0x04;
    pub const VS: u32 = 0x08;
    pub const INTMS: u32 = 0x0c;
    pub const INTMC: u32 = 0x10;
    pub const CC: u32 = 0x14;
    pub const CSTS: u32 = 0x1c;
    pub const AQA: u32 = 0x24;
    pub const ASQ: u32 = 0x28;
    pub const ACQ: u32 = 0x30;
    /// From here on, up to the doorbells: memory buffers, boot partitions and what later revisions add.
    pub const CMBLOC: u32 = 0x38;
    /// Doorbells: submission queue n at index 2n, completion queue n at 2n + 1.
    pub const DOORBELLS: u32 = 0x1000;
}

/// Controller capabilities (NVMe s. 3.1.1).
pub mod cap {
    pub const MQES: u64 = 0xffff;
    /// Queues are physically contiguous.
    pub const CQR: u64 = 1 << 16;
    /// Worst time until ready, in 500 ms.
    pub const TO_SHIFT: u32 = 24;
    pub const TO: u64 = 0xff << TO_SHIFT;
    /// Stride of doorbells: 4 << DSTRD bytes.
    pub const DSTRD_SHIFT: u32 = 32;
    pub const DSTRD: u64 = 0xf << DSTRD_SHIFT;
    /// The NVM command set.
    pub const CSS_NVM: u64 = 1 << 37;
    /// Smallest page is 4096 << MPSMIN bytes.
    pub const MPSMIN: u64 = 0xf << 48;
}

/// Controller configuration (NVMe s. 3.1.5).
pub mod cc {
    pub const EN: u32 = 1 << 0;
    /// Command set, page size and arbitration: only 0 is offered.
    pub const FIXED_TO_0: u32 = 0x7 << 4 | 0xf << 7 | 0x7 << 11;
    pub const SHN: u32 = 0x3 << 14;
    /// Entries of submission queues of 2^6, of completion queues of 2^4 bytes.
    pub const ENTRY_SIZES: u32 = 6 << 16 | 4 << 20;
    pub const ENTRY_SIZES_MASK: u32 = 0xff << 16;
}

/// Controller status (NVMe s. 3.1.6).
pub mod csts {
    pub const RDY: u32 = 1 << 0;
    pub const CFS: u32 = 1 << 1;
}

/// Bytes of a memory page, the only page size that is offered.
pub const PAGE_BYTES: u64 = 0x1000;
/// Bytes of a submission queue entry.
pub const SQE_BYTES: usize = 64;
/// Bytes of a completion queue entry.
pub const CQE_BYTES: usize = 16;

/// Admin commands (NVMe s. 5, figure 139).
pub mod admin {
    pub const DELETE_SQ: u8 = 0x00;
    pub const CREATE_SQ: u8 = 0x01;
    pub const GET_LOG_PAGE: u8 = 0x02;
    pub const DELETE_CQ: u8 = 0x04;
    pub const CREATE_CQ: u8 = 0x05;
    pub const IDENTIFY: u8 = 0x06;
    pub const ABORT: u8 = 0x08;
    pub const SET_FEATURES: u8 = 0x09;
    pub const GET_FEATURES: u8 = 0x0a;
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0c;
    pub const FIRMWARE_COMMIT: u8 = 0x10;
    pub const FIRMWARE_DOWNLOAD: u8 = 0x11;
    pub const DEVICE_SELF_TEST: u8 = 0x14;
    pub const SECURITY_SEND: u8 = 0x81;
    pub const SECURITY_RECEIVE: u8 = 0x82;
    pub const SANITIZE: u8 = 0x84;
}

/// Commands of the NVM command set (NVMe s. 6, figure 346).
pub mod nvm {
    pub const FLUSH: u8 = 0x00;
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x02;
    pub const WRITE_UNCORRECTABLE: u8 = 0x04;
    pub const WRITE_ZEROES: u8 = 0x08;
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    pub const VERIFY: u8 = 0x0c;
    /// Dword 11 of DATASET MANAGEMENT: the sectors are unused.
    pub const DEALLOCATE: u32 = 1 << 2;
    /// Bytes of a range of DATASET MANAGEMENT.
    pub const RANGE_BYTES: usize = 16;
}

/// Dword 0 of a command (NVMe s. 4.2).
pub mod dword0 {
    /// Fused operations: none is offered.
    pub const FUSE: u32 = 0x3 << 8;
    /// Something else than PRPs tells where the data is: none is offered.
    pub const PSDT: u32 = 0x3 << 14;
}

/// A queue command (NVMe s. 5.3, 5.4).
pub mod queue {
    /// Dword 11: physically contiguous.
    pub const PC: u32 = 1 << 0;
    /// Dword 11 of CREATE I/O COMPLETION QUEUE: interrupts enabled.
    pub const IEN: u32 = 1 << 1;
}

/// What IDENTIFY asks for (NVMe s. 5.15.1).
pub mod cns {
    pub const NAMESPACE: u8 = 0x00;
    pub const CONTROLLER: u8 = 0x01;
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
    pub const DESCRIPTORS: u8 = 0x03;
    pub const ALLOCATED_NAMESPACES: u8 = 0x10;
    pub const ALLOCATED_NAMESPACE: u8 = 0x11;
    pub const CONTROLLERS_OF_NAMESPACE: u8 = 0x12;
    pub const CONTROLLERS: u8 = 0x13;
}

/// Offsets in the controller's identity (NVMe s. 5.15.2.2, figure 247).
pub mod controller {
    pub const SERIAL: core::ops::Range<usize> = 4..24;
    pub const MODEL: core::ops::Range<usize> = 24..64;
    pub const MDTS: usize = 77;
    pub const OACS: usize = 256;
    pub const LPA: usize = 261;
    pub const HMPRE_HMMIN: core::ops::Range<usize> = 272..280;
    pub const RPMBS: core::ops::Range<usize> = 312..316;
    pub const SANICAP: core::ops::Range<usize> = 328..332;
    pub const SQES: usize = 512;
    pub const CQES: usize = 513;
    pub const NN: usize = 516;
    pub const ONCS: usize = 520;
    pub const FUSES: core::ops::Range<usize> = 522..524;
    /// Atomic writes: AWUN and AWUPF, ACWU.
    pub const ATOMIC: [core::ops::Range<usize>; 2] = [526..530, 532..534];
    pub const NWPC: usize = 531;
    pub const SGLS: core::ops::Range<usize> = 536..540;

    /// OACS: security commands, firmware commands, device self-test.
    pub const OACS_SECURITY: u16 = 1 << 0;
    pub const OACS_FIRMWARE: u16 = 1 << 2;
    pub const OACS_SELF_TEST: u16 = 1 << 4;
    /// LPA: SMART log of each namespace, extended data of GET LOG PAGE.
    pub const LPA_KEPT: u8 = 1 << 0 | 1 << 2;
    /// ONCS: commands and features.
    pub const ONCS_WRITE_UNCORRECTABLE: u16 = 1 << 1;
    pub const ONCS_DATASET_MANAGEMENT: u16 = 1 << 2;
    pub const ONCS_WRITE_ZEROES: u16 = 1 << 3;
    pub const ONCS_SAVE_FIELD: u16 = 1 << 4;
    pub const ONCS_TIMESTAMP: u16 = 1 << 6;
    pub const ONCS_VERIFY: u16 = 1 << 7;
}

/// Offsets in a namespace's identity (NVMe s. 5.15.2.1, figure 245).
pub mod namespace {
    pub const NSZE: usize = 0;
    pub const NSFEAT: usize = 24;
    pub const FLBAS: usize = 26;
    pub const RESCAP: usize = 31;
    pub const DLFEAT: usize = 33;
    /// Atomic writes of this namespace: NAWUN to NABSPF.
    pub const ATOMIC: core::ops::Range<usize> = 34..46;
    pub const NPWG: usize = 64;
    pub const NPWA: usize = 66;
    /// LBA formats, a dword each.
    pub const LBAF: usize = 128;

    /// NSFEAT: it has atomic writes of its own.
    pub const NSFEAT_ATOMIC: u8 = 1 << 1;
    /// NSFEAT: the preferred granularity and alignment of writes is told.
    pub const NSFEAT_OPTPERF: u8 = 1 << 4;
}

/// Features (NVMe s. 5.21.1, figure 275).
pub mod feature {
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
    pub const APST: u8 = 0x0c;
    pub const TIMESTAMP: u8 = 0x0e;
}

/// Bytes of what IDENTIFY gives.
pub const IDENTIFY_BYTES: usize = 0x1000;
