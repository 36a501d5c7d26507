//! Where a volume has its header, as the options of `shoji disk` say.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use config::{HEADER_FILE_SUFFIX, HEADER_MODULE};
use shoji::disk::{Device, Mode};

use super::Failure;
use super::disk::At;

/// Where a detached header is.
#[derive(Args)]
pub struct HeaderAt {
    /// The header is detached: number of its partition on the same disk
    #[arg(long, value_name = "NUMBER")]
    pub header_partition: Option<u32>,
    /// The header is detached: a file NAME.luks, which GRUB loads from the folder of the configuration
    #[arg(long, value_name = "NAME.luks", conflicts_with = "header_partition")]
    pub header_file: Option<PathBuf>,
}

impl HeaderAt {
    /// The device with the detached header, which must be there.
    pub fn open(&self, at: &At, mode: Mode) -> Result<Option<Device>, Failure> {
        if self.header_partition.is_some() && self.header_partition == at.partition {
            return Err(Failure::Usage(
                "the detached header is on the partition of the volume itself; name another".into(),
            ));
        }
        if let Some(file) = &self.header_file {
            check_file(file, at)?;
            return Device::open(file, None, mode).map(Some).map_err(Failure::Io);
        }
        let open = |number| Device::open(&at.device, Some(number), mode).map_err(Failure::Io);
        self.header_partition.map(open).transpose()
    }

    /// As [`Self::open`]; a header file need not be there yet.
    pub fn open_old(&self, at: &At) -> Result<Option<Device>, Failure> {
        match &self.header_file {
            Some(file) if fs::symlink_metadata(file).is_err() => check_file(file, at).map(|()| None),
            _ => self.open(at, Mode::Read),
        }
    }

    /// The line of the rule that says so; nothing where the header is not detached.
    pub fn rule_line(&self) -> Result<String, Failure> {
        Ok(match (&self.header_file, self.header_partition) {
            (Some(file), _) => format!("header = {{ file = \"{}\" }}\n", name_of(file)?),
            (None, Some(number)) => format!("header = {{ partition = {number} }}\n"),
            (None, None) => String::new(),
        })
    }

    /// What is to be done that the machine finds the header at boot.
    pub fn advice(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.header_file else { return Ok(None) };
        let name = name_of(file)?;
        Ok(Some(format!(
            "GRUB loads the header by a line `module2 .../{name}{HEADER_FILE_SUFFIX} {HEADER_MODULE}{name}`, which the script of \
             `shoji grub-entry` writes for files in the folder of the configuration: run update-grub."
        )))
    }

    /// Appends the options that say so.
    pub fn write_words(&self, words: &mut String) {
        // A string takes all.
        let _ = match (&self.header_file, self.header_partition) {
            (Some(file), _) => write!(words, " --header-file {}", file.display()),
            (None, Some(number)) => write!(words, " --header-partition {number}"),
            (None, None) => Ok(()),
        };
    }
}

/// The name of a header file in rules and on GRUB's module lines.
fn name_of(file: &Path) -> Result<&str, Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(HEADER_FILE_SUFFIX));
    let good = name.filter(|name| config::check_file_name(name).is_ok());
    good.ok_or_else(|| {
        Failure::Usage(format!(
            "a header file is called NAME{HEADER_FILE_SUFFIX}, NAME of letters, digits and . _ + -, which {} is not; rename it",
            file.display()
        ))
    })
}

/// Can it be a header file, apart from what it holds?
fn check_file(file: &Path, at: &At) -> Result<(), Failure> {
    name_of(file)?;
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        let message = format!("{} is no file; a header on a partition is named by --header-partition", file.display());
        return Err(Failure::Usage(message));
    }
    let (real, device) = (fs::canonicalize(file), fs::canonicalize(&at.device));
    if real.is_ok_and(|real| device.is_ok_and(|device| real == device)) {
        return Err(Failure::Usage("the header file is the volume itself; name another".into()));
    }
    Ok(())
}
