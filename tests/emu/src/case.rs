//! What a case is, and what it gets to work with.

use anyhow::{Context, Result, ensure};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testbed::accel::Accelerator;
use testbed::bochs::{self, Bochs, End, TICKS_PER_SECOND};
use testbed::disk::Disk;
use testbed::program::{command, run};
use testbed::qemu::{Machine, Qemu, Writes};
use testbed::xts::DiskKey;
use testbed::{Workspace, artifact, disks};

/// How often and how long cases run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tier {
    /// Every change.
    Ci,
    /// Before a release: full counts.
    Long,
}

/// Where the guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Boot {
    /// The machine alone, on a disk that is not encrypted: shows that the case itself is right.
    Bare,
    Shoji,
}

impl Boot {
    /// The word that the disk's GRUB understands.
    pub fn how(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Shoji => "normal",
        }
    }
}

/// Which ways to boot a case has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    Both,
    ShojiOnly,
    /// An oracle: the bare machine judges a disk that is encrypted.
    BareOnly,
}

/// One test.
pub struct Case {
    /// A sentence.
    pub name: String,
    /// The lowest tier that runs it.
    pub tier: Tier,
    pub on: On,
    /// Everything in it ends by then; more in the long tier, which repeats more.
    pub timeout: Duration,
    /// Why it cannot run by KVM, if so.
    pub tcg_only: Option<&'static str>,
    /// Its emulator runs one CPU in one thread, as Bochs does: others like it may run on the other cores.
    pub one_thread: bool,
    pub run: Run,
}

/// A case's body.
pub type Run = Box<dyn Fn(&Cx) -> Result<()> + Send + Sync>;

impl Case {
    /// A case of the CI tier, bare and under Shoji.
    pub fn new(
        name: impl Into<String>,
        timeout_s: u64,
        run: impl Fn(&Cx) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            tier: Tier::Ci,
            on: On::Both,
            timeout: Duration::from_secs(timeout_s),
            tcg_only: None,
            one_thread: false,
            run: Box::new(run),
        }
    }

    /// Of a case whose emulator runs one CPU: others like it may run at the same time.
    pub fn beside_others(mut self) -> Self {
        self.one_thread = true;
        self
    }

    pub fn only_in_long_runs(mut self) -> Self {
        self.tier = Tier::Long;
        self
    }

    pub fn on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    /// By TCG, whatever the others run by; `why` ends the sentence "TCG, because ...".
    pub fn only_by_tcg(mut self, why: &'static str) -> Self {
        self.tcg_only = Some(why);
        self
    }
}

/// What a case works with.
pub struct Cx {
    pub workspace: Workspace,
    pub boot: Boot,
    pub tier: Tier,
    pub accelerator: Accelerator,
    /// Logs and disk copies of this case.
    pub dir: PathBuf,
    pub deadline: Instant,
    machines: Cell<u32>,
}

impl Cx {
    pub fn new(workspace: Workspace, boot: Boot, tier: Tier, accelerator: Accelerator, dir: PathBuf) -> Self {
        Self { workspace, boot, tier, accelerator, dir, deadline: Instant::now(), machines: Cell::new(0) }
    }

