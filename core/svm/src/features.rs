//! Is AMD-V there, and may it be used? (APM s. 15.4)

use crate::{instructions, nmi, ring3};
use core::fmt;
use hw::{Hpa, cpus, msr};
use raw_cpuid::{CpuId, CpuIdReaderNative, Hypervisor};
use x86::msr::{self as number, VmCr};
use x86_64::registers::control::{Efer, EferFlags};

/// VM_CR.SVMDIS (APM s. 15.30.1).
const SVM_DISABLED: u64 = 1 << 4;

/// SYSCFG.MtrrFixDramModEn (APM s. 7.9.3): the fixed MTRRs show and take where accesses of the first MiB go, to RAM or to devices.
const MODIFY_ROUTES: u64 = 1 << 19;
/// SYSCFG.MemEncryptionModEn (APM s. 7.10.4).
const MEMORY_ENCRYPTION: u64 = 1 << 23;

/// What this CPU's AMD-V can do beyond the base.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    pub revision: u8,
    pub asids: u32,
    pub next_rip_save: bool,
    pub decode_assists: bool,
    pub flush_by_asid: bool,
    pub gib_pages: bool,
    /// Of physical addresses, without the bit that chooses encrypted memory and those that it costs.
    pub address_bits: u8,
    /// An injected interrupt may come twice: QEMU's emulation forgets to clear it, and delivers it again when one of its threads kicks
    /// the CPU before the next exit (seen in 7.2).
    pub injects_twice: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AMD-V revision {}, {} ASIDs, nested paging", self.revision, self.asids)?;
        for (there, name) in [
            (self.next_rip_save, "next RIP save"),
            (self.decode_assists, "decode assists"),
            (self.flush_by_asid, "flush by ASID"),
            (self.gib_pages, "1 GiB pages"),
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
    NoSvm,
    Disabled { locked: bool },
    NoNestedPaging,
    NoMemory,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSvm => "this CPU has no AMD-V (SVM); Shoji needs an AMD CPU of 2008 (Barcelona) or later",
            Self::Disabled { locked: true } => {
                "AMD-V is switched off and locked by the firmware; enable SVM in its setup"
            }
            Self::Disabled { locked: false } => "AMD-V is switched off by the firmware; enable SVM in its setup",
            Self::NoNestedPaging => {
                "this CPU has AMD-V without nested paging; Shoji needs an AMD CPU of 2008 (Barcelona) or later"
            }
            Self::NoMemory => "not enough memory for the host save area; raise `reserve` in [memory]",
        })
    }
}

/// Checks for AMD-V with nested paging.
///
/// # Errors
/// See [`Unsupported`].
pub fn detect() -> Result<Features, Unsupported> {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let extended = cpuid.get_extended_processor_and_feature_identifiers().ok_or(Unsupported::NoSvm)?;
    if !extended.has_svm() {
        return Err(Unsupported::NoSvm);
    }
    let svm = cpuid.get_svm_info().ok_or(Unsupported::NoSvm)?;
    // A CPU without the register cannot have AMD-V disabled.
    if msr::read(number::VM_CR).unwrap_or(0) & SVM_DISABLED != 0 {
        return Err(Unsupported::Disabled { locked: svm.has_svm_lock() });
    }
    if !svm.has_nested_paging() {
        return Err(Unsupported::NoNestedPaging);
    }
    Ok(Features {
        revision: svm.revision(),
        asids: svm.supported_asids(),
        next_rip_save: svm.has_nrip(),
        decode_assists: svm.has_decode_assists(),
        flush_by_asid: svm.has_flush_by_asid(),
        gib_pages: extended.has_1gib_pages(),
        address_bits: address_bits(&cpuid),
        injects_twice: cpuid.get_hypervisor_info().is_some_and(|info| info.identify() == Hypervisor::QEMU),
    })
}

/// APM s. 7.10.1 and 15.34.1: with encrypted memory switched on, physical addresses are that much shorter.
fn address_bits(cpuid: &CpuId<CpuIdReaderNative>) -> u8 {
    let all = cpuid.get_processor_capacity_feature_info().map_or(36, |sizes| sizes.physical_address_bits());
    let encrypted = msr::read(number::SYSCFG).unwrap_or(0) & MEMORY_ENCRYPTION != 0;
    let lost =
        cpuid.get_memory_encryption_info().filter(|_| encrypted).map_or(0, |info| info.physical_address_reduction());
    all.saturating_sub(lost)
}

/// Switches AMD-V on for this CPU, which may have been reset since the last time.
///
/// # Errors
/// [`Unsupported::NoMemory`].
pub fn enable() -> Result<(), Unsupported> {
    let Hpa(save_area) = cpus::this().extension_area().ok_or(Unsupported::NoMemory)?;
    cpus::this().switch_area().ok_or(Unsupported::NoMemory)?;
    hw::ring3::set_extension(&ring3::EXTENSION);
    hw::nmi::set_handler(nmi::on_host_nmi);
    // SAFETY: the CPU has SVM; the host save area is a frame that nobody else uses (APM s. 15.30.4). From CLGI on no
    // interrupt reaches the host; the guest runs with GIF = 1 as VMRUN sets it.
    unsafe {
        Efer::update(|flags| flags.insert(EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE));
        msr::write(number::VM_HSAVE_PA, save_area).ok_or(Unsupported::NoSvm)?;
        // An INIT that comes in the host becomes #SX instead of taking the CPU away (s. 15.28). Bochs 2.7 has no such register.
        if let Some(value) = msr::read(number::VM_CR) {
            let _ = msr::write(number::VM_CR, value | VmCr::R_INIT.bits());
        }
        // Firmware is to leave it clear; the guest cannot set it (`policy`).
        if let Some(value) = msr::read(number::SYSCFG).filter(|value| value & MODIFY_ROUTES != 0) {
            let _ = msr::write(number::SYSCFG, value & !MODIFY_ROUTES);
        }
        instructions::clgi();
    }
    Ok(())
}

/// Switches it off again, if it is on: the machine is as the boot loader left it.
pub fn disable() {
    if Efer::read().contains(EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE) {
        // SAFETY: no guest runs any more.
        unsafe {
            if let Some(value) = msr::read(number::VM_CR) {
                let _ = msr::write(number::VM_CR, value & !VmCr::R_INIT.bits());
            }
            instructions::stgi();
            Efer::update(|flags| flags.remove(EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE));
        }
    }
}
