//! Numbers and layouts that cross a privilege border.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod call;

/// Physical address of the byte by which a boot loader knows that Shoji has had its turn.
///
/// It lies in the intra-application area of the BIOS data area (0x4F0-0x4FF), which POST zeroes: the mark is gone
/// after every reset.
pub const SECOND_PASS_ADDRESS: u32 = 0x4F1;

/// Value at [`SECOND_PASS_ADDRESS`], `S`. Shoji writes it before it starts a boot sector: as its guest, or without
/// itself where the configuration says `boot-without-shoji`, so that the boot loader does not start Shoji again.
pub const SECOND_PASS_MARK: u8 = 0x53;

/// Hypercalls of the guest's kernel (VMMCALL, VMCALL): number and result in RAX.
pub mod hypercall {
    /// Logs the exit counters; gives 0. Only where the configuration allows debug hypercalls.
    pub const DEBUG_LOG_COUNTERS: u64 = 1;

    /// Queues an external interrupt with the vector in RBX, 32 to 255, for this CPU; gives 0. Only where the configuration allows
    /// debug hypercalls.
    pub const DEBUG_QUEUE_INTERRUPT: u64 = 2;

    /// Provokes a defect of the VMM, the one of [`defect`] that RBX tells; does not return. Only where the configuration allows debug
    /// hypercalls and defects.
    pub const DEBUG_PROVOKE_DEFECT: u64 = 3;

    /// Calls the service that RBX tells, one of [`service`], with the operation in RCX; gives 0 and, in RBX, the answer, or the number
    /// of an error. Only where the configuration allows debug hypercalls.
    pub const DEBUG_CALL_SERVICE: u64 = 4;

    /// What can be called by [`DEBUG_CALL_SERVICE`].
    pub mod service {
        /// The program hello.
        pub const HELLO: u64 = 0;
        /// The program crash.
        pub const CRASH: u64 = 1;
        /// How often the program crash has failed; the operation means nothing.
        pub const FAILURES: u64 = 2;
        /// How long its last restart took, in nanoseconds.
        pub const RESTART_NS: u64 = 3;
        /// Frames that are free.
        pub const FREE_FRAMES: u64 = 4;
    }

    /// Defects that can be provoked.
    pub mod defect {
        /// A panic.
        pub const PANIC: u64 = 0;
        /// A read of the null page.
        pub const NULL_READ: u64 = 1;
        /// Recursion until the stack is full.
        pub const STACK_OVERFLOW: u64 = 2;
        /// A write to the VMM's own code, by its address in the direct map.
        pub const CODE_WRITE: u64 = 3;
    }

    /// Result of a number that does not exist, and of an argument that is out of range.
    pub const UNKNOWN: u64 = u64::MAX;
}
