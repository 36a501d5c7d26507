//! What the CPU's VMX can do (SDM Vol. 3D appendix A).

use super::{ExitControls, PinControls, ProcessorControls, SecondaryControls};
use bitflags::bitflags;

/// Numbers of the capability MSRs.
pub mod msr {
    pub const VMX_BASIC: u32 = 0x480;
    pub const VMX_PINBASED_CTLS: u32 = 0x481;
    pub const VMX_PROCBASED_CTLS: u32 = 0x482;
    pub const VMX_EXIT_CTLS: u32 = 0x483;
    pub const VMX_ENTRY_CTLS: u32 = 0x484;
    pub const VMX_MISC: u32 = 0x485;
    pub const VMX_CR0_FIXED0: u32 = 0x486;
    pub const VMX_CR0_FIXED1: u32 = 0x487;
    pub const VMX_CR4_FIXED0: u32 = 0x488;
    pub const VMX_CR4_FIXED1: u32 = 0x489;
    pub const VMX_VMCS_ENUM: u32 = 0x48A;
    pub const VMX_PROCBASED_CTLS2: u32 = 0x48B;
    pub const VMX_EPT_VPID_CAP: u32 = 0x48C;
    pub const VMX_TRUE_PINBASED_CTLS: u32 = 0x48D;
    pub const VMX_TRUE_PROCBASED_CTLS: u32 = 0x48E;
    pub const VMX_TRUE_EXIT_CTLS: u32 = 0x48F;
    pub const VMX_TRUE_ENTRY_CTLS: u32 = 0x490;
    pub const VMX_VMFUNC: u32 = 0x491;
    pub const VMX_PROCBASED_CTLS3: u32 = 0x492;
    pub const VMX_EXIT_CTLS2: u32 = 0x493;
}

bitflags! {
    /// IA32_FEATURE_CONTROL (Vol. 3C 24.7).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FeatureControl: u64 {
        /// Nothing can be written any more until reset; VMXON needs it.
        const LOCK = 1 << 0;
        const VMX_IN_SMX = 1 << 1;
        const VMX_OUTSIDE_SMX = 1 << 2;
        const SENTER_GLOBAL = 1 << 15;
        const SGX_LAUNCH_CONTROL = 1 << 17;
        const SGX_GLOBAL = 1 << 18;
        const LMCE = 1 << 20;

        const _ = !0;
    }

    /// IA32_VMX_EPT_VPID_CAP (A.10).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct EptVpidCapability: u64 {
        const EXECUTE_ONLY = 1 << 0;
        const WALK_LENGTH_4 = 1 << 6;
        const WALK_LENGTH_5 = 1 << 7;
        /// The tables can be uncacheable.
        const UNCACHEABLE = 1 << 8;
        /// The tables can be write-back.
        const WRITE_BACK = 1 << 14;
        const PAGES_2M = 1 << 16;
        const PAGES_1G = 1 << 17;
        const INVEPT = 1 << 20;
        const ACCESSED_DIRTY = 1 << 21;
        /// Bits 11:9 of [`super::EptViolation`].
        const ADVANCED_INFORMATION = 1 << 22;
        const SUPERVISOR_SHADOW_STACK = 1 << 23;
        const INVEPT_SINGLE = 1 << 25;
        const INVEPT_ALL = 1 << 26;
        const INVVPID = 1 << 32;
        const INVVPID_ADDRESS = 1 << 40;
        const INVVPID_SINGLE = 1 << 41;
        const INVVPID_ALL = 1 << 42;
        const INVVPID_SINGLE_RETAINING_GLOBALS = 1 << 43;

        const _ = !0;
    }

    /// IA32_VMX_MISC (A.6), its flags.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Misc: u64 {
        /// Exits store EFER.LMA into "IA-32e mode guest"; so has every CPU with unrestricted guest.
        const STORES_LMA = 1 << 5;
        const ACTIVITY_HLT = 1 << 6;
        const ACTIVITY_SHUTDOWN = 1 << 7;
        const ACTIVITY_WAIT_FOR_SIPI = 1 << 8;
        const PT_IN_VMX = 1 << 14;
        const SMBASE_READABLE = 1 << 15;
        const SMM_MONITOR_CTL_BIT_2 = 1 << 28;
        /// VMWRITE can write any field, exit information too.
        const VMWRITE_ANY_FIELD = 1 << 29;
        /// Software events can be injected with instruction length 0.
        const ZERO_INSTRUCTION_LENGTH = 1 << 30;

        const _ = !0;
    }
}

impl Misc {
    /// The VMX-preemption timer counts down when this bit of the TSC changes.
    pub const fn preemption_timer_shift(self) -> u8 {
        (self.bits() & 0x1F) as u8
    }

    pub const fn cr3_targets(self) -> u16 {
        (self.bits() >> 16 & 0x1FF) as u16
    }

