//! Bochs as test bed: VT-x on the Intel models, a second opinion on AMD-V, and a log that tells in words why a VM entry
//! fails. Its clock is a count of instructions, so that a run repeats exactly.
//!
//! Bochs 2.7 user manual, chapter 4 (configuration file); Debian's build has the debugger in it, which drives the run.

mod log;

use crate::artifact;
use crate::console::Console;
use crate::program::unconnected_command;
use crate::qemu::Writes;
use anyhow::{Context, Result, bail, ensure};
use log::{HALTED, Log, Stopped, end};
use nix::pty::{OpenptyResult, openpty};
use nix::unistd::ttyname;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Instructions in a second of the machine's time.
pub const TICKS_PER_SECOND: u64 = 50_000_000;
/// How often the debugger may stop before it ends the emulator: it stops at every triple fault and INIT as well.
const STOPS: u64 = 12;
/// So many points in time the debugger stops at, at most. Without one it would go on for ever.
const POINTS: u64 = 5;
/// Folders with the firmware's images, after `BXSHARE`.
const SHARES: [&str; 2] = ["/usr/share/bochs", "/usr/local/share/bochs"];
const BIOS: &str = "BIOS-bochs-latest";
/// Comes with QEMU.
const SEABIOS: &str = "/usr/share/seabios/bios.bin";
const VGA_BIOS: &str = "VGABIOS-lgpl-latest";
/// The most that Bochs takes of the host's memory; what a guest touches beyond goes to a file. (At most 2048.)
const HOST_MIB: u32 = 1024;
/// Longest run of a machine that has no deadline.
const LONGEST: Duration = Duration::from_secs(3600);

/// What starts the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// Switches VT-x on and locks that.
    Bochs,
    /// Leaves VT-x as it is after a reset.
    SeaBios,
}

/// A machine with a PIIX3, to be run.
pub struct Bochs {
    logs: PathBuf,
    model: String,
    cpus: u32,
    memory_mib: u32,
    disk: Option<(PathBuf, Writes)>,
    cd: Option<PathBuf>,
    firmware: Firmware,
    unknown_msrs: bool,
    ticks: u64,
    deadline: Option<Instant>,
    last_word: Option<String>,
    /// What COM1 is instead of a file, and what keeps it open.
    terminal: Option<(PathBuf, OwnedFd)>,
}

/// What ended a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The guest wrote `D` to port 8900h until the debugger had no command left but `quit`.
    Quit,
    /// The guest wrote `Shutdown` to port 8900h.
    Shutdown,
    /// The guest switched the machine off by ACPI.
    PowerOff,
    /// Shoji has logged the last word that was asked for, and the CPU has halted for good.
    LastWord,
    /// All instructions that the run may take were executed.
    Budget,
    /// The wall clock's deadline.
    Deadline,
    /// The emulator gave up, for this reason.
    Panic(String),
}

/// A run that is over.
#[derive(Debug)]
pub struct Ended {
    pub end: End,
    /// What Bochs says of VM entries and VMX instructions that failed.
    pub failed_entries: Vec<String>,
}

impl Ended {
    /// The end of a run in which no VM entry may fail.
    pub fn without_failed_entries(self) -> Result<End> {
        ensure!(
            self.failed_entries.is_empty(),
            "Bochs tells of failed VM entries:\n{}",
            self.failed_entries.join("\n")
        );
        Ok(self.end)
    }
}

