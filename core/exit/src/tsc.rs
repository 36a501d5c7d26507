//! The time stamp counter as the guest sets it: an offset that the CPU adds while the guest runs. The counter itself is the
//! VMM's clock and is never written.
//!
//! TSC_ADJUST holds what was added to the TSC by any write, so the guest's is the CPU's own and the offset (SDM Vol. 3B
//! 18.17.3). The timer of the local APIC compares its deadline with the CPU's TSC: while there is an offset, the guest's
//! deadlines are translated (SDM Vol. 3A 11.5.4.1).

use crate::{Machine, Vcpu};

const TSC_ADJUST: u32 = 0x3b;
const TSC_DEADLINE: u32 = 0x6e0;

/// WRMSR of TSC.
pub(crate) fn write<V: Vcpu, M: Machine>(vcpu: &mut V, machine: &mut M, value: u64) -> Option<()> {
    let offset = value.wrapping_sub(machine.tsc());
    set_offset(vcpu, machine, offset);
    Some(())
}

pub(crate) fn read_adjust<V: Vcpu, M: Machine>(vcpu: &V, machine: &mut M) -> Option<u64> {
    Some(machine.read_msr(TSC_ADJUST)?.wrapping_add(vcpu.tsc_offset()))
}

/// The TSC moves by what TSC_ADJUST does.
pub(crate) fn write_adjust<V: Vcpu, M: Machine>(vcpu: &mut V, machine: &mut M, value: u64) -> Option<()> {
    let offset = value.wrapping_sub(machine.read_msr(TSC_ADJUST)?);
    set_offset(vcpu, machine, offset);
    Some(())
}

/// 0: the timer is not armed.
pub(crate) fn read_deadline<V: Vcpu, M: Machine>(vcpu: &V, machine: &mut M) -> Option<u64> {
    Some(match machine.read_msr(TSC_DEADLINE)? {
        0 => 0,
        deadline => deadline.wrapping_add(vcpu.tsc_offset()),
    })
}

pub(crate) fn write_deadline<V: Vcpu, M: Machine>(vcpu: &mut V, machine: &mut M, value: u64) -> Option<()> {
    let now = machine.tsc();
    let deadline = match value.checked_sub(now.wrapping_add(vcpu.tsc_offset())) {
        _ if value == 0 => 0,
        Some(ahead @ 1..) => now.saturating_add(ahead),
        // Now or in the past: at once.
        _ => 1,
    };
    machine.write_msr(TSC_DEADLINE, deadline)
}

/// An armed timer fires when the guest's TSC, as it is now, reaches its deadline.
fn set_offset<V: Vcpu, M: Machine>(vcpu: &mut V, machine: &mut M, offset: u64) {
    let armed = read_deadline(vcpu, machine).filter(|deadline| *deadline != 0);
    vcpu.set_tsc_offset(offset);
    if let Some(deadline) = armed {
        // It could be read, so it can be written.
        let _ = write_deadline(vcpu, machine, deadline);
    }
}
