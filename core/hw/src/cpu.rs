//! What every CPU needs before the VMM runs on it for good.

use crate::msr;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};
use initfunc::initfunc;
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};

/// WBINVD: memory holds what the caches held.
pub fn write_back_caches() {
    // SAFETY: no effect but on time.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}

const EFER: u32 = 0xc000_0080;

/// How many logical processors this CPU's package may have, by CPUID: for machines whose firmware does not tell, or not of all.
pub fn logical_processors() -> usize {
    logical_processors_by(__cpuid_count)
}

/// The most that a leaf tells: 1 (SDM Vol. 2A CPUID, EBX), 0Bh (the same, EBX of each level), 8000_0008h (APM Vol. 3 s. E.4.7).
fn logical_processors_by(cpuid: impl Fn(u32, u32) -> CpuidResult) -> usize {
    const HTT: u32 = 1 << 28;
    const SIZES: u32 = 0x8000_0008;
    let first = cpuid(1, 0);
    let by_first = if first.edx & HTT != 0 { first.ebx >> 16 & 0xff } else { 1 };
    let has_levels = cpuid(0, 0).eax >= TOPOLOGY;
    let by_levels = (0..2).filter(|_| has_levels).map(|level| cpuid(TOPOLOGY, level).ebx & 0xffff).max().unwrap_or(1);
    let (vendor, has_sizes) = (cpuid(0, 0).ebx, cpuid(0x8000_0000, 0).eax >= SIZES);
    // Reserved on Intel's.
    let is_amd = vendor == u32::from_le_bytes(*b"Auth");
    let by_sizes = if is_amd && has_sizes { (cpuid(SIZES, 0).ecx & 0xff) + 1 } else { 1 };
    by_first.max(by_levels).max(by_sizes) as usize
}

/// CPUID leaf.
const TOPOLOGY: u32 = 0xb;

/// The number that this CPU's local APIC has by itself (SDM Vol. 3A s. 11.4.6, Vol. 2A CPUID leaves 1 and 0Bh).
pub fn apic_id() -> u32 {
    let topology = (__cpuid(0).eax >= TOPOLOGY).then(|| __cpuid_count(TOPOLOGY, 0));
    // A CPU without local APIC in the leaf leaves EBX zero.
    topology.filter(|leaf| leaf.ebx != 0).map_or_else(|| __cpuid(1).ebx >> 24, |leaf| leaf.edx)
}

/// Family, model and stepping: CPUID leaf 1, EAX. EDX holds it after INIT.
pub fn signature() -> u32 {
    __cpuid(1).eax
}

/// DR0 to DR3 as after INIT. They are the guest's also while the VMM runs, which sets no breakpoint.
pub fn clear_breakpoints() {
    // SAFETY: the addresses of breakpoints that are off in the host.
    unsafe {
        core::arch::asm!("mov dr0, {0}", "mov dr1, {0}", "mov dr2, {0}", "mov dr3, {0}", in(reg) 0u64, options(nomem, nostack, preserves_flags));
    }
}

/// IA32_MISC_ENABLE (SDM Vol. 4 s. 2.1).
const MISC_ENABLE: u32 = 0x1a0;
const XD_BIT_DISABLE: u64 = 1 << 34;

/// Has this CPU the switch that takes no-execute pages away?
pub fn has_no_execute_switch() -> bool {
    msr::read(MISC_ENABLE).is_some()
}

/// Some firmware has a switch for no-execute pages: without the feature EFER.NXE raises #GP.
fn enable_no_execute() {
    if let Some(value) = msr::read(MISC_ENABLE)
        && value & XD_BIT_DISABLE != 0
    {
        // SAFETY: takes a restriction away. A CPU that refuses has no such switch.
        let _ = unsafe { msr::write(MISC_ENABLE, value & !XD_BIT_DISABLE) };
    }
}

/// CPUID leaf 7, EBX (APM Vol. 3 s. E.3.6).
const LEAF_7_SMEP: u32 = 1 << 7;
const LEAF_7_SMAP: u32 = 1 << 20;

/// Ring 0 neither executes nor reads and writes pages of ring 3 (APM s. 5.6.5 and 5.6.6). The VMM has none, so whatever the CPU
/// takes for one is a corrupted entry.
fn protection() -> Cr4Flags {
    let leaf_7 = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let mut flags = Cr4Flags::empty();
    flags.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, leaf_7 & LEAF_7_SMEP != 0);
    flags.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, leaf_7 & LEAF_7_SMAP != 0);
    flags
}

