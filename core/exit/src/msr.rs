//! Model-specific registers that the guest does not reach freely: what the rules do. Which registers follow which rule, and
//! why, is told by the tables of the crate `policy`; what they do not list raises #GP.
//!
//! Specifications: AMD64 APM Vol. 2 (24593) rev. 3.41; Intel SDM (325462) rev. 083.

use crate::cpu::Answer;
use crate::walk::EFER_LMA;
use crate::{Cpu, Exception, ExitKind, Gpr, Guest, Machine, Vcpu, gpr, instruction, tsc};
use policy::{MsrRow, Rule};
use x86::mtrr::MtrrRegisters;

const CR0_PG: u64 = 1 << 31;
const EFER_LME: u64 = 1 << 8;

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
pub(crate) fn on_read<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::ReadMsr);
    let len_bytes = instruction::length(cpu, vcpu, machine, &instruction::RDMSR)?;
    let msr = gpr::low_dword(vcpu, Gpr::Rcx);
    let row = policy::find(&cpu.guest.policy.msrs, msr);
    let Some(value) = row.and_then(|row| read(cpu, vcpu, machine, msr, row.rule())) else {
        return refuse(cpu.guest, "read", msr, row);
    };
    gpr::set_edx_eax(vcpu, value);
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

fn read<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &V, machine: &mut M, msr: u32, rule: Rule) -> Option<u64> {
    match rule {
        Rule::Absent => None,
        Rule::Efer => Some(vcpu.control().efer),
        Rule::Locked { native: 0, set, .. } => Some(set),
        Rule::Locked { native, set, .. } => Some(machine.read_msr(msr)? & native | set),
        Rule::MemoryType => memory_types(&mut cpu.memory_types, machine)?.get(msr),
        Rule::TscAdjust => tsc::read_adjust(vcpu, machine),
        Rule::TscDeadline => tsc::read_deadline(vcpu, machine),
        Rule::Pass
        | Rule::Frozen { .. }
        | Rule::Masked { .. }
        | Rule::Forced { .. }
        | Rule::ApicBase
        | Rule::InterruptCommand
        | Rule::Tsc
        | Rule::CounterControl => machine.read_msr(msr),
    }
}

/// WRMSR.
#[cold]
pub(crate) fn on_write<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::WriteMsr);
    let len_bytes = instruction::length(cpu, vcpu, machine, &instruction::WRMSR)?;
    let msr = gpr::low_dword(vcpu, Gpr::Rcx);
    let value = gpr::edx_eax(vcpu);
    let row = policy::find(&cpu.guest.policy.msrs, msr);
    if row.and_then(|row| write(cpu, vcpu, machine, msr, value, row)).is_none() {
        return refuse(cpu.guest, "write", msr, row);
    }
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// `None`: #GP.
fn write<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &mut V,
    machine: &mut M,
    msr: u32,
    value: u64,
    row: &MsrRow,
) -> Option<()> {
    match row.rule() {
        Rule::Absent => None,
        Rule::Pass => machine.write_msr(msr, value),
        Rule::Frozen { free } => write_frozen(machine, msr, free, value),
        Rule::Masked { free, set_only } => write_masked(cpu.guest, machine, msr, (free, set_only), value, row),
        Rule::Forced { set, clear } => machine.write_msr(msr, value & !clear | set),
        Rule::Locked { ignored, .. } => ignored.filter(|ignored| value & !ignored == 0).map(drop),
        Rule::Efer => write_efer(cpu.guest, vcpu, value),
        Rule::ApicBase => cpu.guest.write_apic_base(machine, value),
        Rule::InterruptCommand => cpu.guest.write_x2apic_command(machine, value),
        Rule::MemoryType => write_memory_type(cpu, vcpu, machine, msr, value),
        Rule::Tsc => tsc::write(vcpu, machine, value),
        Rule::TscAdjust => tsc::write_adjust(vcpu, machine, value),
        Rule::TscDeadline => tsc::write_deadline(vcpu, machine, value),
        Rule::CounterControl => write_counter_control(vcpu, machine, msr, value),
    }
}

#[cold]
fn refuse(guest: &Guest, verb: &'static str, msr: u32, row: Option<&MsrRow>) -> Answer {
    // What a virtual register refuses the CPU would refuse as well.
    if !row.is_some_and(|row| {
        matches!(row.rule(), Rule::MemoryType | Rule::Efer | Rule::Pass | Rule::InterruptCommand | Rule::CounterControl)
    }) {
        guest.msr_refusals.note("#GP", verb, msr, row);
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

fn write_frozen<M: Machine>(machine: &mut M, msr: u32, free: u64, value: u64) -> Option<()> {
    let changes = machine.read_msr(msr)? ^ value;
    if changes & !free != 0 {
        return None;
    }
    if changes == 0 { Some(()) } else { machine.write_msr(msr, value) }
}

/// What the guest may not change stays as it is, and the rest is written.
fn write_masked<M: Machine>(
    guest: &Guest,
    machine: &mut M,
    msr: u32,
    (free, set_only): (u64, u64),
    value: u64,
    row: &MsrRow,
) -> Option<()> {
    if free | set_only == 0 {
        // Some of these cannot be read.
        guest.msr_refusals.note("dropped", "write", msr, Some(row));
        return Some(());
    }
    let before = machine.read_msr(msr)?;
    let after = before & !free | value & (free | set_only);
    if after != value {
        guest.msr_refusals.note("partly dropped", "write", msr, Some(row));
    }
    if after == before { Some(()) } else { machine.write_msr(msr, after) }
}

/// The MTRRs as the guest has set them, at first the CPU's; `None`: it has none.
fn memory_types<'c, M: Machine>(
    registers: &'c mut Option<MtrrRegisters>,
    machine: &mut M,
) -> Option<&'c mut MtrrRegisters> {
    if registers.is_none() {
        let address_bits = address_bits(machine);
        *registers = MtrrRegisters::read(|msr| machine.read_msr(msr), address_bits);
    }
    registers.as_mut()
}

/// CPUID leaf 8000_0008h, EAX.
fn address_bits<M: Machine>(machine: &mut M) -> u8 {
    let has_it = machine.cpuid(0x8000_0000, 0).eax >= 0x8000_0008;
    if has_it { machine.cpuid(0x8000_0008, 0).eax as u8 } else { 36 }
}

/// While MTRRs are off, which is in the midst of every change, memory keeps its types: all of it uncacheable is what CR0.CD
/// says at the same time, and would cost new tables twice on each CPU.
fn write_memory_type<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &mut V,
    machine: &mut M,
    msr: u32,
    value: u64,
) -> Option<()> {
    let registers = memory_types(&mut cpu.memory_types, machine)?;
    if registers.set(msr, value)? && registers.is_enabled() {
        vcpu.memory_types_changed(&registers.types()?);
    }
    Some(())
}

/// The CPU itself tells which bits there are: it takes the value for a moment, as the VMM's, whose is 0.
fn write_counter_control<V: Vcpu, M: Machine>(vcpu: &mut V, machine: &mut M, msr: u32, value: u64) -> Option<()> {
    machine.write_msr(msr, value)?;
    machine.write_msr(msr, 0)?;
    vcpu.set_counter_control(value);
    Some(())
}
