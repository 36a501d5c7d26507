//! A Debian guest's shell on its serial console.

use crate::qemu::Machine;
use anyhow::{Result, ensure};
use std::time::Duration;

/// From power-on to the login prompt on an emulated CPU; a busy host takes several times as long as an idle one.
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(900);
const LOGIN_TIMEOUT: Duration = Duration::from_secs(120);

/// A shell of root.
pub struct Shell<'a> {
    machine: &'a mut Machine,
}

impl<'a> Shell<'a> {
    /// Waits for the login prompt and logs in.
    pub fn login(machine: &'a mut Machine) -> Result<Self> {
        let console = &mut machine.console;
        console.expect("login:", BOOT_TIMEOUT)?;
        console.send_line("root")?;
        console.expect("Password:", LOGIN_TIMEOUT)?;
        console.send_line("shoji")?;
        console.expect("# ", LOGIN_TIMEOUT)?;
        let mut shell = Self { machine };
        // Neither echo nor kernel messages nor colours between a command and its output.
        shell.run("stty -echo; dmesg -n 1; export PS1= TERM=dumb", LOGIN_TIMEOUT)?;
        Ok(shell)
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// Its status is not 0, or it does not end in time.
    pub fn run(&mut self, command: &str, timeout: Duration) -> Result<String> {
        let console = &mut self.machine.console;
        // The echo of the command must not look like its end.
        console.send_line(&format!("{command}; echo \"STATUS\"\"=$?.\""))?;
        let output = console.expect("STATUS=", timeout)?;
        let status = console.expect(".", timeout)?;
        let output = output.trim_end_matches("STATUS=").trim();
        ensure!(
            status == "0.",
            "`{command}` failed in the guest with status {}:\n{output}",
            status.trim_end_matches('.')
        );
        Ok(output.to_owned())
    }

    /// Starts a command that the caller watches itself.
    pub fn start(&mut self, command: &str) -> Result<&mut Machine> {
        self.machine.console.send_line(command)?;
        Ok(self.machine)
    }

    /// Shuts the guest down in order, which ends the emulator.
    pub fn power_off(self) -> Result<()> {
        self.machine.console.send_line("poweroff")?;
        let status = self.machine.wait(Duration::from_secs(180))?;
        ensure!(status.success(), "the emulator ended with {status}");
        Ok(())
    }
}