/// EFER bit 21, AIBRSE, where CPUID leaf 8000_0021h, EAX bit 8, has it (APM s. 3.1.7): what the guest has taught the predictor of
/// indirect branches does not steer the VMM. The guest's EFER has a bit of its own.
const AUTOMATIC_IBRS: u64 = 1 << 21;

fn enable_automatic_ibrs() {
    let has_it = __cpuid(0x8000_0000).eax >= 0x8000_0021 && __cpuid(0x8000_0021).eax & 1 << 8 != 0;
    if has_it && let Some(value) = msr::read(EFER) {
        // SAFETY: changes predictions only. A CPU that refuses has no such bit.
        let _ = unsafe { msr::write(EFER, value | AUTOMATIC_IBRS) };
    }
}

/// CR4.KL where the CPU has it, lest CPUID leaf 19h tell that the firmware has not activated Key Locker (SDM Vol. 2A, CPUID,
/// AESKLE). The VMM uses none.
fn key_locker() -> Cr4Flags {
    const KL: u32 = 1 << 23;
    let has_it = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ecx & KL != 0;
    if has_it { Cr4Flags::from_bits_retain(1 << 19) } else { Cr4Flags::empty() }
}

/// CR4.OSXSAVE where the CPU has XSAVE (APM s. 3.1.3): XCR0 can be read and written, for the sector transform and for the guest's
/// XSETBV where it exits. What XCR0 holds stays the guest's.
fn xsave() -> Cr4Flags {
    const XSAVE: u32 = 1 << 26;
    if __cpuid(1).ecx & XSAVE != 0 { Cr4Flags::OSXSAVE } else { Cr4Flags::empty() }
}

/// No-execute pages, and the vector state that the sector transform saves and uses (APM s. 3.1.3 and 3.1.7); what protects the
/// VMM from its own defects.
fn init() -> Result<(), &'static str> {
    enable_no_execute();
    enable_automatic_ibrs();
    // SAFETY: every CPU with long mode has these; nothing depends on their being off.
    unsafe {
        // SYSCALL would enter ring 0 at an address of the guest's, as its MSRs are not switched: ring 3 gets #UD.
        Efer::update(|flags| {
            flags.insert(EferFlags::NO_EXECUTE_ENABLE);
            flags.remove(EferFlags::SYSTEM_CALL_EXTENSIONS);
        });
        Cr4::update(|flags| {
            flags.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE | xsave() | protection() | key_locker())
        });
    }
    Ok(())
}
initfunc!("pcpu0", init);
initfunc!("wakeup0", init);

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers by leaf and subleaf: EAX, EBX, ECX, EDX; else zeroes.
    fn count(answers: &[(u32, u32, [u32; 4])]) -> usize {
        logical_processors_by(|leaf, subleaf| {
            let found = answers.iter().find(|answer| (answer.0, answer.1) == (leaf, subleaf));
            let [eax, ebx, ecx, edx] = found.map_or([0; 4], |answer| answer.2);
            CpuidResult { eax, ebx, ecx, edx }
        })
    }

    #[test]
    fn a_cpu_has_as_many_siblings_as_any_leaf_tells() {
        let amd = u32::from_le_bytes(*b"Auth");
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[(1, 0, [0, 8 << 16, 0, 0])]), 1, "without HTT the number means nothing");
        assert_eq!(count(&[(1, 0, [0, 8 << 16, 0, 1 << 28])]), 8);
        assert_eq!(count(&[(0, 0, [0xb, 0, 0, 0]), (0xb, 0, [0, 2, 0, 0]), (0xb, 1, [0, 12, 0, 0])]), 12);
        assert_eq!(count(&[(0, 0, [0xa, 0, 0, 0]), (0xb, 0, [0, 2, 0, 0])]), 1, "there is no such leaf");
        let sizes = [(0x8000_0000, 0, [0x8000_0008, 0, 0, 0]), (0x8000_0008, 0, [0, 0, 0x300f, 0])];
        assert_eq!(count(&[(0, 0, [1, amd, 0, 0]), sizes[0], sizes[1]]), 16);
        assert_eq!(count(&sizes), 1, "reserved on other CPUs");
    }
}
