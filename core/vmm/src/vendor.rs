//! AMD-V or VT-x: the one place that names both.

use crate::failure::Failure;
use alloc::format;
use core::fmt::{self, Write};
use exit::{Hook, Policy};
use hw::{Hpa, HpaRange};
use mediator::Gpa;
use raw_cpuid::{CpuId, CpuIdReaderNative};

/// What a vendor's virtualization extension is to the boot.
pub trait Vendor: 'static {
    type Features: fmt::Display + Sync + 'static;
    /// The guest's memory, shared by its CPUs.
    type Memory: Sync + 'static;
    type Vcpu: exit::Vcpu;

    fn detect() -> Result<Self::Features, Failure>;
    /// Switches the extension on for this CPU.
    fn enable(features: &Self::Features) -> Result<(), Failure>;
    fn policy(features: &Self::Features) -> Policy;
    /// All memory but `vmm`, to be had by the guest. `None` when the frames do not suffice.
    fn memory(features: &Self::Features, vmm: HpaRange) -> Option<Self::Memory>;
    /// From now on these accesses to the page around `at` leave the guest, which has not started yet. `None` when the frames do not
    /// suffice, or it is no page of the guest's.
    fn hook_page(memory: &Self::Memory, at: Gpa, hook: Hook) -> Option<()>;
    /// Every access to the page around `at` leaves the guest, or no longer. The other CPUs stand; each CPU invalidates what it has cached
    /// before it runs the guest again. `None`: as above, and nothing has changed.
    fn hook_for_a_time(memory: &Self::Memory, at: Gpa, on: bool) -> Option<()>;
    /// A virtual CPU in real mode at `segment`:0, on the CPU that runs this. `kicks`: other CPUs get it out of the guest. `None` when
    /// the frames do not suffice.
    fn vcpu(
        features: &Self::Features,
        memory: &'static Self::Memory,
        io_permissions: Hpa,
        segment: u16,
        kicks: bool,
    ) -> Option<Self::Vcpu>;
    /// Calls `wait` in such a way that NMIs reach the CPU meanwhile.
    fn while_nmis_come<R>(wait: impl FnOnce() -> R) -> R;
}

pub struct Amd;

impl Vendor for Amd {
    type Features = svm::Features;
    type Memory = svm::Memory;
    type Vcpu = svm::SvmVcpu;

    fn detect() -> Result<svm::Features, Failure> {
        Ok(svm::detect().map_err(|e| format!("{e}"))?)
    }

    fn enable(_: &svm::Features) -> Result<(), Failure> {
        Ok(svm::enable().map_err(|e| format!("{e}"))?)
    }

    fn policy(_: &svm::Features) -> Policy {
        svm::policy()
    }

    fn memory(features: &svm::Features, vmm: HpaRange) -> Option<svm::Memory> {
        svm::Memory::new(features, vmm)
    }

    fn hook_page(memory: &svm::Memory, at: Gpa, hook: Hook) -> Option<()> {
        memory.hook_page(at, nested_hook(hook))
    }

    fn hook_for_a_time(memory: &svm::Memory, at: Gpa, on: bool) -> Option<()> {
        memory.hook_for_a_time(at, on)
    }

    fn vcpu(
        features: &svm::Features,
        memory: &'static svm::Memory,
        io_permissions: Hpa,
        segment: u16,
        kicks: bool,
    ) -> Option<svm::SvmVcpu> {
        svm::SvmVcpu::new(features, memory, io_permissions, segment, kicks)
    }

    fn while_nmis_come<R>(wait: impl FnOnce() -> R) -> R {
        svm::while_nmis_come(wait)
    }
}

pub struct Intel;

impl Vendor for Intel {
    type Features = vmx::Features;
    type Memory = vmx::Memory;
    type Vcpu = vmx::VmxVcpu;

    fn detect() -> Result<vmx::Features, Failure> {
        Ok(vmx::detect().map_err(|e| format!("{e}"))?)
    }

    fn enable(features: &vmx::Features) -> Result<(), Failure> {
        // Each VM exit loads the VMM's own task register.
        hw::descriptors::take_double_faults_apart();
        Ok(vmx::enable(features).map_err(|e| format!("{e}"))?)
    }

    fn policy(features: &vmx::Features) -> Policy {
        vmx::policy(features)
    }

    fn memory(features: &vmx::Features, vmm: HpaRange) -> Option<vmx::Memory> {
        vmx::Memory::new(features, vmm)
    }

    fn hook_page(memory: &vmx::Memory, at: Gpa, hook: Hook) -> Option<()> {
        memory.hook_page(at, nested_hook(hook))
    }

    fn hook_for_a_time(memory: &vmx::Memory, at: Gpa, on: bool) -> Option<()> {
        memory.hook_for_a_time(at, on)
    }

    fn vcpu(
        features: &vmx::Features,
        memory: &'static vmx::Memory,
        io_permissions: Hpa,
        segment: u16,
        _: bool,
    ) -> Option<vmx::VmxVcpu> {
        vmx::VmxVcpu::new(features, memory, io_permissions, segment)
    }

    fn while_nmis_come<R>(wait: impl FnOnce() -> R) -> R {
        // They always do.
        wait()
    }
}

/// The same in the words of the nested tables.
fn nested_hook(hook: Hook) -> hw::nested::Hook {
    match hook {
        Hook::Writes => hw::nested::Hook::Writes,
        Hook::All => hw::nested::Hook::All,
    }
}

/// Whether this CPU is to be asked for VT-x: it has it, or Intel made it and the failure should say so. All others are
/// asked for AMD-V.
pub fn is_intel() -> bool {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let made_by_intel = cpuid.get_vendor_info().is_some_and(|vendor| vendor.as_str() == "GenuineIntel");
    made_by_intel || cpuid.get_feature_info().is_some_and(|features| features.has_vmx())
}

/// Switches whichever extension is on off again: the machine is as the boot loader left it.
pub fn disable() {
    svm::disable();
    vmx::disable();
}

/// Writes the name of an exit code or reason, of which `code` is the low half.
pub fn write_exit(code: u32, out: &mut dyn Write) -> fmt::Result {
    if is_intel() {
        write!(out, "{:?}", x86::vmx::ExitReason(code))
    } else {
        // Of the codes above 32 bits all are small negative numbers.
        write!(out, "{:?}", x86::svm::ExitCode(i64::from(code as i32) as u64))
    }
}
