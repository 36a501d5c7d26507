//! The machine of a guest: QEMU's, or a model of Bochs.

use crate::verdict::{End, Verdict, verdict};
use crate::{TinyGuest, model, plain_text, qemu};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use testbed::accel::Accelerator;
use testbed::bochs::{self, Bochs};
use testbed::qemu::Writes;

/// BIOS number of the guest's disk: the boot medium is a CD.
pub const DRIVE_UNDER_SHOJI: u8 = 0x80;

/// What a guest may execute on Bochs for each second of its limit. (Bochs does 100 million in a second of a good host; a
/// CPU without AES-NI needs three times as many for encrypted I/O.)
const INSTRUCTIONS_PER_SECOND: u64 = 150_000_000;

/// Where the boot sector keeps the number of CPUs.
const CPUS_AT: u64 = 28;
const ROUNDS_AT: u64 = 32;

/// What the machine is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emulator {
    Qemu(Accelerator),
    /// By the name of the CPU model.
    Bochs(&'static str),
}

impl Emulator {
    /// The machines that a guest is to run on: MiB of memory, and CPUs.
    pub fn machines(self, guest: &TinyGuest) -> impl Iterator<Item = (u32, u32)> {
        let cpus = guest.cpus.iter().filter(move |&&cpus| self.excludes(guest, cpus).is_none());
        cpus.flat_map(|&cpus| guest.memory_mib.iter().map(move |&memory_mib| (memory_mib, cpus)))
    }

    /// Why a guest does not run on so many CPUs of it, if so.
    pub fn excludes(self, guest: &TinyGuest, cpus: u32) -> Option<&'static str> {
        match self {
            Self::Qemu(_) => None,
            Self::Bochs(name) => model(name).map_or(Some("no such model"), |model| model.excludes_with(guest, cpus)),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu(Accelerator::Tcg) => "QEMU",
            Self::Qemu(Accelerator::Kvm(_)) => "QEMU with KVM",
            Self::Bochs(model) => model,
        }
    }
}

/// A machine for one run.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    pub emulator: Emulator,
    pub memory_mib: u32,
    pub cpus: u32,
    pub rounds: u32,
    /// The guest's.
    pub disk: &'a Path,
    /// From [`crate::boot_media`]; `None`: without Shoji.
    pub medium: Option<&'a Path>,
    /// Folder for `shoji.log` (COM1), `com2.log` (the guest's words) and the emulator's own log.
    pub logs: &'a Path,
}

impl Machine<'_> {
    /// How long a run of a guest may take. Bochs is slow, but its runs take the same number of instructions each time,
    /// which is what bounds them; its limit is for a Bochs that hangs.
    pub fn limit(&self, guest: &TinyGuest) -> Duration {
        let factor = if matches!(self.emulator, Emulator::Bochs(_)) { 10 } else { 1 };
        Duration::from_secs(guest.timeout_s.into()) * factor
    }

    /// Runs a guest to its end, or for as long as `limit`.
    ///
    /// # Errors
    /// When the emulator cannot be run; what it then does is a verdict.
    pub fn run(&self, guest: &TinyGuest, limit: Duration) -> Result<Verdict> {
        fs::create_dir_all(self.logs).with_context(|| format!("cannot create {}", self.logs.display()))?;
        let disk = File::options().write(true).open(self.disk)?;
        disk.write_all_at(&self.cpus.to_le_bytes(), CPUS_AT)?;
        disk.write_all_at(&self.rounds.to_le_bytes(), ROUNDS_AT)?;
        let end = match self.emulator {
            Emulator::Qemu(accelerator) => qemu::run(self, accelerator, guest, limit)?,
            Emulator::Bochs(model) => self.bochs(model, guest, limit)?,
        };
        let said = fs::read(self.logs.join("com2.log")).unwrap_or_default();
        Ok(match verdict(guest, &end, &String::from_utf8_lossy(&said)) {
            Verdict::Pass => plain_text(guest, self.disk, self.medium.is_some())?.map_or(Verdict::Pass, Verdict::Fail),
            other => other,
        })
    }

    fn bochs(&self, model: &str, guest: &TinyGuest, limit: Duration) -> Result<End> {
        let mut bochs = Bochs::new(self.logs, model, self.memory_mib)?.cpus(self.cpus).disk(self.disk, Writes::Kept);
        if let Some(medium) = self.medium {
            bochs = bochs.cd(medium);
        }
        let ended =
            bochs.ticks(u64::from(guest.timeout_s) * INSTRUCTIONS_PER_SECOND).until(Instant::now() + limit).run()?;
        // A guest that enters virtual machines itself may want entries to fail.
        let complaint = ended.failed_entries.first().filter(|_| !guest.uses_vtx);
        Ok(match (complaint, ended.end) {
            (Some(complaint), _) => End::Otherwise(format!("a VM entry failed: {complaint}")),
            (None, bochs::End::Quit) => End::Passed,
            (None, bochs::End::Shutdown) => End::Failed,
            (None, other) => End::Otherwise(format!("{other:?}")),
        })
    }
}
