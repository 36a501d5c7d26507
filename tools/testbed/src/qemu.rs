//! QEMU as test bed.

use crate::accel::Accelerator;
use crate::console::Console;
use crate::monitor::{Monitor, pipes};
use crate::program::bound_command;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The status with which QEMU ends when the guest writes `value` to the debug exit port.
pub const fn debug_exit_status(value: u8) -> i32 {
    ((value as i32) << 1) | 1
}

/// What happens to the disk image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writes {
    /// They go to the image.
    Kept,
    /// They are forgotten when the emulator ends.
    Dropped,
}

/// What the machine is built around. Its IDE disks are on a PIIX3's controller either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chipset {
    /// i440FX and PIIX3: configuration space by CF8h and CFCh, no reset register in its ACPI tables.
    Pc,
    /// Q35 and ICH9: configuration space in memory too (MCFG), ACPI's reset register, an AHCI controller without disks.
    Q35,
}

/// A disk of the machine.
struct IdeDisk {
    /// As `-drive` takes it, without its place.
    drive: String,
    /// 0: primary master.
    index: u8,
}

/// A machine to be started.
pub struct Qemu {
    command: Command,
    logs: PathBuf,
    accelerator: Accelerator,
    virtualization: bool,
    smm: bool,
    chipset: Chipset,
    cpus: u32,
    disks: Vec<IdeDisk>,
    /// What COM1 is; its output goes to the log either way.
    com1: Option<String>,
    deadline: Option<Instant>,
}

