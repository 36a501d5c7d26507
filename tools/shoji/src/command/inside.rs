//! The commands that ask the Shoji under the operating system that they run in.

use super::{Failure, print};
use abi::log::Level;
use abi::shell::CLIENT_BYTES;
use clap::{Args, Subcommand, ValueEnum};
use config::SHELL_KEY_BYTES;
use dbgsh::SharedKey;
use hypercall::Shoji;
use rustyline::error::ReadlineError;
use shoji::guest::journal::Journal;
use shoji::guest::log::{self, Lines, LogError, Output, PERIOD};
use shoji::guest::shell::Session;
use shoji::guest::{prometheus, status};
use shoji::keys;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::thread;

#[derive(Subcommand)]
pub enum Command {
    /// Show what the Shoji under this system is doing
    Status(Status),
    /// Show Shoji's log
    Log(Log),
    /// Talk to the shell in Shoji, line by line; `help` tells what it knows
    Sh(Sh),
}

#[derive(Args)]
pub struct Status {
    /// Print one JSON object
    #[arg(long, conflicts_with = "prometheus")]
    json: bool,
    /// Print metrics in Prometheus' text form
    #[arg(long)]
    prometheus: bool,
}

#[derive(Args)]
pub struct Log {
    /// Go on with what comes; looks ten times a second
    #[arg(short, long)]
    follow: bool,
    /// Leave out what matters less
    #[arg(long, value_enum, default_value = "debug")]
    level: LevelName,
    /// Show what a defect in Shoji's last run has left, if there was one
    #[arg(long, conflicts_with_all = ["follow", "journal", "level"])]
    previous: bool,
    /// Write it to this system's journal (or syslog) instead, what is not yet there
    #[arg(long)]
    journal: bool,
}

#[derive(Args)]
pub struct Sh {
    /// The key of [dbgsh] in Shoji's configuration
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Carry out this line only; may be given several times
    #[arg(short, value_name = "LINE")]
    command: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LevelName {
    Error,
    Warn,
    Info,
    Debug,
}

impl LevelName {
    fn level(self) -> Level {
        match self {
            Self::Error => Level::Error,
            Self::Warn => Level::Warn,
            Self::Info => Level::Info,
            Self::Debug => Level::Debug,
        }
    }
}

/// Carries out one of them.
pub fn perform(command: Command) -> Result<(), Failure> {
    let vmm = Shoji::find().map_err(|absent| Failure::Shoji(absent.to_string()))?;
    match command {
        Command::Status(options) => show_status(&vmm, &options),
        Command::Sh(options) => shell(&vmm, &options),
        Command::Log(options) if options.previous => show_previous(&vmm),
        Command::Log(options) => show_log(&vmm, &options),
    }
}

fn refused(name: &'static str) -> impl Fn(abi::hypercall::Error) -> Failure {
    move |error| Failure::Shoji(format!("{name}: {error}"))
}

fn show_status(vmm: &Shoji, options: &Status) -> Result<(), Failure> {
    let status = status::ask(vmm).map_err(refused("status"))?;
    match options {
        Status { json: true, .. } => print(status::to_json(&status)),
        Status { prometheus: true, .. } => print(prometheus::to_text(&status).trim_end()),
        _ => print(status::to_text(&status).trim_end()),
    }
}

fn show_previous(vmm: &Shoji) -> Result<(), Failure> {
    let text = log::previous(vmm).map_err(refused("log"))?;
    if text.is_empty() { print("Shoji's last run has left no record of a defect.") } else { print(text.trim_end()) }
}

fn show_log(vmm: &Shoji, options: &Log) -> Result<(), Failure> {
    let ended = if options.journal {
        let journal = Journal::open().map_err(|error| Failure::Io(error.to_string()))?;
        copy(vmm, options, journal.position(), journal)
    } else {
        copy(vmm, options, 0, Lines(io::stdout().lock()))
    };
    match ended {
        Ok(()) => Ok(()),
        // Whoever reads has seen enough.
        Err(LogError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(LogError::Output(error)) => Err(Failure::Io(format!("cannot write the log: {error}"))),
        Err(LogError::Shoji(error)) => Err(refused("log")(error)),
    }
}

fn copy(vmm: &Shoji, options: &Log, mut from: u64, mut output: impl Output) -> Result<(), LogError> {
    loop {
        from = log::copy(vmm, from, options.level.level(), &mut output)?;
        if !options.follow {
            return Ok(());
        }
        thread::sleep(PERIOD);
    }
}

fn shell(vmm: &Shoji, options: &Sh) -> Result<(), Failure> {
    let file =
        keys::read(&options.key_file, SHELL_KEY_BYTES).map_err(|why| Failure::Io(format!("--key-file {why}")))?;
    if file.exposed {
        eprintln!("shoji: warning: others may read {}; make it yours alone", options.key_file.display());
    }
    let key = SharedKey::new(file.bytes).ok_or_else(|| Failure::Io("the key is too short".into()))?;
    let mut client = [0; CLIENT_BYTES];
    getrandom::fill(&mut client).map_err(|error| Failure::Io(format!("no random numbers: {error}")))?;
    let refused = |error| Failure::Shoji(format!("sh: {error}"));
    let mut session = Session::open(vmm, &key, client).map_err(refused)?;
    let mut perform = |line: &str| show_text(&session.line(vmm, line).map_err(refused)?);
    if !options.command.is_empty() {
        return options.command.iter().try_for_each(|line| perform(line));
    }
    let mut editor = rustyline::DefaultEditor::new().map_err(|error| Failure::Io(error.to_string()))?;
    loop {
        match editor.readline("shoji> ") {
            Ok(line) if line.trim() == "exit" => return Ok(()),
            Ok(line) => {
                // The history ends with the program: lines may hold what is nobody else's.
                let _ = editor.add_history_entry(&line);
                perform(&line)?;
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(Failure::Io(error.to_string())),
        }
    }
}

fn show_text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    shown.map_err(|error| Failure::Io(format!("cannot write the result: {error}")))
}
