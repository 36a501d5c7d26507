//! What executes the machine's instructions in QEMU: KVM where the host lends its CPU's virtualization, TCG elsewhere.
//!
//! Names are QEMU's: `-accel`, `-cpu` (QEMU System Emulation User's Guide, "Invocation").

use anyhow::{Error, Result};
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io;
use std::str::FromStr;

/// What the user asks for by `--accel`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Wish {
    /// KVM where it can be had.
    #[default]
    Auto,
    Kvm,
    Tcg,
}

impl FromStr for Wish {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err("must be auto, kvm or tcg"),
        }
    }
}

impl Display for Wish {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// The virtualization of a host's CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    Intel,
    Amd,
}

impl Vendor {
    /// The CPU's feature, as `/proc/cpuinfo` and `-cpu` name it.
    const fn feature(self) -> &'static str {
        match self {
            Self::Intel => "vmx",
            Self::Amd => "svm",
        }
    }

    /// Whether a guest may have guests of its own, to be read from Linux.
    const fn nested_parameter(self) -> &'static str {
        match self {
            Self::Intel => "/sys/module/kvm_intel/parameters/nested",
            Self::Amd => "/sys/module/kvm_amd/parameters/nested",
        }
    }
}

/// What a machine runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accelerator {
    Kvm(Vendor),
    /// QEMU's own translation: has AMD-V whatever the host is, can count instructions and log exits.
    Tcg,
}

impl Accelerator {
    /// QEMU's arguments, with the CPU model that goes with it; `virtualization`: whether that CPU has any.
    pub fn arguments(self, virtualization: bool) -> [String; 4] {
        let (model, feature) = self.cpu();
        let sign = if virtualization { '+' } else { '-' };
        ["-accel".into(), self.name().into(), "-cpu".into(), format!("{model},{sign}{feature}")]
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kvm(_) => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Model, and the feature that is its virtualization.
    const fn cpu(self) -> (&'static str, &'static str) {
        match self {
            Self::Kvm(vendor) => ("host", vendor.feature()),
            Self::Tcg => ("EPYC", Vendor::Amd.feature()),
        }
    }
}

impl Display for Accelerator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (model, feature) = self.cpu();
        write!(f, "{}, CPU model {model} with {feature}", self.name().to_uppercase())
    }
}

/// What a host has for KVM.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether `/dev/kvm` can be opened; if not, why.
    device: Result<(), String>,
    /// `/proc/cpuinfo`.
    cpuinfo: String,
    /// What the modules' parameters `nested` read, Intel's and AMD's.
    nested: [Option<String>; 2],
}

impl Host {
    /// The host that this runs on.
    pub fn probe() -> Self {
        let device = match File::options().read(true).write(true).open("/dev/kvm") {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("there is no /dev/kvm".into()),
            Err(error) => Err(format!("/dev/kvm cannot be opened ({error})")),
        };
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let nested = [Vendor::Intel, Vendor::Amd].map(|vendor| std::fs::read_to_string(vendor.nested_parameter()).ok());
        Self { device, cpuinfo, nested }
    }

    /// # Errors
    /// Why a guest cannot have virtualization of its own by KVM.
    fn kvm(&self) -> Result<Vendor, String> {
        self.device.clone()?;
        let vendor = self.vendor().ok_or("the host's CPU shows neither VMX nor SVM")?;
        match self.nested[vendor as usize].as_deref().map(str::trim) {
            Some("Y" | "1") => Ok(vendor),
            Some(_) => Err(format!("nested virtualization is switched off ({})", vendor.nested_parameter())),
            None => Err(format!("the host has no {}", vendor.nested_parameter())),
        }
    }

    fn vendor(&self) -> Option<Vendor> {
        let flags = self.cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'))?.1;
        [Vendor::Intel, Vendor::Amd]
            .into_iter()
            .find(|vendor| flags.split_whitespace().any(|flag| flag == vendor.feature()))
    }
}

/// The accelerator of a run, and why it is not the faster one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    pub accelerator: Accelerator,
    why: Option<String>,
}

impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU runs with {}", self.accelerator)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, " (no KVM: {why})"))
    }
}

/// As [`choose`] on this host; tells the user what was chosen.
///
/// # Errors
/// As [`choose`].
pub fn announce(wish: Wish) -> Result<Accelerator> {
    let choice = choose(wish, &Host::probe()).map_err(Error::msg)?;
    println!("{choice}");
    Ok(choice.accelerator)
}

/// Decides; the same wish on the same host gives the same.
///
/// # Errors
/// KVM was asked for and cannot be had.
pub fn choose(wish: Wish, host: &Host) -> Result<Choice, String> {
    let tcg = |why| Choice { accelerator: Accelerator::Tcg, why };
    match (wish, host.kvm()) {
        (Wish::Tcg, _) => Ok(tcg(None)),
        (_, Ok(vendor)) => Ok(Choice { accelerator: Accelerator::Kvm(vendor), why: None }),
        (Wish::Auto, Err(why)) => Ok(tcg(Some(why))),
        (Wish::Kvm, Err(why)) => Err(format!("--accel kvm cannot be had: {why}; use --accel tcg")),
    }
}

#[cfg(test)]
mod tests;