impl Qemu {
    /// A PC (SeaBIOS) with one CPU and nothing but a screen; its serial logs go to the folder `logs`.
    pub fn new(logs: &Path, memory_mib: u32, accelerator: Accelerator) -> Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let mut command = qemu_command();
        command.args(["-nodefaults", "-display", "none", "-vga", "std", "-monitor", "none"]);
        command.args(["-m", &memory_mib.to_string()]);
        Ok(Self {
            command,
            logs: logs.to_owned(),
            accelerator,
            virtualization: true,
            smm: true,
            chipset: Chipset::Pc,
            cpus: 1,
            disks: Vec::new(),
            com1: None,
            deadline: None,
        })
    }

    /// With so many CPUs. TCG runs each in a thread of its own, unless it counts instructions: with that, Linux hangs on
    /// more than one.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    pub fn chipset(mut self, chipset: Chipset) -> Self {
        self.chipset = chipset;
        self
    }

    /// Without system management mode, in which SeaBIOS otherwise changes to 32 bit.
    pub fn without_smm(mut self) -> Self {
        self.smm = false;
        self
    }

    /// With a CPU on which Shoji cannot run.
    pub fn without_virtualization(mut self) -> Self {
        self.virtualization = false;
        self
    }

    /// No waiting for this machine goes on longer.
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets IDE disk `index` (0: primary master).
    pub fn ide_disk(mut self, index: u8, image: &Path, writes: Writes) -> Self {
        let snapshot = if writes == Writes::Dropped { "on" } else { "off" };
        let file = image.to_string_lossy().replace(',', ",,");
        self.disks.push(IdeDisk { drive: format!("file={file},format=raw,media=disk,snapshot={snapshot}"), index });
        self
    }

    /// Adds an NVMe drive, the device `nvme`; the machine boots from its IDE disks all the same.
    pub fn nvme_disk(mut self, image: &Path, serial: &str, writes: Writes) -> Self {
        let snapshot = if writes == Writes::Dropped { "on" } else { "off" };
        let file = image.to_string_lossy().replace(',', ",,");
        let drive = format!("file={file},format=raw,if=none,id=nvme,media=disk,discard=unmap,snapshot={snapshot}");
        self.command.args(["-drive", &drive, "-device", &format!("nvme,id=nvme,drive=nvme,serial={serial}")]);
        self.command.args(["-global", "ide-hd.bootindex=0", "-boot", "strict=on"]);
        self
    }

    /// A disk at a port of Q35's AHCI controller; the machine boots from port 0, and the kernel that has a driver for it.
    pub fn ahci_disk(mut self, port: u8, image: &Path, writes: Writes) -> Self {
        let snapshot = if writes == Writes::Dropped { "on" } else { "off" };
        let file = image.to_string_lossy().replace(',', ",,");
        let drive =
            format!("file={file},format=raw,if=none,id=sata{port},media=disk,discard=unmap,snapshot={snapshot}");
        let device = format!("ide-hd,drive=sata{port},bus=ide.{port},bootindex={port}");
        self.command.args(["-drive", &drive, "-device", &device]);
        self.generic_kernel().chipset(Chipset::Q35)
    }

    /// Adds a network card, the device `card`, at slot 3 of bus 0, on a network of this kind ("user,..."). What is on the cable goes to `capture`
    /// (pcap) from power-on on; firmware has no part in that. The kernel is the one that has drivers for it.
    pub fn network_card(mut self, model: &str, network: &str, capture: &Path) -> Self {
        let capture = capture.to_string_lossy().replace(',', ",,");
        self.command.args(["-netdev", &format!("{network},id=cable")]);
        self.command.args(["-device", &format!("{model},id=card,netdev=cable,mac={CARD_MAC},addr=3,romfile=")]);
        self.command.args(["-object", &format!("filter-dump,id=capture,netdev=cable,file={capture}")]);
        self.generic_kernel()
    }

    /// What the disk's GRUB reads: an argument for the guest's kernel, and `bare` or `prompt` as way to boot.
    pub fn request(mut self, kernel_args: &str, how: &str) -> Self {
        self.command.args(["-smbios", &format!("type=1,serial={kernel_args},sku={how}")]);
        self
    }

    /// The disk's GRUB boots Debian's usual kernel instead of the one for clouds.
    pub fn generic_kernel(mut self) -> Self {
        self.command.args(["-smbios", "type=1,version=generic"]);
        self
    }

    /// The guest ends the emulator by writing to port F4h.
    pub fn debug_exit(mut self) -> Self {
        self.command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        self
    }

    /// A reset ends the emulator.
    pub fn end_at_reset(mut self) -> Self {
        self.command.arg("-no-reboot");
        self
    }

    /// Repeatable runs: one instruction per nanosecond of the guest's clock. TCG only.
    pub fn count_instructions(mut self) -> Self {
        self.command.args(["-icount", "shift=0,sleep=on"]);
        self
    }

    /// As [`Qemu::count_instructions`], and [`Monitor::instructions`] can be asked for their number. Only record/replay
    /// keeps a count that leaves idle time out; the record itself is dropped. TCG only.
    pub fn record_instructions(mut self) -> Self {
        self.command.args(["-icount", "shift=0,rr=record,rrfile=/dev/null"]);
        self
    }

    /// A terminal at COM1, to type to Shoji's login.
    pub fn terminal(mut self) -> Result<(Self, Console)> {
        let (console, path) = pipes(&self.logs, "com1")?;
        self.com1 = Some(format!("pipe,id=com1,path={}", path.to_string_lossy().replace(',', ",,")));
        Ok((self, console))
    }

    /// Questions to the emulator itself.
    pub fn monitor(mut self) -> Result<(Self, Monitor)> {
        let (monitor, path) = Monitor::new(&self.logs)?;
        let path = path.to_string_lossy().replace(',', ",,");
        self.command.args(["-chardev", &format!("pipe,id=monitor,path={path}"), "-mon", "chardev=monitor"]);
        Ok((self, monitor))
    }

    /// Logs each instruction executed in `ranges` (first and last address), and what [`Qemu::log_exits`] logs. TCG only.
    pub fn trace(mut self, ranges: &[(u64, u64)]) -> Self {
        let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first:#x}..{last:#x}")).collect();
        // One instruction a translation block, and no block jumps to the next unseen.
        self.command.args(["-singlestep", "-d", "exec,nochain,in_asm", "-dfilter", &ranges.join(",")]);
        self
    }

    /// Logs `vmrun!` and `vmexit(...)` only, see [`Machine::exit_log`]: translated code is logged for an address range
    /// that nothing uses. TCG only.
    pub fn log_exits(mut self) -> Self {
        let file = self.logs.join(EXITS);
        self.command.args(["-d", "in_asm", "-dfilter", "0xffffffffffff0000+1", "-D"]).arg(file);
        self
    }

    pub fn args<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// COM1 goes to `shoji.log`; COM2 is this program's terminal, where Ctrl-A X leaves.
    pub fn on_terminal(mut self) -> Result<()> {
        self.complete();
        let errors = self.errors()?;
        let status = self.command.args(["-serial", "mon:stdio"]).stderr(errors).status();
        let status = status.context("cannot run qemu-system-x86_64")?;
        let said = std::fs::read_to_string(self.logs.join(ERRORS)).unwrap_or_default();
        ensure!(status.success(), "QEMU ended with {status}:\n{said}");
        Ok(())
    }

    /// Starts it; COM1 goes to `shoji.log`, COM2 is the console and copied to `com2.log`.
    pub fn start(self) -> Result<Machine> {
        let errors = self.errors()?;
        self.spawn(errors.into())
    }

    /// As [`Qemu::start`], with the emulator's own log as a stream, mixed with its warnings.
    pub fn start_logging(self) -> Result<(Machine, ChildStderr)> {
        let mut machine = self.spawn(Stdio::piped())?;
        let log = machine.child.stderr.take().context("no error output")?;
        Ok((machine, log))
    }

    fn spawn(mut self, errors: Stdio) -> Result<Machine> {
        self.complete();
        let com2 = self.logs.join("com2.log").to_string_lossy().replace(',', ",,");
        self.command.args(["-chardev", &format!("stdio,id=com2,signal=off,logfile={com2}"), "-serial", "chardev:com2"]);
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = self.command.spawn().context("cannot run qemu-system-x86_64")?;
        let (output, input) = (child.stdout.take().context("no output")?, child.stdin.take().context("no input")?);
        Ok(Machine { console: Console::new(output, input), child, logs: self.logs, deadline: self.deadline })
    }

    /// QEMU complains at length about features of the CPU model that the accelerator does not have: that goes to a file.
    fn errors(&self) -> Result<File> {
        let path = self.logs.join(ERRORS);
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    fn complete(&mut self) {
        self.command.args(self.accelerator.arguments(self.virtualization));
        let chipset = if self.chipset == Chipset::Pc { "pc" } else { "q35" };
        let smm = if self.smm { "on" } else { "off" };
        self.command.args(["-machine", &format!("{chipset},smm={smm}")]);
        if self.cpus > 1 {
            self.command.args(["-smp", &self.cpus.to_string()]);
        }
        self.attach_disks();
        let log = self.logs.join("shoji.log").to_string_lossy().replace(',', ",,");
        match &self.com1 {
            Some(com1) => self.command.args(["-chardev", &format!("{com1},logfile={log}"), "-serial", "chardev:com1"]),
            None => self.command.args(["-serial", &format!("file:{log}")]),
        };
    }

    fn attach_disks(&mut self) {
        let on_q35 = self.chipset == Chipset::Q35 && !self.disks.is_empty();
        if on_q35 {
            // Q35's own IDE buses are AHCI ports.
            self.command.args(["-device", "piix3-ide,id=piix"]);
        }
        for IdeDisk { drive, index } in &self.disks {
            if !on_q35 {
                self.command.args(["-drive", &format!("{drive},if=ide,index={index}")]);
                continue;
            }
            let place = format!("bus=piix.{},unit={},bootindex={index}", index / 2, index % 2);
            self.command.args(["-drive", &format!("{drive},if=none,id=disk{index}")]);
            self.command.args(["-device", &format!("ide-hd,drive=disk{index},{place}")]);
        }
    }
}

