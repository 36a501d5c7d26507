//! AMD-V.

mod cpuid;
mod msrs;

pub use cpuid::HIDDEN;
pub use msrs::MSRS;

use crate::Policy;

const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];

/// What a guest is held to.
pub fn policy() -> Policy {
    Policy {
        msrs: MSRS.to_vec(),
        hidden: HIDDEN.iter().collect(),
        syscall_in_64_bit_mode_only: false,
        hypercall: VMMCALL,
    }
}