    /// Longest MSR list that the CPU takes, in entries.
    pub const fn msr_list_max(self) -> u32 {
        ((self.bits() >> 25 & 7) as u32).saturating_add(1).saturating_mul(512)
    }
}

/// IA32_VMX_BASIC (A.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Basic(pub u64);

impl Basic {
    /// First word of VMXON region and VMCS.
    pub const fn revision(self) -> u32 {
        self.0 as u32 & 0x7FFF_FFFF
    }

    /// Of VMXON region and VMCS; 4,096 at most.
    pub const fn region_bytes(self) -> u16 {
        (self.0 >> 32 & 0x1FFF) as u16
    }

    /// VMX structures must lie below 4 GiB.
    pub const fn addresses_are_32_bits(self) -> bool {
        self.0 & 1 << 48 != 0
    }

    pub const fn dual_monitor(self) -> bool {
        self.0 & 1 << 49 != 0
    }

    /// Number of the memory type that VMX structures should have: 0 uncacheable, 6 write-back.
    pub const fn memory_type(self) -> u8 {
        (self.0 >> 50 & 0xF) as u8
    }

    /// Exits by INS and OUTS fill VM_EXIT_INSTRUCTION_INFORMATION.
    pub const fn tells_string_io(self) -> bool {
        self.0 & 1 << 54 != 0
    }

    /// The TRUE control MSRs are there: controls that are one by default may be cleared.
    pub const fn has_true_controls(self) -> bool {
        self.0 & 1 << 55 != 0
    }

    /// Any hardware exception may be injected with or without error code.
    pub const fn error_code_is_free(self) -> bool {
        self.0 & 1 << 56 != 0
    }
}

/// Which bits of a control field may be clear and which may be set (A.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ControlCapability {
    /// Bits that must be one ("allowed 0-settings": a clear bit here may be clear in the field).
    pub allowed_0: u32,
    /// Bits that may be one.
    pub allowed_1: u32,
}

impl ControlCapability {
    /// From the value of a capability MSR.
    pub const fn new(msr: u64) -> Self {
        Self { allowed_0: msr as u32, allowed_1: (msr >> 32) as u32 }
    }

    /// The field that has what is wanted and what must be one. Errors: the wanted bits that the CPU does not have.
    pub const fn adjust(self, wanted: u32) -> Result<u32, u32> {
        match wanted & !self.allowed_1 {
            0 => Ok(wanted | self.allowed_0),
            missing => Err(missing),
        }
    }

    /// All of these bits may be one.
    pub const fn allows(self, bits: u32) -> bool {
        bits & !self.allowed_1 == 0
    }
}

/// Bits of CR0 or CR4 that VMX operation fixes (A.7, A.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FixedBits {
    /// Bits that must be one.
    pub ones: u64,
    /// Bits that may be one.
    pub allowed: u64,
}

impl FixedBits {
    /// A value with these bits as VMX wants them.
    pub const fn apply(self, value: u64) -> u64 {
        (value | self.ones) & self.allowed
    }

    /// Bits whose value is wrong.
    pub const fn broken(self, value: u64) -> u64 {
        (value ^ self.apply(value)) & (self.ones | !self.allowed)
    }
}

/// All that the capability MSRs tell. What a CPU does not have is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    pub basic: Basic,
    pub pin: ControlCapability,
    pub processor: ControlCapability,
    pub secondary: ControlCapability,
    /// Bits that may be one; none must be.
    pub tertiary: u64,
    pub exit: ControlCapability,
    /// Secondary VM-exit controls: bits that may be one; none must be.
    pub secondary_exit: u64,
    pub entry: ControlCapability,
    pub misc: Misc,
    pub cr0: FixedBits,
    pub cr4: FixedBits,
    pub ept_vpid: EptVpidCapability,
    /// Bits of VM_FUNCTION_CONTROLS that may be one.
    pub vm_functions: u64,
}

