//! The subcommands, and how they end.

pub mod ask;
pub mod config;
pub mod disk;
mod disk_status;
mod header_at;
pub mod inside;
pub mod slots;

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why the command ends without success.
pub enum Failure {
    /// Already reported.
    Findings,
    /// What was given does not open the configuration, or cannot be used.
    Refused(String),
    /// Wrong usage that clap cannot see.
    Usage(String),
    /// Operation, path and reason.
    Io(String),
    /// What Shoji says, or that there is none.
    Shoji(String),
}

impl Failure {
    pub fn io(verb: &str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io(format!("cannot {verb} {}: {error}", path.display()))
    }
}

/// Writes a file that only its owner may read. A power cut leaves the old file or the new one, never half of it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // A leftover of an interrupted run would keep its mode.
    if let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let done = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        // What is wrong is told; half a file is of no use.
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// Prints a line; a closed pipe is an error value here, not a panic.
pub fn print(text: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text:#}").map_err(|error| Failure::Io(format!("cannot write the result: {error}")))
}
