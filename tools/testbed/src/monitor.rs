//! Questions to the emulator itself, in the words of its human monitor.

use crate::artifact;
use crate::console::Console;
use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// It answers at once, but on a busy host.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The monitor of one machine.
pub struct Monitor {
    console: Console,
    /// Its first prompt was seen.
    greeted: bool,
}

/// A line to the emulator behind two named pipes in `dir`; also gives what QEMU calls their path.
pub(crate) fn pipes(dir: &Path, name: &str) -> Result<(Console, PathBuf)> {
    let path = dir.join(name);
    let open = |suffix| {
        let pipe = path.with_extension(suffix);
        artifact::remove(&pipe)?;
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).with_context(|| format!("cannot make {}", pipe.display()))?;
        // For both directions, since opening for one would wait for the emulator.
        OpenOptions::new().read(true).write(true).open(&pipe).with_context(|| format!("cannot open {}", pipe.display()))
    };
    Ok((Console::new(open("out")?, open("in")?), path))
}

impl Monitor {
    /// A monitor behind two named pipes in `dir`; also gives what QEMU calls their path.
    pub(crate) fn new(dir: &Path) -> Result<(Self, PathBuf)> {
        let (console, path) = pipes(dir, "monitor")?;
        Ok((Self { console, greeted: false }, path))
    }

    /// Presses keys one after another, each as the monitor names it: `shift-a`, `ret`. The names are those of the US layout, and mean
    /// the key's place.
    pub fn type_keys(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            self.command(&format!("sendkey {key} 20"))?;
            // Longer than a key is held, or the next one comes too early.
            std::thread::sleep(Duration::from_millis(60));
        }
        Ok(())
    }

    /// A picture of the screen, as PNG.
    pub fn screenshot(&mut self, to: &Path) -> Result<()> {
        self.command(&format!("screendump {} -f png", to.display()))
    }

    /// Writes physical memory to a file.
    pub fn dump(&mut self, start: u64, len_bytes: u64, to: &Path) -> Result<()> {
        self.command(&format!("pmemsave {start:#x} {len_bytes:#x} \"{}\"", to.display()))
    }

    /// Plugs the cable of a network card in or out.
    pub fn set_link(&mut self, id: &str, plugged: bool) -> Result<()> {
        self.command(&format!("set_link {id} {}", if plugged { "on" } else { "off" }))
    }

    /// Asks for a device to be taken out; the guest lets go of it first.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        self.command(&format!("device_del {id}"))
    }

    /// Plugs an NVMe drive in, the device `id`, at this slot of bus 0 (hexadecimal), once the guest has given it free. Its writes are kept.
    pub fn plug_nvme(&mut self, id: &str, image: &Path, serial: &str, slot: &str) -> Result<()> {
        let file = image.to_string_lossy().replace(',', ",,");
        self.command(&format!("drive_add 0 if=none,id={id},file={file},format=raw,discard=unmap,file.locking=off"))?;
        let add = format!("device_add nvme,id={id},drive={id},serial={serial},addr=0x{slot}");
        let end = Instant::now() + TIMEOUT;
        loop {
            match self.command(&add) {
                Err(why) if why.to_string().contains("in use by") && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                done => return done,
            }
        }
    }

    /// Gives a command and waits until it is done.
    fn command(&mut self, line: &str) -> Result<()> {
        const PROMPT: &str = "\n(qemu) ";
        if !std::mem::replace(&mut self.greeted, true) {
            self.console.expect(PROMPT, TIMEOUT)?;
        }
        self.console.send_line(line)?;
        let said = self.console.expect(PROMPT, TIMEOUT)?;
        let error = said.lines().find(|line| line.starts_with("Error: "));
        ensure!(error.is_none(), "{line}: {}", error.unwrap_or_default());
        Ok(())
    }

    /// Instructions executed since power-on, of the guest and a hypervisor alike; idle time does not count. Only with
    /// [`crate::qemu::Qemu::record_instructions`].
    pub fn instructions(&mut self) -> Result<u64> {
        self.console.send_line("info replay")?;
        self.console.expect("instruction count = ", TIMEOUT)?;
        let number = self.console.expect("\n", TIMEOUT)?;
        number.trim().parse().with_context(|| format!("no number of instructions: {number}"))
    }

    /// Wakes the machine up, once it sleeps.
    pub fn wake_up(&mut self) -> Result<()> {
        let end = Instant::now() + TIMEOUT;
        loop {
            self.console.send_line("info status")?;
            if self.console.expect_any(&["paused (suspended)", "running\r"], TIMEOUT)?.0 == 0 {
                return self.console.send_line("system_wakeup");
            }
            ensure!(Instant::now() < end, "the machine does not go to sleep");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The reset button.
    pub fn reset(&mut self) -> Result<()> {
        self.console.send_line("system_reset")
    }
}