impl Capabilities {
    /// Reads the MSRs that the CPU has, and no other. It must have VMX.
    pub fn read(mut rdmsr: impl FnMut(u32) -> u64) -> Self {
        let basic = Basic(rdmsr(msr::VMX_BASIC));
        let mut control = |plain: u32, with_true: u32| {
            ControlCapability::new(rdmsr(if basic.has_true_controls() { with_true } else { plain }))
        };
        let pin = control(msr::VMX_PINBASED_CTLS, msr::VMX_TRUE_PINBASED_CTLS);
        let processor = control(msr::VMX_PROCBASED_CTLS, msr::VMX_TRUE_PROCBASED_CTLS);
        let exit = control(msr::VMX_EXIT_CTLS, msr::VMX_TRUE_EXIT_CTLS);
        let entry = control(msr::VMX_ENTRY_CTLS, msr::VMX_TRUE_ENTRY_CTLS);
        let mut read_if = |there: bool, number: u32| if there { rdmsr(number) } else { 0 };
        let has_secondary = processor.allows(ProcessorControls::ACTIVATE_SECONDARY_CONTROLS.bits());
        let secondary = ControlCapability::new(read_if(has_secondary, msr::VMX_PROCBASED_CTLS2));
        let has_tertiary = processor.allows(ProcessorControls::ACTIVATE_TERTIARY_CONTROLS.bits());
        let ept = secondary.allows(SecondaryControls::ENABLE_EPT.bits());
        let vpid = secondary.allows(SecondaryControls::ENABLE_VPID.bits());
        let functions = secondary.allows(SecondaryControls::ENABLE_VM_FUNCTIONS.bits());
        let has_secondary_exit = exit.allows(ExitControls::ACTIVATE_SECONDARY_CONTROLS.bits());
        Self {
            basic,
            pin,
            processor,
            secondary,
            tertiary: read_if(has_tertiary, msr::VMX_PROCBASED_CTLS3),
            exit,
            secondary_exit: read_if(has_secondary_exit, msr::VMX_EXIT_CTLS2),
            entry,
            ept_vpid: EptVpidCapability::from_bits_retain(read_if(ept || vpid, msr::VMX_EPT_VPID_CAP)),
            vm_functions: read_if(functions, msr::VMX_VMFUNC),
            misc: Misc::from_bits_retain(rdmsr(msr::VMX_MISC)),
            cr0: FixedBits { ones: rdmsr(msr::VMX_CR0_FIXED0), allowed: rdmsr(msr::VMX_CR0_FIXED1) },
            cr4: FixedBits { ones: rdmsr(msr::VMX_CR4_FIXED0), allowed: rdmsr(msr::VMX_CR4_FIXED1) },
        }
    }

    pub const fn has_pin(&self, bits: PinControls) -> bool {
        self.pin.allows(bits.bits())
    }

    pub const fn has_secondary(&self, bits: SecondaryControls) -> bool {
        self.secondary.allows(bits.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn adjust_adds_what_must_be_and_names_what_is_missing() {
        let capability = ControlCapability::new(0x0000_00FF_0000_0016);
        assert_eq!(capability.adjust(0x28), Ok(0x3E));
        assert_eq!(capability.adjust(0x8000_0128), Err(0x8000_0100));
        assert_eq!(capability.adjust(0), Ok(0x16));
    }

    #[test]
    fn fixed_bits_are_set_cleared_and_named_when_broken() {
        let cr0 = FixedBits { ones: 0x8000_0021, allowed: 0xFFFF_FFFF };
        assert_eq!(cr0.apply(0x10), 0x8000_0031);
        assert_eq!(cr0.apply(1 << 32 | 0x8000_0021), 0x8000_0021);
        assert_eq!(cr0.broken(0x8000_0031), 0);
        assert_eq!(cr0.broken(0x1_8000_0001), 0x1_0000_0020);
    }

    #[test]
    fn basic_and_misc_are_taken_apart() {
        let basic = Basic(0x00DA_0400_0000_0012 | 1 << 31);
        assert_eq!((basic.revision(), basic.region_bytes(), basic.memory_type()), (0x12, 0x400, 6));
        assert!(basic.has_true_controls() && basic.tells_string_io() && basic.dual_monitor());
        assert!(!basic.addresses_are_32_bits() && !basic.error_code_is_free());
        let misc = Misc::from_bits_retain(0x2004_01E5);
        assert_eq!((misc.preemption_timer_shift(), misc.cr3_targets(), misc.msr_list_max()), (5, 4, 512));
        assert!(misc.contains(Misc::ACTIVITY_HLT | Misc::STORES_LMA | Misc::VMWRITE_ANY_FIELD));
    }

    #[test]
    fn msrs_that_an_old_cpu_lacks_are_not_read() {
        let mut read = Vec::new();
        let old = Capabilities::read(|number| {
            read.push(number);
            0
        });
        assert_eq!(read, [0x480, 0x481, 0x482, 0x483, 0x484, 0x485, 0x486, 0x487, 0x488, 0x489]);
        assert!(!old.has_secondary(SecondaryControls::ENABLE_EPT));
    }

    #[test]
    fn msrs_of_a_new_cpu_are_all_read() {
        let mut read = Vec::new();
        let new = Capabilities::read(|number| {
            read.push(number);
            u64::MAX
        });
        read.sort();
        let expected: Vec<u32> = [0x480].into_iter().chain(0x485..=0x489).chain(0x48B..=0x493).collect();
        assert_eq!(read, expected);
        assert!(new.has_secondary(SecondaryControls::UNRESTRICTED_GUEST) && new.has_pin(PinControls::VIRTUAL_NMIS));
    }
}