    /// Everything ends by then.
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = deadline;
        self
    }

    /// How often to repeat something.
    pub fn count(&self, ci: u32, long: u32) -> u32 {
        if self.tier == Tier::Long { long } else { ci }
    }

    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A PC whose logs lie in a folder of their own; 512 MiB are enough for the small guest.
    pub fn machine(&self, memory_mib: u32) -> Result<Qemu> {
        self.machines.set(self.machines.get() + 1);
        let logs = self.dir.join(format!("machine{}", self.machines.get()));
        Ok(Qemu::new(&logs, memory_mib, self.accelerator)?.until(self.deadline))
    }

    /// The small guest on the unchanged disk, in a machine that `change` has made different.
    pub fn small_guest_in(&self, memory_mib: u32, change: fn(Qemu) -> Qemu, args: &str) -> Result<Machine> {
        let disk = self.small_disk()?;
        change(self.machine(memory_mib)?)
            .request(args, self.boot.how())
            .ide_disk(0, &disk.path, Writes::Dropped)
            .start()
    }

    /// Boots the small guest from `disk` to run one of its tests (`args` as on the kernel command line).
    pub fn small_guest(&self, disk: &Disk, writes: Writes, args: &str) -> Result<Machine> {
        self.boot_with(disk, writes, args, self.boot)
    }

    /// As [`Cx::small_guest`], but on the way that is named.
    pub fn boot_with(&self, disk: &Disk, writes: Writes, args: &str, boot: Boot) -> Result<Machine> {
        self.machine(512)?.request(args, boot.how()).ide_disk(0, &disk.path, writes).start()
    }

    /// Waits for the small guest's verdict and its power-off.
    pub fn expect_pass(&self, machine: &mut Machine) -> Result<()> {
        let (_, seen) = machine.expect_any(&["VERDICT pass", "VERDICT fail"])?;
        ensure!(seen.ends_with("pass"), "the guest says: {}", last_failure(&seen));
        let status = machine.wait(Duration::from_secs(60).min(self.left()))?;
        ensure!(status.success(), "the emulator ended with {status}");
        Ok(())
    }

    /// Boots the small guest on this machine of Bochs, as [`Disk::request`] tells it, and waits for its verdict and its
    /// power-off; gives what it has said. `seconds` of the machine's time are all it gets.
    pub fn pass_on_bochs(&self, machine: Bochs, logs: &Path, seconds: u64) -> Result<String> {
        let machine = machine.with_unknown_msrs().ticks(seconds * TICKS_PER_SECOND).until(self.deadline);
        let ended = machine.run()?;
        let said = String::from_utf8_lossy(&std::fs::read(logs.join("com2.log")).unwrap_or_default()).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("none");
        bochs::expect(ended, End::PowerOff).with_context(|| format!("the guest's last words: {last}"))?;
        ensure!(said.contains("VERDICT pass"), "the guest says: {}", last_failure(&said));
        Ok(said)
    }

    /// Shoji's log of a run that went well: so many starts of the guest (none on the bare machine), no error.
    pub fn expect_starts(&self, log: &str, expected: usize) -> Result<()> {
        let expected = if self.boot == Boot::Shoji { expected } else { 0 };
        let found = log.matches("the guest starts").count();
        ensure!(found == expected, "Shoji has started the guest {found} times instead of {expected}");
        let error = log.lines().find(|line| line.contains("ERROR") || line.contains("defect in the VMM"));
        ensure!(error.is_none(), "in Shoji's log: {}", error.unwrap_or_default());
        Ok(())
    }

    /// The small disk that fits the way to boot; not to be written to.
    pub fn small_disk(&self) -> Result<Disk> {
        disks::small(&self.workspace, self.boot == Boot::Bare)
    }

    /// Debian's, likewise.
    pub fn debian_disk(&self) -> Result<Disk> {
        disks::debian_for_tests(&self.workspace, self.boot == Boot::Bare)
    }

    /// A copy that this case may change.
    pub fn copy(&self, disk: &Disk) -> Result<Disk> {
        self.copy_as(disk, &disk.path.file_name().context("a disk has a name")?.to_string_lossy())
    }

    /// As [`Cx::copy`], under another name.
    pub fn copy_as(&self, disk: &Disk, name: &str) -> Result<Disk> {
        let path = self.dir.join(name);
        artifact::require_space(&self.dir, disk.data.end_lba() / 2048 + 64, "A copy of the disk")?;
        run(command("cp").args(["--reflink=auto", "--sparse=always"]).arg(&disk.path).arg(&path))?;
        Ok(Disk { path, ..disk.clone() })
    }

    /// The key of all disks here.
    pub fn key(&self) -> Result<DiskKey> {
        DiskKey::read(&self.key_file()?)
    }

    pub fn key_file(&self) -> Result<PathBuf> {
        disks::key(&self.workspace)
    }

    /// The data partition's plaintext, as a file of its own.
    pub fn plaintext(&self, disk: &Disk) -> Result<PathBuf> {
        let path = self.dir.join("plaintext");
        let key = (self.boot == Boot::Shoji).then(|| self.key()).transpose()?;
        disk.extract_data(key.as_ref(), &path)?;
        Ok(path)
    }
}

/// The guest's reason for its verdict.
pub fn last_failure(seen: &str) -> &str {
    seen.lines().rev().find(|line| line.contains("FAILED")).unwrap_or("no reason")
}

/// A short path for people.
pub fn shown<'a>(workspace: &Workspace, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(workspace.root()).unwrap_or(path).display()
}
