//! The command `shoji`.
#![forbid(unsafe_code)]

mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use command::config::{self, ConfigCommand};
use command::disk::{self, DiskCommand};
use command::{Failure, inside, print};
use shoji::grub::{self, GrubPath, HeaderFile};
use shoji::keys;

/// Configures and installs Shoji, the thin hypervisor that encrypts disks below the operating system.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 good, 1 the file has errors or does not open, 2 wrong usage, 3 a file cannot be read or written, \
                  4 Shoji does not run here or refuses."
)]
enum Command {
    /// Check, compile, lock or show a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make, look at and keep LUKS2 volumes, on image files and on disks that Shoji does not guard yet
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Print the script that adds Shoji to GRUB's menu (install it as /etc/grub.d/09_shoji and run update-grub)
    GrubEntry(GrubEntry),
    #[command(flatten)]
    Guest(inside::Command),
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key file: 64 random bytes, readable by its owner only; an existing file is never overwritten
    ///
    /// Keep a copy in a safe place: without the key the data is lost.
    New {
        /// File to be made
        file: PathBuf,
    },
}

#[derive(Args)]
struct GrubEntry {
    /// The hypervisor
    #[arg(long, default_value = "/boot/shoji/shoji.elf")]
    image: GrubPath,
    /// The compiled configuration
    #[arg(long, default_value = "/boot/shoji/shoji.conf")]
    config: GrubPath,
    /// A LUKS2 header NAME.luks on the configuration's file system that GRUB loads, once for each [default: those in the folder of the configuration when the
    /// script runs; without the script none]
    #[arg(long = "header-file", value_name = "NAME.luks")]
    headers: Vec<HeaderFile>,
    /// Seconds until Shoji starts; 0 shows no menu
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u32,
    /// Print a whole grub.cfg for a disk without update-grub; FILE holds the menu entries of the operating systems.
    /// Paths are then those within GRUB's file system
    #[arg(long, value_name = "FILE")]
    standalone: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Config(command) => config::run(command),
        Command::Key(KeyCommand::New { file }) => new_key(&file),
        Command::Disk(command) => disk::run(command),
        Command::GrubEntry(options) => grub_entry(options),
        Command::Guest(command) => inside::perform(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Findings) => ExitCode::from(1),
        Err(Failure::Refused(message)) => fail(1, &message),
        Err(Failure::Usage(message)) => fail(2, &message),
        Err(Failure::Io(message)) => fail(3, &message),
        Err(Failure::Shoji(message)) => fail(4, &message),
    }
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("shoji: {message}");
    ExitCode::from(status)
}

fn new_key(file: &Path) -> Result<(), Failure> {
    keys::create(file).map_err(Failure::io("make", file))?;
    print(format!("{}: 64 random bytes; keep a copy in a safe place, without it the data is lost", file.display()))
}

fn grub_entry(options: GrubEntry) -> Result<(), Failure> {
    let GrubEntry { image, config, headers, timeout, standalone: _ } = &options;
    let (image, config, headers) = (image.clone(), config.clone(), headers.clone());
    let entry = grub::Entry { image, config, headers, timeout_s: *timeout };
    let text = match options.standalone {
        None => grub::script(&entry),
        Some(file) => {
            let entries = fs::read_to_string(&file).map_err(Failure::io("read", &file))?;
            grub::standalone(&entry, &entries)
        }
    };
    print(text.trim_end())
}
