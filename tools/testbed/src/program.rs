//! Programs of the host.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// `program`, found also where only root's search path leads (`/usr/sbin`).
pub fn command(program: &str) -> Command {
    Command::new(locate(program).unwrap_or_else(|| program.into()))
}

/// Like [`command`], through `sudo` when the user is not root.
pub fn command_as_root(program: &str) -> Command {
    if is_root() {
        return command(program);
    }
    let mut sudo = command("sudo");
    sudo.arg(locate(program).unwrap_or_else(|| program.into()));
    sudo
}

/// `program`, ending when this program does, however that ends.
pub fn bound_command(program: &str) -> Command {
    let mut setpriv = command("setpriv");
    setpriv.args(["--pdeathsig", "KILL", program]);
    setpriv
}

/// As [`bound_command`], in a network of its own that has no device: nobody can connect.
pub fn unconnected_command(program: &str) -> Command {
    let mut unshare = command("unshare");
    if !is_root() {
        unshare.arg("--map-root-user");
    }
    // Inside: a new user would lose the tie.
    unshare.args(["--net", "setpriv", "--pdeathsig", "KILL", program]);
    unshare
}

/// Full path of `program`, if it is installed.
pub fn locate(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs to the end with its output kept back.
///
/// # Errors
/// It could not be started or failed; the message holds the command and the end of what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", shown(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let all = text + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = all.lines().collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
    bail!("{} failed ({}):\n  {tail}", shown(command), output.status)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