impl Bochs {
    /// A PC with a CPU of this model (`bochs-bin --help cpu` lists them); all its logs go to the folder `logs`: COM1 to
    /// `shoji.log`, COM2 to `com2.log`, the emulator's own to `bochs.log`.
    pub fn new(logs: &Path, model: &str, memory_mib: u32) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let logs = logs.canonicalize()?;
        let ticks = 60 * TICKS_PER_SECOND;
        Ok(Self {
            logs,
            model: model.to_owned(),
            cpus: 1,
            memory_mib,
            disk: None,
            cd: None,
            firmware: Firmware::Bochs,
            unknown_msrs: false,
            ticks,
            deadline: None,
            last_word: None,
            terminal: None,
        })
    }

    /// A terminal at COM1, to type to Shoji's login; there is no `shoji.log` then.
    pub fn terminal(mut self) -> Result<(Self, Console)> {
        let OpenptyResult { master, slave } = openpty(None, None).context("cannot make a pseudo-terminal")?;
        self.terminal = Some((ttyname(&slave)?, slave));
        let output = File::from(master);
        let input = output.try_clone()?;
        Ok((self, Console::new(output, input)))
    }

    /// With so many CPUs.
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// Sets the primary master.
    pub fn disk(mut self, image: &Path, writes: Writes) -> Self {
        self.disk = Some((image.to_owned(), writes));
        self
    }

    /// Sets the secondary master, which the machine then boots from.
    pub fn cd(mut self, image: &Path) -> Self {
        self.cd = Some(image.to_owned());
        self
    }

    /// With this firmware instead of Bochs' own.
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// MSRs that Bochs does not know read as 0 instead of faulting: Linux reads some that the real CPUs of a model have,
    /// before it can take a fault.
    pub fn with_unknown_msrs(mut self) -> Self {
        self.unknown_msrs = true;
        self
    }

    /// The run ends after so many instructions. Waiting counts as if it executed some, but a CPU that halts with
    /// interrupts off counts no more: only the deadline ends it, or [`Bochs::last_word`].
    pub fn ticks(mut self, ticks: u64) -> Self {
        self.ticks = ticks;
        self
    }

    /// The run goes on no longer than this.
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The run ends when Shoji has logged this and the CPU has halted.
    pub fn last_word(mut self, text: &str) -> Self {
        self.last_word = Some(text.to_owned());
        self
    }

    /// Runs the machine to its end.
    pub fn run(self) -> Result<Ended> {
        let file = |name: &str| self.logs.join(name);
        // What the run before has left must not be taken for this one's.
        ["shoji.log", "com2.log", "bochs.log"].iter().try_for_each(|name| artifact::remove(&file(name)))?;
        if let Some((disk, _)) = &self.disk {
            // Bochs leaves it behind when it is killed, and refuses the disk the next time.
            artifact::remove(&disk.with_added_extension("lock"))?;
        }
        fs::write(file("bochsrc"), self.configuration()?).context("cannot write Bochs' configuration")?;
        fs::write(file("debugger"), self.debugger_script())?;
        // Its display serves every address.
        let mut bochs = unconnected_command("bochs-bin");
        bochs.current_dir(&self.logs).env("BXSHARE", share()?).args(["-q", "-f", "bochsrc", "-rc", "debugger"]);
        let output = File::create(file("bochs.out"))?;
        bochs.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + LONGEST);
        let stopped = self.wait(&mut bochs, deadline)?;
        let said = String::from_utf8_lossy(&fs::read(file("bochs.out"))?).into_owned();
        // A configuration that is refused makes no log.
        let log = match File::open(file("bochs.log")) {
            Ok(log) => Log::read(BufReader::new(log)),
            Err(_) => Log::read(said.as_bytes()),
        }?;
        Ok(Ended { end: end(stopped, &log, &said), failed_entries: log.failed_entries })
    }

    fn wait(&self, command: &mut Command, deadline: Instant) -> Result<Stopped> {
        let mut child = command.spawn().context("cannot run bochs-bin")?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Stopped::Ended(status));
            }
            let has_halted = self.last_word.as_ref().is_some_and(|word| self.has_halted_after(word));
            if has_halted || Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(Stopped::Killed { has_halted });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn has_halted_after(&self, word: &str) -> bool {
        let contains = |log: &str, text: &str| {
            let log = fs::read(self.logs.join(log)).unwrap_or_default();
            String::from_utf8_lossy(&log).contains(text)
        };
        contains("shoji.log", word) && contains("bochs.log", HALTED)
    }

    fn configuration(&self) -> Result<String> {
        let Self { model, cpus, memory_mib, .. } = self;
        let bios = match self.firmware {
            Firmware::Bochs => format!("$BXSHARE/{BIOS}"),
            Firmware::SeaBios => SEABIOS.to_owned(),
        };
        let unknown_msrs = u8::from(self.unknown_msrs);
        let mut text = format!(
            "display_library: rfb, options=\"timeout=0\"\n\
             config_interface: textconfig\n\
             romimage: file=\"{bios}\"\n\
             vgaromimage: file=\"$BXSHARE/{VGA_BIOS}\"\n\
             memory: guest={memory_mib}, host={}\n\
             cpu: model={model}, count={cpus}, ips={TICKS_PER_SECOND}, reset_on_triple_fault=1, ignore_bad_msrs={unknown_msrs}\n\
             clock: sync=none, time0=946684800\n\
             pci: enabled=1, chipset=i440fx\n\
             ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
             ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15\n",
            memory_mib.min(&HOST_MIB)
        );
        if let Some((image, writes)) = &self.disk {
            let mode = if *writes == Writes::Dropped { "volatile" } else { "flat" };
            writeln!(text, "ata0-master: type=disk, path={}, mode={mode}, cylinders=0", quoted(image)?)?;
        }
        if let Some(image) = &self.cd {
            writeln!(text, "ata1-master: type=cdrom, path={}, status=inserted", quoted(image)?)?;
        }
        text += if self.cd.is_some() { "boot: cdrom, disk\n" } else { "boot: disk\n" };
        match &self.terminal {
            Some((terminal, _)) => writeln!(text, "com1: enabled=1, mode=term, dev={}", terminal.display())?,
            None => text += "com1: enabled=1, mode=file, dev=shoji.log\n",
        }
        text += "com2: enabled=1, mode=file, dev=com2.log\n\
                 mouse: enabled=0\n\
                 log: bochs.log\n\
                 error: action=report\n\
                 info: action=report\n\
                 debug: action=ignore\n";
        // What a guest does to its disk and its local APICs is nothing to stop for.
        let apics: String = (0..*cpus).map(|cpu| format!(", apic{cpu}=report")).collect();
        writeln!(text, "panic: action=fatal, harddrv=report{apics}")?;
        Ok(text)
    }

    /// Time stops a machine once and never again, so that each `c` gets its own.
    fn debugger_script(&self) -> String {
        let stop_at = |point| format!("sba {}\n", self.ticks + point * 1000);
        let first: String = (0..POINTS).map(stop_at).collect();
        // Whenever one of the points is used up there is room for another; else the debugger says that there is none.
        let stops: String = (POINTS..POINTS + STOPS).map(|point| format!("c\n{}", stop_at(point))).collect();
        first + &stops + "quit\n"
    }
}

/// The folder with Bochs' firmware.
fn share() -> Result<PathBuf> {
    let named = std::env::var_os("BXSHARE").map(PathBuf::from);
    let mut all = named.into_iter().chain(SHARES.map(PathBuf::from));
    all.find(|dir| dir.join(BIOS).is_file() && dir.join(VGA_BIOS).is_file())
        .with_context(|| format!("{BIOS} or {VGA_BIOS} is missing in {}: set BXSHARE to their folder", SHARES[0]))
}

/// A path as the configuration takes it.
fn quoted(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let text = path.to_str().filter(|text| !text.contains(['"', '$', '\n']));
    let text = text.with_context(|| format!("Bochs takes no path like {}", path.display()))?;
    Ok(format!("\"{text}\""))
}

/// Fails unless a run came to this end without a failed VM entry.
pub fn expect(ended: Ended, wanted: End) -> Result<()> {
    match ended.without_failed_entries()? {
        end if end == wanted => Ok(()),
        end => bail!("Bochs' run ended by {end:?} instead of {wanted:?}"),
    }
}

#[cfg(test)]
mod tests;
