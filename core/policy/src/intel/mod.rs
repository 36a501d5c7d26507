//! VT-x.

mod counters;
mod cpuid;
mod msrs;

pub use counters::COUNTERS;
pub use cpuid::{CONTROLLED, Control, HIDDEN};
pub use msrs::MSRS;

use crate::Policy;
use alloc::vec::Vec;

const VMCALL: [u8; 3] = [0x0f, 0x01, 0xc1];

/// What a guest is held to on a CPU that `has` some of the controls.
pub fn policy(has: impl Fn(Control) -> bool) -> Policy {
    let mut msrs: Vec<_> = MSRS.to_vec();
    if has(Control::CounterSwitch) {
        msrs.extend_from_slice(COUNTERS);
        msrs.sort_unstable_by_key(|row| *row.msrs().start());
    }
    let unusable = CONTROLLED.iter().filter(|(control, _)| !has(*control)).map(|(_, bits)| bits);
    Policy {
        msrs,
        hidden: HIDDEN.iter().chain(unusable).collect(),
        syscall_in_64_bit_mode_only: true,
        hypercall: VMCALL,
    }
}