/// The address of [`Qemu::network_card`].
pub const CARD_MAC: &str = "52:54:00:12:34:56";

/// QEMU that ends when this program does, however that ends.
pub fn qemu_command() -> Command {
    bound_command("qemu-system-x86_64")
}

/// A running machine; ends with its value.
pub struct Machine {
    pub console: Console,
    child: Child,
    logs: PathBuf,
    deadline: Option<Instant>,
}

const ERRORS: &str = "qemu.log";
const EXITS: &str = "exits.log";
/// Longest wait for a machine that has no deadline.
const LONGEST: Duration = Duration::from_secs(3600);

impl Machine {
    /// Waits on COM2 until the deadline.
    pub fn expect(&mut self, pattern: &str) -> Result<String> {
        Ok(self.expect_any(&[pattern])?.1)
    }

    /// As [`Console::expect_any`], until the deadline.
    pub fn expect_any(&mut self, patterns: &[&str]) -> Result<(usize, String)> {
        let left = self.left();
        self.console.expect_any(patterns, left)
    }

    fn left(&self) -> Duration {
        self.deadline.map_or(LONGEST, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// What Shoji has logged so far.
    pub fn shoji_log(&self) -> String {
        let text = std::fs::read(self.logs.join("shoji.log")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What [`Qemu::log_exits`] asked for, as far as it has come.
    pub fn exit_log(&self) -> Result<BufReader<File>> {
        let path = self.logs.join(EXITS);
        let file = File::open(&path).with_context(|| format!("no exit log {}", path.display()))?;
        Ok(BufReader::new(file))
    }

    /// Waits for text in Shoji's log.
    pub fn expect_log(&mut self, pattern: &str, timeout: Duration) -> Result<()> {
        let end = Instant::now() + timeout.min(self.left());
        while !self.shoji_log().contains(pattern) {
            if Instant::now() > end || self.child.try_wait()?.is_some() {
                bail!("\"{pattern}\" is not in Shoji's log ({})", self.logs.join("shoji.log").display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits until the emulator has ended by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + timeout.min(self.left());
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("the machine still runs after {} s", timeout.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Power cut: SIGKILL, now.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop).context("cannot wait for the emulator's end")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::Vendor;
    use std::ffi::OsStr;

    fn arguments(mut qemu: Qemu) -> Vec<String> {
        qemu.complete();
        qemu.command.get_args().map(OsStr::to_string_lossy).map(String::from).collect()
    }

    #[test]
    fn disks_are_on_an_ide_controller_of_either_chipset() {
        for (chipset, place) in [(Chipset::Pc, "if=ide,index=1"), (Chipset::Q35, "bus=piix.0,unit=1")] {
            let qemu = Qemu::new(&std::env::temp_dir(), 256, Accelerator::Tcg).unwrap().chipset(chipset);
            let all = arguments(qemu.cpus(2).ide_disk(1, Path::new("a,b"), Writes::Dropped));
            assert!(all.iter().any(|word| word.contains(place)), "{all:?}");
            assert!(all.iter().any(|word| word.contains("file=a,,b,") && word.contains("snapshot=on")), "{all:?}");
            assert!(all.windows(2).any(|words| words == ["-smp", "2"]), "{all:?}");
        }
    }

    #[test]
    fn a_machine_has_one_accelerator_and_its_cpu_model() {
        let logs = std::env::temp_dir();
        for accelerator in [Accelerator::Tcg, Accelerator::Kvm(Vendor::Intel), Accelerator::Kvm(Vendor::Amd)] {
            for virtualization in [true, false] {
                let mut qemu = Qemu::new(&logs, 256, accelerator).unwrap();
                if !virtualization {
                    qemu = qemu.without_virtualization();
                }
                let all = arguments(qemu);
                let at = all.iter().position(|word| word == "-accel").unwrap();
                assert_eq!(all[at..at + 4], accelerator.arguments(virtualization));
                assert_eq!(all.iter().filter(|word| ["-accel", "-cpu"].contains(&word.as_str())).count(), 2);
            }
        }
    }
}
