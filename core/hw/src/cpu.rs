//! What every CPU needs before the VMM runs on it for good.

use crate::msr;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use initfunc::initfunc;
use x86_64::registers::control::{Cr4, Cr4Flags, Efer, EferFlags};

/// WBINVD: memory holds what the caches held.
pub fn write_back_caches() {
    // SAFETY: no effect but on time.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}

const EFER: u32 = 0xc000_0080;

/// How many logical processors this CPU's package may have, by CPUID leaf 1: for machines whose firmware does not tell.
pub fn logical_processors() -> usize {
    const HTT: u32 = 1 << 28;
    let leaf = __cpuid(1);
    if leaf.edx & HTT != 0 { (leaf.ebx >> 16 & 0xff) as usize } else { 1 }
}

/// The number that this CPU's local APIC has by itself (SDM Vol. 3A s. 11.4.6, Vol. 2A CPUID leaves 1 and 0Bh).
pub fn apic_id() -> u32 {
    const TOPOLOGY: u32 = 0xb;
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

/// No-execute pages, and the SSE state that the sector transform saves and uses (APM s. 3.1.3 and 3.1.7); what protects the VMM
/// from its own defects.
fn init() -> Result<(), &'static str> {
    enable_no_execute();
    enable_automatic_ibrs();
    // SAFETY: every CPU with long mode has these; nothing depends on their being off.
    unsafe {
        Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE));
        Cr4::update(|flags| flags.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE | protection() | key_locker()));
    }
    Ok(())
}
initfunc!("pcpu0", init);
initfunc!("wakeup0", init);
