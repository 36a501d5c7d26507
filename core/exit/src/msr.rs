//! Model-specific registers that the guest does not reach freely, each with its reason.
//!
//! Memory types (MTRR, PAT) pass: they can make the VMM slow, but the guest with it, and never wrong.
//!
//! Specifications: AMD64 APM Vol. 2 (24593) rev. 3.41; Processor Programming Reference for family 17h model 01h
//! (54945) rev. 3.03.

use crate::counters::Notice;
use crate::guest::Answer;
use crate::walk::EFER_LMA;
use crate::{Exception, ExitKind, Gpr, Guest, Machine, Vcpu, gpr, instruction};
use mediator::Gpa;

const APIC_BASE: u32 = 0x1b;
const EFER: u32 = 0xc000_0080;
const SYSCFG: u32 = 0xc001_0010;
const IORR_BASE_0: u32 = 0xc001_0016;
const IORR_MASK_0: u32 = 0xc001_0017;
const IORR_BASE_1: u32 = 0xc001_0018;
const IORR_MASK_1: u32 = 0xc001_0019;
const TOP_MEM: u32 = 0xc001_001a;
const TOP_MEM2: u32 = 0xc001_001d;
const PATCH_LOADER: u32 = 0xc001_0020;
const MMIO_CONFIG_BASE: u32 = 0xc001_0058;
const SMM_BASE: u32 = 0xc001_0111;
const SMM_ADDR: u32 = 0xc001_0112;
const SMM_MASK: u32 = 0xc001_0113;
const VM_CR: u32 = 0xc001_0114;
const SMM_CTL: u32 = 0xc001_0116;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const SVM_KEY: u32 = 0xc001_0118;
const SMM_KEY: u32 = 0xc001_0119;

/// VM_CR: LOCK and SVMDIS (APM Vol. 2 15.30.1): disabled by firmware, for good.
const VM_CR_DISABLED: u64 = 1 << 3 | 1 << 4;
const VM_CR_DEFINED: u64 = 0x1f;
/// SYSCFG: MtrrFixDramEn and MtrrFixDramModEn, which reach the first MiB only.
const SYSCFG_FREE: u64 = 1 << 18 | 1 << 19;
const CR0_PG: u64 = 1 << 31;
const EFER_LME: u64 = 1 << 8;

/// What happens to an intercepted MSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Efer,
    VmCr,
    ApicBase,
    /// The guest may change these bits only; a write that changes others raises #GP.
    Frozen {
        free: u64,
    },
    /// Raises #GP, as on a CPU without it.
    Absent,
    /// Reads are native, writes vanish.
    WriteVanishes,
}

/// One MSR that leaves the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsrIntercept {
    pub msr: u32,
    /// RDMSR exits.
    pub read: bool,
    /// WRMSR exits.
    pub write: bool,
    pub reason: &'static str,
    rule: Rule,
}

impl MsrIntercept {
    const fn new(msr: u32, rule: Rule, reason: &'static str) -> Self {
        let read = matches!(rule, Rule::Efer | Rule::VmCr | Rule::Absent);
        Self { msr, read, write: true, reason, rule }
    }
}

const FROZEN: Rule = Rule::Frozen { free: 0 };
const ROUTING: &str = "routes the physical addresses of VMM memory between RAM and devices";
const SMRAM: &str = "SMM runs outside nested paging; its memory must not move onto the VMM's";

/// Everything else passes, so far as the CPU's permission map reaches; what lies outside the map is refused.
pub const MSR_INTERCEPTS: &[MsrIntercept] = &[
    MsrIntercept::new(APIC_BASE, Rule::ApicBase, "the local APIC's page must not cover VMM memory"),
    MsrIntercept::new(EFER, Rule::Efer, "SVME is set while the guest runs and must neither show nor change"),
    MsrIntercept::new(SYSCFG, Rule::Frozen { free: SYSCFG_FREE }, "memory encryption, SNP, TOP_MEM enables"),
    MsrIntercept::new(IORR_BASE_0, FROZEN, ROUTING),
    MsrIntercept::new(IORR_MASK_0, FROZEN, ROUTING),
    MsrIntercept::new(IORR_BASE_1, FROZEN, ROUTING),
    MsrIntercept::new(IORR_MASK_1, FROZEN, ROUTING),
    MsrIntercept::new(TOP_MEM, FROZEN, ROUTING),
    MsrIntercept::new(TOP_MEM2, FROZEN, ROUTING),
    MsrIntercept::new(PATCH_LOADER, Rule::WriteVanishes, "loads microcode by linear address, of the VMM by then"),
    MsrIntercept::new(MMIO_CONFIG_BASE, FROZEN, "a window to PCI configuration past the guarded ports"),
    MsrIntercept::new(SMM_BASE, FROZEN, SMRAM),
    MsrIntercept::new(SMM_ADDR, FROZEN, SMRAM),
    MsrIntercept::new(SMM_MASK, FROZEN, SMRAM),
    MsrIntercept::new(VM_CR, Rule::VmCr, "the guest has no SVM; R_INIT and DIS_A20M are the VMM's"),
    MsrIntercept::new(SMM_CTL, Rule::Absent, "enters and leaves SMM at will"),
    MsrIntercept::new(VM_HSAVE_PA, Rule::Absent, "where the CPU keeps the VMM's state while the guest runs"),
    MsrIntercept::new(SVM_KEY, Rule::Absent, "unlocks SVM; the guest has none"),
    MsrIntercept::new(SMM_KEY, Rule::Absent, "unlocks the SMM registers"),
];

