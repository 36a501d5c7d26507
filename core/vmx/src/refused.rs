//! Why the CPU does not enter the guest, in words.

use crate::features::Features;
use crate::instructions::{self, VmFail, read, try_read};
use crate::switch::Entry;
use exit::Exit;
use raw_cpuid::{CpuId, CpuIdReaderNative};
use x86::vmx::entry_check::{self, Cpu};
use x86::vmx::{ExitReason, Field};

/// A VM entry that failed for the guest's state, or for an MSR that it loads (SDM s. 27.8). The guest cannot go on.
#[cold]
pub fn guest_state(features: &Features, reason: ExitReason) -> Exit {
    log::error!("{reason:?}, qualification {:#x}", read(Field::EXIT_QUALIFICATION));
    log_broken_rules(features);
    Exit::InvalidState
}

/// VMLAUNCH or VMRESUME itself failed (SDM s. 27.1 and 27.2): the VMM is wrong.
#[cold]
pub fn instruction(features: &Features, entry: Entry) -> Exit {
    if entry == Entry::FAILED_INVALID {
        log::error!("VMLAUNCH or VMRESUME fails: {}", VmFail::Invalid);
        return Exit::Unexpected(0);
    }
    log::error!("VMLAUNCH or VMRESUME fails: {}", instructions::reason());
    log_broken_rules(features);
    Exit::Unexpected(read(Field::VM_INSTRUCTION_ERROR) as u32)
}

fn log_broken_rules(features: &Features) {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let (sizes, extended) = (cpuid.get_processor_capacity_feature_info(), cpuid.get_extended_feature_info());
    let cpu = Cpu {
        capabilities: features.capabilities,
        physical_bits: sizes.as_ref().map_or(36, |sizes| sizes.physical_address_bits()),
        linear_bits: sizes.as_ref().map_or(48, |sizes| sizes.linear_address_bits()),
        long_mode: true,
        bus_lock_detection: false,
        rtm: extended.as_ref().is_some_and(|features| features.has_rtm()),
        sgx: extended.as_ref().is_some_and(|features| features.has_sgx()),
    };
    let broken = entry_check::check(&cpu, &|field| try_read(field).unwrap_or(0));
    for rule in &broken {
        log::error!("{rule}");
    }
    if broken.is_empty() {
        log::error!("no rule that Shoji knows is broken");
    }
}
