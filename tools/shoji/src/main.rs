//! The command `shoji`.
#![forbid(unsafe_code)]

mod inside;

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use config::Config;
use shoji::grub::{self, GrubPath};
use shoji::load::load;
use shoji::{keys, show};

/// Configures and installs Shoji, the thin hypervisor that encrypts disks below the operating system.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit status: 0 good, 1 the file has errors, 2 wrong usage, 3 a file cannot be read or written, \
                  4 Shoji does not run here or refuses."
)]
enum Command {
    /// Check, compile or show a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print the script that adds Shoji to GRUB's menu (install it as /etc/grub.d/09_shoji and run update-grub)
    GrubEntry(GrubEntry),
    #[command(flatten)]
    Guest(inside::Command),
}

#[derive(Subcommand)]
enum ConfigCommand {
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
    /// The result holds the keys and can be read by its owner only.
    Build {
        /// TOML file
        file: PathBuf,
        /// Result [default: FILE with the extension .conf]
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Show a TOML file or a compiled configuration with all defaults filled in, without the keys
    Show {
        /// TOML file, or a compiled configuration
        file: PathBuf,
        /// Print one JSON object instead of TOML
        #[arg(long)]
        json: bool,
    },
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
    /// Seconds until Shoji starts; 0 shows no menu
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u32,
    /// Print a whole grub.cfg for a disk without update-grub; FILE holds the menu entries of the operating systems.
    /// Paths are then those within GRUB's file system
    #[arg(long, value_name = "FILE")]
    standalone: Option<PathBuf>,
}

/// Why the command ends without success.
pub(crate) enum Failure {
    /// Already reported.
    Findings,
    /// Wrong usage that clap cannot see.
    Usage(String),
    /// Operation, path and reason.
    Io(String),
    /// What Shoji says, or that there is none.
    Shoji(String),
}

impl Failure {
    fn io(verb: &str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io(format!("cannot {verb} {}: {error}", path.display()))
    }
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Config(ConfigCommand::Check { file, json }) => check(&file, json),
        Command::Config(ConfigCommand::Build { file, output }) => build(&file, output),
        Command::Config(ConfigCommand::Show { file, json }) => show(&file, json),
        Command::Key(KeyCommand::New { file }) => new_key(&file),
        Command::GrubEntry(options) => grub_entry(options),
        Command::Guest(command) => inside::perform(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Findings) => ExitCode::from(1),
        Err(Failure::Usage(message)) => fail(2, &message),
        Err(Failure::Io(message)) => fail(3, &message),
        Err(Failure::Shoji(message)) => fail(4, &message),
    }
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("shoji: {message}");
    ExitCode::from(status)
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let (config, report) = load(file).map_err(Failure::io("read", file))?;
    let name = file.display().to_string();
    if json {
        print(report.to_json(&name))?;
    } else {
        eprint!("{}", report.to_text(&name));
        if let Some(config) = &config {
            print(format!("{name}: good, {}", summary(config)))?;
        }
    }
    config.map(|_| ()).ok_or(Failure::Findings)
}

/// Loads a good configuration; findings go to standard error.
fn good(file: &Path) -> Result<Config, Failure> {
    let (config, report) = load(file).map_err(Failure::io("read", file))?;
    eprint!("{}", report.to_text(&file.display().to_string()));
    config.ok_or(Failure::Findings)
}

fn build(file: &Path, output: Option<PathBuf>) -> Result<(), Failure> {
    let output = output.unwrap_or_else(|| file.with_extension("conf"));
    if output == file {
        return Err(Failure::Usage(format!("{} would be overwritten; name the result with -o", file.display())));
    }
    let config = good(file)?;
    let blob = config::encode(&config).map_err(|error| Failure::Io(error.to_string()))?;
    replace(&output, &blob).map_err(Failure::io("write", &output))?;
    print(format!("{}: {} bytes, {}", output.display(), blob.len(), summary(&config)))
}

fn show(file: &Path, json: bool) -> Result<(), Failure> {
    let config = good(file)?;
    if json { print(show::to_json(&config)) } else { print(show::to_toml(&config).trim_end()) }
}

fn new_key(file: &Path) -> Result<(), Failure> {
    keys::create(file).map_err(Failure::io("make", file))?;
    print(format!("{}: 64 random bytes; keep a copy in a safe place, without it the data is lost", file.display()))
}

fn grub_entry(options: GrubEntry) -> Result<(), Failure> {
    let entry = grub::Entry { image: options.image, config: options.config, timeout_s: options.timeout };
    let text = match options.standalone {
        None => grub::script(&entry),
        Some(file) => {
            let entries = fs::read_to_string(&file).map_err(Failure::io("read", &file))?;
            grub::standalone(&entry, &entries)
        }
    };
    print(text.trim_end())
}

fn summary(config: &Config) -> String {
    match config.disks.len() {
        1 => "1 disk rule".into(),
        rules => format!("{rules} disk rules"),
    }
}

/// Writes a file that only its owner may read. A power cut leaves the old file or the new one, never half of it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
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
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Prints a line; a closed pipe is an error value here, not a panic.
fn print(text: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text:#}").map_err(|error| Failure::Io(format!("cannot write the result: {error}")))
}
