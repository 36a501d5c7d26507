//! Which rules for VM entries a VMCS breaks (SDM Vol. 3C chapter 27). A CPU that refuses an entry names the broken rule
//! by a number at best; this says it in words, for the log.
//!
//! What would need memory is not looked at: the virtual-APIC page (TPR threshold against VTPR), the VMCS that a link
//! pointer points to, PDPTEs without EPT. Nor are the reserved bits of IA32_PERF_GLOBAL_CTRL, IA32_RTIT_CTL and
//! IA32_LBR_CTL, HLAT, IPI virtualization and PASID translation. The CPU is taken to be outside of SMM.

mod execution_controls;
mod exit_entry_controls;
mod guest_registers;
mod guest_segments;
mod guest_state;
mod host;
mod msr_load;
#[cfg(any(test, feature = "samples"))]
pub mod mutations;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
#[cfg(test)]
mod tests;

use super::{
    Capabilities, EntryControls, ExitControls, Field, PinControls, ProcessorControls, SecondaryControls,
    TertiaryControls,
};
use alloc::vec::Vec;
use core::fmt;

pub use msr_load::broken_msr_load;

/// What the rules depend on beside the VMCS.
#[derive(Clone, Debug)]
pub struct Cpu {
    pub capabilities: Capabilities,
    /// CPUID 8000_0008h EAX bits 7:0.
    pub physical_bits: u8,
    /// CPUID 8000_0008h EAX bits 15:8.
    pub linear_bits: u8,
    /// The CPU is in IA-32e mode at the entry.
    pub long_mode: bool,
    /// CPUID 7 ECX bit 24: bus-lock detection.
    pub bus_lock_detection: bool,
    /// CPUID 7 EBX bit 11.
    pub rtm: bool,
    /// CPUID 7 EBX bit 2.
    pub sgx: bool,
}

/// What the CPU does when a rule is broken. The CPU checks controls and host state in any order, the guest state last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// VM-instruction error 7.
    Controls,
    /// VM-instruction error 8.
    HostState,
    /// Exit reason 33.
    GuestState,
}

/// A rule that the VMCS breaks. Shown, it is a sentence with field, value, rule and section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    pub stage: Stage,
    /// Of the SDM, Vol. 3C.
    pub section: &'static str,
    pub field: Field,
    pub value: u64,
    /// The bits of the value that break the rule; 0 when it is the value as a whole.
    pub bits: u64,
    /// What must be.
    pub rule: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:#x}", self.field, self.value)?;
        if self.bits != 0 {
            write!(f, ", wrong bits {:#x}", self.bits)?;
        }
        write!(f, ": {} (SDM Vol. 3C {})", self.rule, self.section)
    }
}

/// All rules that the VMCS breaks; empty if the CPU will enter the guest. `read` is asked for fields only that a CPU has
/// whose controls are as in the VMCS.
pub fn check(cpu: &Cpu, read: &dyn Fn(Field) -> u64) -> Vec<Broken> {
    let controls = Controls::read(read);
    let mut check = Check { cpu, read, controls, stage: Stage::Controls, section: "", broken: Vec::new() };
    execution_controls::check(&mut check);
    exit_entry_controls::check(&mut check);
    host::check(&mut check);
    guest_registers::check(&mut check);
    guest_segments::check(&mut check);
    guest_state::check(&mut check);
    check.broken
}

/// The controls; those of words that are not activated are zero.
struct Controls {
    pin: PinControls,
    processor: ProcessorControls,
    secondary: SecondaryControls,
    tertiary: TertiaryControls,
    exit: ExitControls,
    entry: EntryControls,
}

struct Check<'a> {
    cpu: &'a Cpu,
    read: &'a dyn Fn(Field) -> u64,
    controls: Controls,
    stage: Stage,
    section: &'static str,
    broken: Vec<Broken>,
}

impl Controls {
    fn read(read: &dyn Fn(Field) -> u64) -> Self {
        let word = |field| read(field) as u32;
        let processor = ProcessorControls::from_bits_retain(word(Field::PROCESSOR_CONTROLS));
        let secondary = processor.contains(ProcessorControls::ACTIVATE_SECONDARY_CONTROLS);
        let tertiary = processor.contains(ProcessorControls::ACTIVATE_TERTIARY_CONTROLS);
        Self {
            pin: PinControls::from_bits_retain(word(Field::PIN_CONTROLS)),
            processor,
            secondary: SecondaryControls::from_bits_retain(if secondary {
                word(Field::SECONDARY_PROCESSOR_CONTROLS)
            } else {
                0
            }),
            tertiary: TertiaryControls::from_bits_retain(if tertiary {
                read(Field::TERTIARY_PROCESSOR_CONTROLS)
            } else {
                0
            }),
            exit: ExitControls::from_bits_retain(word(Field::VM_EXIT_CONTROLS)),
            entry: EntryControls::from_bits_retain(word(Field::VM_ENTRY_CONTROLS)),
        }
    }

