//! CPUID: the CPU's own answer, edited by the rules below, which hold for every vendor; what a vendor's guest must not see
//! besides stands in its [`crate::Policy`].
//!
//! Specifications: AMD64 APM Vol. 2 (24593) rev. 3.41 and Vol. 3 (24594) rev. 3.36; Intel SDM (325462) rev. 083.

use crate::cpu::Answer;
use crate::walk::EFER_LMA;
use crate::{ControlRegisters, Cpu, CpuidLeaf, ExitKind, Gpr, Machine, Policy, SegmentName, Vcpu, gpr, instruction};

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;

/// Answers CPUID in the guest's registers.
#[inline]
pub(crate) fn on_cpuid<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::Cpuid);
    let len_bytes = instruction::length(cpu, vcpu, machine, &instruction::CPUID)?;
    let (leaf, subleaf) = (gpr::low_dword(vcpu, Gpr::Rax), gpr::low_dword(vcpu, Gpr::Rcx));
    let mut answer = machine.cpuid(leaf, subleaf);
    cpu.guest.policy.hidden.clear_in(leaf, subleaf, &mut answer);
    edit(leaf, &mut answer, vcpu, &cpu.guest.policy);
    vcpu.set_gpr(Gpr::Rax, u64::from(answer.eax));
    vcpu.set_gpr(Gpr::Rbx, u64::from(answer.ebx));
    vcpu.set_gpr(Gpr::Rcx, u64::from(answer.ecx));
    vcpu.set_gpr(Gpr::Rdx, u64::from(answer.edx));
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// The rules, one arm per leaf; a leaf without an arm is native.
#[inline(always)]
fn edit<V: Vcpu>(leaf: u32, answer: &mut CpuidLeaf, vcpu: &V, policy: &Policy) {
    match leaf {
        0x0000_0001 => feature_information(answer, vcpu.control()),
        0x0000_0007 => structured_features(answer, vcpu.control()),
        0x0000_0019 => key_locker(answer, vcpu.control()),
        // APM Vol. 3 E.3.9: reserved for hypervisors. Nothing of a hypervisor below Shoji may show through: its
        // paravirtual interfaces write to memory by physical address, past the nested tables.
        0x4000_0000..=0x4fff_ffff => *answer = hypervisor_leaf(leaf),
        0x8000_0001 if policy.syscall_in_64_bit_mode_only => syscall_feature(answer, vcpu),
        _ => {}
    }
}

/// Leaf 1 (SDM Vol. 2A, CPUID, tables 3-10 and 3-11).
fn feature_information(answer: &mut CpuidLeaf, control: ControlRegisters) {
    const OSXSAVE: u32 = 1 << 27;
    const HYPERVISOR: u32 = 1 << 31;
    // OSXSAVE mirrors CR4, and CPUID ran with the VMM's.
    let enabled = control.cr4 & CR4_OSXSAVE != 0;
    answer.ecx = answer.ecx & !OSXSAVE | if enabled { OSXSAVE } else { 0 };
    // Software asks for leaf 4000_0000h only when this bit is set.
    answer.ecx |= HYPERVISOR;
}

/// Leaf 7 (SDM Vol. 2A, CPUID). Bit 4 of ECX is reserved (0) in the other subleaves, so that the mirror is harmless
/// there: PKE can be set only where subleaf 0 shows PKU.
fn structured_features(answer: &mut CpuidLeaf, control: ControlRegisters) {
    const PKU: u32 = 1 << 3;
    const OSPKE: u32 = 1 << 4;
    // OSPKE mirrors CR4, and CPUID ran with the VMM's.
    let enabled = answer.ecx & PKU != 0 && control.cr4 & CR4_PKE != 0;
    answer.ecx = answer.ecx & !OSPKE | if enabled { OSPKE } else { 0 };
}

/// Leaf 19h (SDM Vol. 2A, CPUID).
#[cold]
fn key_locker(answer: &mut CpuidLeaf, control: ControlRegisters) {
    const AESKLE: u32 = 1 << 0;
    const CR4_KL: u64 = 1 << 19;
    // AESKLE mirrors CR4 where the firmware has activated it; CPUID ran with the VMM's, where the bit is set.
    if control.cr4 & CR4_KL == 0 {
        answer.ebx &= !AESKLE;
    }
}

/// Leaf 8000_0001h (SDM Vol. 2A, CPUID): SYSCALL is told of in 64-bit mode only, and CPUID ran in the VMM's.
fn syscall_feature<V: Vcpu>(answer: &mut CpuidLeaf, vcpu: &V) {
    const SYSCALL: u32 = 1 << 11;
    if vcpu.control().efer & EFER_LMA == 0 || !vcpu.segment(SegmentName::Cs).long {
        answer.edx &= !SYSCALL;
    }
}

/// Leaf 4000_0000h: who is there; there are no further leaves.
#[cold]
fn hypervisor_leaf(leaf: u32) -> CpuidLeaf {
    if leaf != 0x4000_0000 {
        return CpuidLeaf::default();
    }
    let [ebx, ecx, edx] = [*b"Shoj", [b'i', 0, 0, 0], [0; 4]].map(u32::from_le_bytes);
    CpuidLeaf { eax: 0x4000_0000, ebx, ecx, edx }
}