fn rule(msr: u32) -> Option<Rule> {
    MSR_INTERCEPTS.iter().find(|intercept| intercept.msr == msr).map(|intercept| intercept.rule)
}

/// Bits of EFER that the guest may set: those that the CPU has (APM Vol. 2 3.1.7), without SVME, and without LMSLE,
/// which newer CPUs lack too.
pub(crate) fn efer_bits<M: Machine>(machine: &mut M) -> u64 {
    let max_leaf = machine.cpuid(0x8000_0000, 0).eax;
    let mut leaf = |leaf| if leaf <= max_leaf { machine.cpuid(leaf, 0) } else { Default::default() };
    let (features, capacities, features_2) = (leaf(0x8000_0001), leaf(0x8000_0008), leaf(0x8000_0021));
    // Feature register and bit, bit of EFER.
    [
        (features.edx, 11, 0),    // SCE: SYSCALL
        (features.edx, 29, 8),    // LME: long mode
        (features.edx, 20, 11),   // NXE
        (features.edx, 25, 14),   // FFXSR
        (features.ecx, 17, 15),   // TCE
        (capacities.ebx, 8, 17),  // MCOMMIT
        (capacities.ebx, 13, 18), // INTWB
        (features_2.eax, 7, 20),  // UAIE
        (features_2.eax, 8, 21),  // AIBRSE
    ]
    .into_iter()
    .filter(|&(register, feature, _)| register & 1_u32.wrapping_shl(feature) != 0)
    .fold(0, |bits, (_, _, bit)| bits | 1_u64.wrapping_shl(bit))
}

/// RDMSR.
#[cold]
pub(crate) fn on_read<V: Vcpu, M: Machine>(guest: &mut Guest, vcpu: &mut V, machine: &mut M) -> Answer {
    guest.counters.count(ExitKind::ReadMsr);
    let len_bytes = instruction::length(guest, vcpu, machine, &instruction::RDMSR)?;
    let msr = gpr::low_dword(vcpu, Gpr::Rcx);
    let value = match rule(msr) {
        Some(Rule::Efer) => vcpu.control().efer,
        Some(Rule::VmCr) => VM_CR_DISABLED,
        Some(Rule::Absent) => return refuse(guest, Notice::RefusedMsr, "read", msr),
        Some(Rule::ApicBase | Rule::Frozen { .. } | Rule::WriteVanishes) => {
            machine.read_msr(msr).ok_or(Exception::GeneralProtection(0))?
        }
        None => return refuse(guest, Notice::UnknownMsr, "read", msr),
    };
    gpr::set_edx_eax(vcpu, value);
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// WRMSR.
#[cold]
pub(crate) fn on_write<V: Vcpu, M: Machine>(guest: &mut Guest, vcpu: &mut V, machine: &mut M) -> Answer {
    guest.counters.count(ExitKind::WriteMsr);
    let len_bytes = instruction::length(guest, vcpu, machine, &instruction::WRMSR)?;
    let msr = gpr::low_dword(vcpu, Gpr::Rcx);
    let value = gpr::edx_eax(vcpu);
    let accepted = match rule(msr) {
        Some(Rule::Efer) => write_efer(guest, vcpu, value),
        // What firmware locked ignores writes (APM Vol. 2 15.30.1).
        Some(Rule::VmCr) => (value & !VM_CR_DEFINED == 0).then_some(()),
        Some(Rule::ApicBase) => write_apic_base(machine, value),
        Some(Rule::Frozen { free }) => write_frozen(machine, msr, free, value),
        Some(Rule::Absent) => None,
        Some(Rule::WriteVanishes) => {
            if guest.notices.first(Notice::PatchLoader) {
                log::info!("guest's microcode update ignored; firmware or the boot loader must load it");
            }
            Some(())
        }
        None => return refuse(guest, Notice::UnknownMsr, "write", msr),
    };
    match accepted {
        Some(()) => {
            vcpu.skip_instruction(len_bytes);
            Ok(())
        }
        None => refuse(guest, Notice::RefusedMsr, "write", msr),
    }
}

fn refuse(guest: &mut Guest, notice: Notice, verb: &str, msr: u32) -> Answer {
    if guest.notices.first(notice) {
        log::warn!("guest may not {verb} MSR {msr:#x}: #GP; further ones are not logged");
    }
    Err(Exception::GeneralProtection(0))
}

/// APM Vol. 2 3.1.7. LMA belongs to the CPU: what is written there is ignored.
fn write_efer<V: Vcpu>(guest: &Guest, vcpu: &mut V, value: u64) -> Option<()> {
    let control = vcpu.control();
    let value = value & !EFER_LMA;
    let long_mode_changes = (value ^ control.efer) & EFER_LME != 0;
    if value & !guest.efer_bits != 0 || (long_mode_changes && control.cr0 & CR0_PG != 0) {
        return None;
    }
    vcpu.set_efer(value | control.efer & EFER_LMA);
    Some(())
}

fn write_apic_base<M: Machine>(machine: &mut M, value: u64) -> Option<()> {
    if machine.is_vmm_memory(Gpa(value & 0x000f_ffff_ffff_f000)) {
        return None;
    }
    machine.write_msr(APIC_BASE, value)
}

fn write_frozen<M: Machine>(machine: &mut M, msr: u32, free: u64, value: u64) -> Option<()> {
    let changes = machine.read_msr(msr)? ^ value;
    if changes & !free != 0 {
        return None;
    }
    if changes == 0 { Some(()) } else { machine.write_msr(msr, value) }
}
