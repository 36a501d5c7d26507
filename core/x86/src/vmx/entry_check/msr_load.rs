//! The entries of the VM-entry MSR-load list (27.4). The exit qualification of exit reason 34 is the entry's number.

use crate::msr;

/// Why the CPU does not load an entry: MSR number in the first word's bits 31:0, value in the second. `None`: this entry
/// may be loaded, unless WRMSR of the value would fault.
pub fn broken_msr_load(entry: [u64; 2]) -> Option<&'static str> {
    let [number, _] = entry;
    if number >> 32 != 0 {
        return Some("bits 63:32 of the entry must be 0 (SDM Vol. 3C 27.4)");
    }
    match number as u32 {
        msr::FS_BASE | msr::GS_BASE => Some("FS_BASE and GS_BASE are fields of the VMCS (SDM Vol. 3C 27.4)"),
        msr::X2APIC_FIRST..=msr::X2APIC_LAST => Some("an x2APIC register is not loaded (SDM Vol. 3C 27.4)"),
        msr::SMM_MONITOR_CTL | msr::SMBASE => Some("the MSR can be written in SMM only (SDM Vol. 3C 27.4)"),
        msr::BIOS_UPDT_TRIG => Some("a microcode update is not loaded (SDM Vol. 3C 27.4)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msrs_that_an_entry_does_not_load_are_told() {
        assert_eq!(broken_msr_load([u64::from(msr::KERNEL_GS_BASE), u64::MAX]), None);
        for number in [msr::FS_BASE, msr::GS_BASE, 0x800, 0x8FF, msr::SMBASE, msr::BIOS_UPDT_TRIG] {
            assert!(broken_msr_load([u64::from(number), 0]).is_some(), "{number:#x}");
        }
        assert!(broken_msr_load([1 << 32 | u64::from(msr::STAR), 0]).is_some());
    }
}
