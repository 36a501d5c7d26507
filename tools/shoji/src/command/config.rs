//! `shoji config`: from the TOML file to what GRUB loads, and back to something readable.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use config::{Config, Envelope, Locked, Opened};
use serde_json::Value;
use shoji::load::{self, load, load_any};
use shoji::{lock, show};

use super::ask::{NewSlots, Unlock, print_recovery_key};
use super::slots::{self, SlotCommand};
use super::{Failure, print, replace};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong in a TOML file: file, line, column, key and remedy
    Check {
        /// TOML file, or a compiled configuration
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Compile a TOML file to the configuration that GRUB loads beside shoji.elf
    ///
    /// Key files and files of wg-quick that it names are taken in; names of peers are resolved when Shoji runs.
    ///
    /// The result can be read by its owner only. It holds the keys: name at least one way to open it, e.g.
    /// `--pass-phrase --recovery-key`, and they are encrypted; name none, and whoever reads the file has them. A locked result
    /// that is there is not replaced by one that is not, unless `--unlocked` says so.
    Build {
        /// TOML file
        file: PathBuf,
        /// Result [default: FILE with the extension .conf]
        #[arg(short, long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        new: NewSlots,
        /// Keep the ways to open the result that is there, which must be opened for it
        #[arg(long)]
        keep_slots: bool,
        #[command(flatten)]
        unlock: Unlock,
        /// Do not encrypt the keys, even where the result that is there does
        #[arg(long, conflicts_with_all = ["NewSlots", "keep_slots"])]
        unlocked: bool,
    },
    /// Show a TOML file or a compiled configuration with all defaults filled in, without the keys
    ///
    /// Of a locked one it shows the ways to open it and the part that is not secret; once opened, all of it.
    Show {
        /// TOML file, or a compiled configuration
        file: PathBuf,
        /// Print one JSON object instead of TOML
        #[arg(long)]
        json: bool,
        /// Open a locked configuration
        #[arg(long)]
        unlock: bool,
        #[command(flatten)]
        with: Unlock,
    },
    #[command(flatten)]
    Slot(SlotCommand),
}

pub fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { file, json } => check(&file, json),
        ConfigCommand::Build { file, output, new, keep_slots, unlock, unlocked } => {
            let output = output.unwrap_or_else(|| file.with_extension("conf"));
            build(&file, &output, &new, keep_slots.then_some(&unlock), unlocked)
        }
        ConfigCommand::Show { file, json, unlock, with } => {
            show(&file, json, (unlock || with.is_given()).then_some(&with))
        }
        ConfigCommand::Slot(command) => slots::run(command),
    }
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let (opened, report) = load_any(file).map_err(Failure::io("read", file))?;
    let name = file.display().to_string();
    if json {
        print(report.to_json(&name))?;
    } else {
        eprint!("{}", report.to_text(&name));
        match &opened {
            Some(Opened::Plain(config)) => print(format!("{name}: good, {}", summary(config)))?,
            Some(Opened::Locked(locked)) => {
                print(format!(
                    "{name}: good as far as can be seen without opening it, {}",
                    count(locked.slots().len())
                ))?;
            }
            None => {}
        }
    }
    opened.map(|_| ()).ok_or(Failure::Findings)
}

/// Loads what can be used; findings go to standard error.
pub fn good(file: &Path) -> Result<Opened, Failure> {
    let (opened, report) = load_any(file).map_err(Failure::io("read", file))?;
    eprint!("{}", report.to_text(&file.display().to_string()));
    opened.ok_or(Failure::Findings)
}

fn build(file: &Path, output: &Path, new: &NewSlots, keep: Option<&Unlock>, unlocked: bool) -> Result<(), Failure> {
    if output == file {
        return Err(Failure::Usage(format!("{} would be overwritten; name the result with -o", file.display())));
    }
    let (config, report) = load(file).map_err(Failure::io("read", file))?;
    eprint!("{}", report.to_text(&file.display().to_string()));
    let config = config.ok_or(Failure::Findings)?;
    let before = locked_there(output)?;
    let mut envelope = match (keep, &before) {
        (Some(unlock), Some(locked)) => unlock.open(locked, output)?.1,
        (Some(_), None) => {
            let message = format!("{} is not a locked configuration, so it has no slots to keep", output.display());
            return Err(Failure::Usage(message));
        }
        (None, Some(_)) if new.count() == 0 && !unlocked => {
            let message = format!(
                "{} is locked, and the new one would hold the keys in clear; name `--keep-slots`, a new way to open it \
                 such as `--pass-phrase`, or `--unlocked`",
                output.display()
            );
            return Err(Failure::Usage(message));
        }
        (None, _) if new.count() == 0 => return build_plain(&config, output),
        (None, before) => lock::new_envelope(before.as_ref().map_or(0, Locked::counter)).map_err(Failure::Refused)?,
    };
    let recovery = new.add_to(&mut envelope, &config.login)?;
    write(&envelope, &config, output)?;
    print_recovery_key(recovery.as_ref())
}

fn build_plain(config: &Config, output: &Path) -> Result<(), Failure> {
    let blob = config::encode(config).map_err(|error| Failure::Io(error.to_string()))?;
    replace(output, &blob).map_err(Failure::io("write", output))?;
    print(format!("{}: {} bytes, {}, not locked", output.display(), blob.len(), summary(config)))
}

/// Writes a locked configuration, and says so.
pub fn write(envelope: &Envelope, config: &Config, output: &Path) -> Result<(), Failure> {
    let nonce = lock::random().map_err(Failure::Refused)?;
    let blob = envelope.encode(config, nonce).map_err(|error| Failure::Refused(error.to_string()))?;
    replace(output, &blob).map_err(Failure::io("write", output))?;
    let (bytes, slots) = (blob.len(), count(envelope.slots().len()));
    print(format!("{}: {bytes} bytes, {}, locked, {slots}", output.display(), summary(config)))
}

/// The locked configuration that a new one takes the place of, if there is one.
fn locked_there(output: &Path) -> Result<Option<Locked>, Failure> {
    match load::read(output) {
        Ok(bytes) => match config::open(&bytes) {
            Ok(Opened::Locked(locked)) => Ok(Some(locked)),
            _ => Ok(None),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("write", output)(error)),
    }
}

fn show(file: &Path, json: bool, unlock: Option<&Unlock>) -> Result<(), Failure> {
    let opened = good(file)?;
    let (mut tree, slots) = match &opened {
        Opened::Plain(config) => (show::to_json(config), None),
        Opened::Locked(locked) => {
            let tree = match unlock {
                Some(unlock) => show::to_json(&unlock.open(locked, file)?.0),
                None => show::public_to_json(locked.public()),
            };
            (tree, Some(show::Lock { counter: locked.counter(), slots: locked.slots(), opened: unlock.is_some() }))
        }
    };
    if json {
        tree["lock"] = slots.as_ref().map_or(Value::Null, show::Lock::to_json);
        return print(tree);
    }
    let head = slots.as_ref().map(show::Lock::to_text).unwrap_or_default();
    print(format!("{head}{}", show::to_toml(&tree).trim_end()))
}

fn summary(config: &Config) -> String {
    let rules = |kind, count: usize| match count {
        1 => format!("1 {kind} rule"),
        count => format!("{count} {kind} rules"),
    };
    match (config.disks.len(), config.networks.len()) {
        (disks, 0) => rules("disk", disks),
        (disks, networks) => format!("{}, {}", rules("disk", disks), rules("network", networks)),
    }
}

fn count(slots: usize) -> String {
    match slots {
        1 => "1 slot".into(),
        slots => format!("{slots} slots"),
    }
}
