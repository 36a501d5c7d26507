//! Model-specific registers that the guest does not reach freely: the rules. Which registers follow which rule, and why, is
//! told by the vendor's [`crate::Policy`].
//!
//! Specifications: AMD64 APM Vol. 2 (24593) rev. 3.41; Intel SDM (325462) rev. 083.

use crate::counters::Notice;
use crate::cpu::Answer;
use crate::walk::EFER_LMA;
use crate::{Cpu, Exception, ExitKind, Gpr, Guest, Machine, Vcpu, gpr, instruction, local_apic};
use core::ops::RangeInclusive;

const CR0_PG: u64 = 1 << 31;
const EFER_LME: u64 = 1 << 8;

/// What happens to an intercepted MSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// EFER: the guest sees and sets the bits that its CPU has; those that the VMM keeps neither show nor change.
    Efer,
    /// The local APIC's page and mode ([`Guest::guard_local_apic`]). Without that guard: anywhere but on VMM memory.
    ApicBase,
    /// The interrupt command register in x2APIC mode: no INIT and no startup IPI reaches the hardware.
    InterruptCommand,
    /// Reads are native. The guest may change the `free` bits only; a write that changes others raises #GP.
    Frozen { free: u64 },
    /// Raises #GP, as on a CPU without it.
    Absent,
    /// As if the firmware had locked it: reads give the `native` bits of the CPU's value, and those that are `set`. A write
    /// within the bits that are `ignored` changes nothing; any other, and every one where that is `None`, raises #GP.
    Locked { native: u64, set: u64, ignored: Option<u64> },
    /// Loads microcode by linear address, which would be one of the VMM by then: writes vanish.
    MicrocodeUpdate,
    /// Memory types of physical addresses (MTRR): all is native, and [`Vcpu::memory_types_changed`] follows a write.
    MemoryType,
}

impl Rule {
    /// No bit may be changed.
    pub const FROZEN: Self = Self::Frozen { free: 0 };
}

/// A run of MSRs that leave the guest, for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsrIntercept {
    first: u32,
    last: u32,
    rule: Rule,
    reason: &'static str,
}

impl MsrIntercept {
    /// For every table: both vendors have it.
    pub const APIC_BASE: Self = Self::new(
        local_apic::BASE,
        Rule::ApicBase,
        "the local APIC's page must not cover VMM memory, nor leave its hook",
    );

    /// For every table: both vendors have it.
    pub const INTERRUPT_COMMAND: Self = Self::new(
        local_apic::X2APIC_COMMAND,
        Rule::InterruptCommand,
        "an INIT or a startup IPI would take a CPU out of the virtual machine",
    );

    pub const fn new(msr: u32, rule: Rule, reason: &'static str) -> Self {
        Self::range(msr..=msr, rule, reason)
    }

    pub const fn range(msrs: RangeInclusive<u32>, rule: Rule, reason: &'static str) -> Self {
        Self { first: *msrs.start(), last: *msrs.end(), rule, reason }
    }

    pub fn msrs(&self) -> RangeInclusive<u32> {
        self.first..=self.last
    }

    /// RDMSR exits as well as WRMSR, because it is not the CPU's value that the guest gets.
    pub fn reads_exit(&self) -> bool {
        matches!(self.rule, Rule::Efer | Rule::Absent | Rule::Locked { .. })
    }

    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

/// Whether a table is as it is searched: ascending, and no MSR in two entries. For a `const` assertion beside the table.
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "no iterators in const; checked here")]
pub const fn in_order(table: &[MsrIntercept]) -> bool {
    let mut i = 0;
    while i < table.len() {
        let follows = i == 0 || table[i - 1].last < table[i].first;
        if !follows || table[i].last < table[i].first || table[i].reason.is_empty() {
            return false;
        }
        i += 1;
    }
    true
}

/// What is not in the table passes, so far as the CPU's permission map reaches; what lies outside the map is refused.
fn rule(guest: &Guest, msr: u32) -> Option<Rule> {
    let table = guest.policy.msrs;
    let intercept = table.get(table.partition_point(|intercept| intercept.last < msr))?;
    (intercept.first <= msr).then_some(intercept.rule)
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
pub(crate) fn on_read<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::ReadMsr);
    let len_bytes = instruction::length(cpu, vcpu, machine, &instruction::RDMSR)?;
    let msr = gpr::low_dword(vcpu, Gpr::Rcx);
    let value = match rule(cpu.guest, msr) {
        Some(Rule::Efer) => vcpu.control().efer,
        Some(Rule::Locked { native: 0, set, .. }) => set,
        Some(Rule::Locked { native, set, .. }) => read_native(machine, msr)? & native | set,
        Some(Rule::Absent) => return refuse(cpu.guest, Notice::RefusedMsr, "read", msr),
        Some(
            Rule::ApicBase | Rule::InterruptCommand | Rule::Frozen { .. } | Rule::MicrocodeUpdate | Rule::MemoryType,
        ) => read_native(machine, msr)?,
        None => return refuse(cpu.guest, Notice::UnknownMsr, "read", msr),
    };
    gpr::set_edx_eax(vcpu, value);
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// WRMSR.
#[cold]
pub(crate) fn on_write<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::WriteMsr);
    let len_bytes = instruction::length(cpu, vcpu, machine, &instruction::WRMSR)?;
    let msr = gpr::low_dword(vcpu, Gpr::Rcx);
    let value = gpr::edx_eax(vcpu);
    let accepted = match rule(cpu.guest, msr) {
        Some(Rule::Efer) => write_efer(cpu.guest, vcpu, value),
        Some(Rule::Locked { ignored, .. }) => ignored.filter(|ignored| value & !ignored == 0).map(drop),
        Some(Rule::ApicBase) => cpu.guest.write_apic_base(machine, value),
        Some(Rule::InterruptCommand) => cpu.guest.write_x2apic_command(machine, value),
        Some(Rule::Frozen { free }) => write_frozen(machine, msr, free, value),
        Some(Rule::Absent) => None,
        Some(Rule::MemoryType) => machine.write_msr(msr, value).map(|()| vcpu.memory_types_changed()),
        Some(Rule::MicrocodeUpdate) => {
            if cpu.guest.notices.first(Notice::MicrocodeUpdate) {
                log::info!("guest's microcode update ignored; firmware or the boot loader must load it");
            }
            Some(())
        }
        None => return refuse(cpu.guest, Notice::UnknownMsr, "write", msr),
    };
    match accepted {
        Some(()) => {
            vcpu.skip_instruction(len_bytes);
            Ok(())
        }
        None => refuse(cpu.guest, Notice::RefusedMsr, "write", msr),
    }
}

fn refuse(guest: &Guest, notice: Notice, verb: &str, msr: u32) -> Answer {
    if guest.notices.first(notice) {
        log::warn!("guest may not {verb} MSR {msr:#x}: #GP; further ones are not logged");
    }
    Err(Exception::GeneralProtection(0))
}

fn read_native<M: Machine>(machine: &mut M, msr: u32) -> Result<u64, Exception> {
    machine.read_msr(msr).ok_or(Exception::GeneralProtection(0))
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
