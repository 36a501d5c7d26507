//! AMD-V or VT-x: the one place that names both.

use crate::failure::Failure;
use alloc::format;
use core::fmt::{self, Write};
use exit::Policy;
use hw::{Hpa, HpaRange};
use raw_cpuid::{CpuId, CpuIdReaderNative};

/// What a vendor's virtualization extension is to the boot.
pub trait Vendor {
    type Features: fmt::Display;
    type Vcpu: exit::Vcpu;

    fn detect() -> Result<Self::Features, Failure>;
    /// Switches the extension on for this CPU.
    fn enable(features: &Self::Features) -> Result<(), Failure>;
    fn policy(features: &Self::Features) -> Policy;
    /// A virtual CPU in real mode at `segment`:0 that reaches all memory but `vmm`. `None` when the frames do not suffice.
    fn vcpu(features: &Self::Features, vmm: HpaRange, io_permissions: Hpa, segment: u16) -> Option<Self::Vcpu>;
}

pub struct Amd;

impl Vendor for Amd {
    type Features = svm::Features;
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

    fn vcpu(features: &svm::Features, vmm: HpaRange, io_permissions: Hpa, segment: u16) -> Option<svm::SvmVcpu> {
        svm::SvmVcpu::new(features, vmm, io_permissions, segment)
    }
}

pub struct Intel;

impl Vendor for Intel {
    type Features = vmx::Features;
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

    fn vcpu(features: &vmx::Features, vmm: HpaRange, io_permissions: Hpa, segment: u16) -> Option<vmx::VmxVcpu> {
        vmx::VmxVcpu::new(features, vmm, io_permissions, segment)
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