    fn unrestricted(&self) -> bool {
        self.secondary.contains(SecondaryControls::UNRESTRICTED_GUEST)
    }

    fn long_mode_guest(&self) -> bool {
        self.entry.contains(EntryControls::IA32E_MODE_GUEST)
    }
}

impl Check<'_> {
    /// The rules that follow are of this section.
    fn section(&mut self, stage: Stage, section: &'static str) {
        self.stage = stage;
        self.section = section;
    }

    fn get(&self, field: Field) -> u64 {
        (self.read)(field)
    }

    /// The value as a whole must be so.
    fn want(&mut self, field: Field, holds: bool, rule: &'static str) {
        if !holds {
            self.report(field, 0, rule);
        }
    }

    /// No bit of the field may break the rule.
    fn want_no(&mut self, field: Field, wrong_bits: u64, rule: &'static str) {
        if wrong_bits != 0 {
            self.report(field, wrong_bits, rule);
        }
    }

    fn report(&mut self, field: Field, bits: u64, rule: &'static str) {
        let value = self.get(field);
        self.broken.push(Broken { stage: self.stage, section: self.section, field, value, bits, rule });
    }

    /// These bits of the field must be zero.
    fn zero(&mut self, field: Field, bits: u64, rule: &'static str) {
        self.want_no(field, self.get(field) & bits, rule);
    }

    /// Bits that no physical address has; those above bit 31 on a CPU that keeps VMX structures below 4 GiB.
    fn beyond_physical(&self) -> u64 {
        if self.cpu.capabilities.basic.addresses_are_32_bits() {
            return u64::MAX << 32;
        }
        u64::MAX.checked_shl(u32::from(self.cpu.physical_bits)).unwrap_or(0)
    }

    /// A physical address with some low bits clear.
    fn address(&mut self, field: Field, low_bits: u64) {
        self.zero(field, low_bits, "the address must be aligned");
        self.zero(field, self.beyond_physical(), "the address must be within the physical-address width");
    }

    fn page(&mut self, field: Field) {
        self.address(field, 0xFFF);
    }

    fn canonical(&mut self, field: Field) {
        let holds = is_canonical(self.get(field), self.cpu.linear_bits);
        self.want(field, holds, "the address must be canonical");
    }

    /// CR3: 63:52 and what is beyond the physical-address width (27.2.2, 27.3.1.1).
    fn cr3(&mut self, field: Field) {
        let beyond = u64::MAX.checked_shl(u32::from(self.cpu.physical_bits)).unwrap_or(0);
        self.zero(field, beyond, "bits beyond the physical-address width must be 0");
    }

    /// Each byte is a memory type (27.2.2, 27.3.1.1).
    fn pat(&mut self, field: Field) {
        let bytes = self.get(field).to_le_bytes();
        let holds = bytes.iter().all(|byte| matches!(byte, 0 | 1 | 4..=7));
        self.want(field, holds, "each byte must be 0 (UC), 1 (WC), 4 (WT), 5 (WP), 6 (WB) or 7 (UC-)");
    }

    /// IA32_S_CET, SSP and IA32_INTERRUPT_SSP_TABLE_ADDR, as far as both sides share the rules (27.2.2, 27.3.1.1).
    fn cet(&mut self, s_cet: Field, table: Field) {
        self.zero(s_cet, 0x3C0, "reserved bits 9:6 must be 0");
        let both = self.get(s_cet) & 0xC00 == 0xC00;
        self.want(s_cet, !both, "SUPPRESS (bit 10) and TRACKER (bit 11) must not both be 1");
        self.canonical(s_cet);
        self.canonical(table);
    }
}

const fn is_canonical(address: u64, linear_bits: u8) -> bool {
    let shift = 64_u32.saturating_sub(linear_bits as u32);
    match (address as i64).checked_shl(shift) {
        Some(shifted) => shifted.wrapping_shr(shift) == address as i64,
        None => true,
    }
}
