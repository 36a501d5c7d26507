//! Is VT-x there, and may it be used? (SDM s. 24.6 to 24.8, Vol. 3D appendix A)

use crate::control::{self, Controls};
use crate::instructions;
use core::fmt;
use hw::{Hpa, cpus, direct, frames, msr};
use raw_cpuid::{CpuId, CpuIdReaderNative};
use x86::msr as number;
use x86::vmx::{Capabilities, EptVpidCapability, FeatureControl, ProcessorControls, SecondaryControls, cpuid};
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

const TME_ENABLED: u64 = 1 << 1;

/// What this CPU's VT-x can do, and the controls that Shoji uses of it.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    pub(crate) capabilities: Capabilities,
    pub(crate) controls: Controls,
    pub(crate) has_mtrrs: bool,
    /// Of physical addresses, without those that choose a key of encrypted memory.
    pub(crate) address_bits: u8,
}

impl Features {
    /// Nested pages of 1 GiB.
    pub fn gib_pages(&self) -> bool {
        self.capabilities.ept_vpid.contains(EptVpidCapability::PAGES_1G)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.controls.secondary;
        write!(f, "VT-x revision {:#x}, EPT, unrestricted guest", self.capabilities.basic.revision())?;
        for (there, name) in [
            (used.contains(SecondaryControls::ENABLE_VPID), "VPID"),
            (used.contains(SecondaryControls::ENABLE_RDTSCP), "RDTSCP"),
            (used.contains(SecondaryControls::ENABLE_INVPCID), "INVPCID"),
            (used.contains(SecondaryControls::ENABLE_XSAVES_XRSTORS), "XSAVES"),
            (used.contains(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE), "WAITPKG"),
            (self.gib_pages(), "1 GiB pages"),
        ] {
            if there {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}

/// Why Shoji cannot run here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsupported {
    NoVmx,
    LockedOff,
    NoEpt,
    NoUnrestrictedGuest,
    /// Something else that all CPUs with unrestricted guest are known to have.
    Missing(&'static str),
    NoMemory,
    /// VMXON failed all the same.
    NotSwitchedOn,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoVmx => "this CPU has no VT-x (VMX); Shoji needs an Intel CPU of 2010 (Westmere) or later",
            Self::LockedOff => {
                "VT-x is switched off and locked by the firmware; enable Intel Virtualization Technology in its setup"
            }
            Self::NoEpt => {
                "this CPU has VT-x without EPT (extended page tables, since Nehalem, 2008), which Shoji needs together with \
                 unrestricted guest; use an Intel CPU of 2010 (Westmere) or later"
            }
            Self::NoUnrestrictedGuest => {
                "this CPU has VT-x without unrestricted guest, which Shoji needs; use an Intel CPU of 2010 (Westmere) or later"
            }
            Self::Missing(what) => {
                return write!(f, "this CPU has VT-x without {what}, which Shoji needs; under another hypervisor, enable it");
            }
            Self::NoMemory => "not enough memory for the VMXON region; raise `reserve` in [memory]",
            Self::NotSwitchedOn => "VMXON fails although VT-x is enabled; is another hypervisor active below Shoji?",
        })
    }
}

/// Checks for VT-x with EPT and unrestricted guest.
///
/// # Errors
/// See [`Unsupported`].
pub fn detect() -> Result<Features, Unsupported> {
    let leaf = core::arch::x86_64::__cpuid(cpuid::FEATURES);
    if leaf.ecx & cpuid::VMX == 0 {
        return Err(Unsupported::NoVmx);
    }
    if !may_be_enabled(feature_control()) {
        return Err(Unsupported::LockedOff);
    }
    let capabilities = Capabilities::read(|number| msr::read(number).unwrap_or(0));
    if !capabilities.processor.allows(ProcessorControls::ACTIVATE_SECONDARY_CONTROLS.bits())
        || !capabilities.has_secondary(SecondaryControls::ENABLE_EPT)
    {
        return Err(Unsupported::NoEpt);
    }
    if !capabilities.has_secondary(SecondaryControls::UNRESTRICTED_GUEST) {
        return Err(Unsupported::NoUnrestrictedGuest);
    }
    let controls = control::choose(&capabilities).map_err(Unsupported::Missing)?;
    Ok(Features { capabilities, controls, has_mtrrs: leaf.edx & cpuid::MTRR != 0, address_bits: address_bits() })
}

/// SDM Vol. 4 s. 2.17.3, IA32_TME_ACTIVATE: the highest bits of physical addresses may be key identifiers.
fn address_bits() -> u8 {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let all = cpuid.get_processor_capacity_feature_info().map_or(36, |sizes| sizes.physical_address_bits());
    let encryption = msr::read(number::TME_ACTIVATE).unwrap_or(0);
    let key_bits = if encryption & TME_ENABLED != 0 { (encryption >> 32 & 0xf) as u8 } else { 0 };
    all.saturating_sub(key_bits)
}

fn feature_control() -> FeatureControl {
    FeatureControl::from_bits_retain(msr::read(number::FEATURE_CONTROL).unwrap_or(0))
}

fn may_be_enabled(control: FeatureControl) -> bool {
    control.contains(FeatureControl::VMX_OUTSIDE_SMX) || !control.contains(FeatureControl::LOCK)
}

/// Switches VT-x on for this CPU, which may have been reset since the last time: enables and locks it where the firmware has left that open, then VMXON.
///
/// # Errors
/// [`Unsupported::NoMemory`], [`Unsupported::NotSwitchedOn`].
pub fn enable(features: &Features) -> Result<(), Unsupported> {
    let control = feature_control();
    if !control.contains(FeatureControl::LOCK) {
        let enabled = control | FeatureControl::VMX_OUTSIDE_SMX | FeatureControl::LOCK;
        // SAFETY: it allows VMXON and nothing else.
        unsafe { msr::write(number::FEATURE_CONTROL, enabled.bits()) }.ok_or(Unsupported::NotSwitchedOn)?;
    }
    let region = cpus::this().extension_area().ok_or(Unsupported::NoMemory)?;
    mark(region, features);
    let fixed = features.capabilities;
    // SAFETY: the fixed bits are NE and VMXE on all CPUs so far, and no state of the VMM depends on them. The frame is the
    // CPU's from now on.
    unsafe {
        Cr0::write_raw(fixed.cr0.apply(Cr0::read_raw()) | Cr0Flags::NUMERIC_ERROR.bits());
        Cr4::write_raw(fixed.cr4.apply(Cr4::read_raw()));
        instructions::vmxon(region).map_err(|_| {
            Cr4::update(|flags| flags.remove(Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS));
            Unsupported::NotSwitchedOn
        })
    }
}

/// A frame that begins with the revision, as VMXON region and VMCS do (s. 25.2, 25.11.5).
pub(crate) fn control_region(features: &Features) -> Option<Hpa> {
    let at = frames::alloc(1)?;
    mark(at, features);
    Some(at)
}

/// Writes the revision to the start of a frame.
fn mark(at: Hpa, features: &Features) {
    // SAFETY: a frame of our own, which the CPU does not use now.
    unsafe { direct::pointer(at).cast::<u32>().write(features.capabilities.basic.revision()) };
}

/// Switches it off again, if it is on: the machine is as the boot loader left it, but for the lock.
pub fn disable() {
    if Cr4::read().contains(Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS) {
        // SAFETY: no guest runs any more. CR4.VMXE is set by `enable` only, which fails without VMXON.
        unsafe {
            instructions::vmxoff();
            Cr4::update(|flags| flags.remove(Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS));
        }
    }
}
