//! `shoji config add-slot`, `remove-slot`, `change`: the ways to open a locked configuration.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use config::{Config, Cost, Envelope, Opened, SlotError};
use shoji::lock;

use super::Failure;
use super::ask::{NewSlots, Unlock, new_pass_phrase, print_recovery_key, with_pass_phrase};
use super::config::{good, write};

#[derive(Subcommand)]
pub enum SlotCommand {
    /// Add a way to open a locked configuration
    AddSlot {
        /// Locked configuration
        file: PathBuf,
        #[command(flatten)]
        new: NewSlots,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Remove a way to open a locked configuration
    ///
    /// Whoever has a copy of the older file and knows what opened it still has the keys in it. The last slot stays.
    RemoveSlot {
        /// Locked configuration
        file: PathBuf,
        /// Number of the slot, as `shoji config show` tells it
        slot: usize,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// Change the pass phrase of a locked configuration: that of the slot that it was opened by
    Change {
        /// Locked configuration
        file: PathBuf,
        /// Take the new pass phrase from the first line of FILE [default: ask for it]
        #[arg(long, value_name = "FILE")]
        pass_phrase_file: Option<PathBuf>,
        #[command(flatten)]
        unlock: Unlock,
    },
}

pub fn run(command: SlotCommand) -> Result<(), Failure> {
    match command {
        SlotCommand::AddSlot { file, new, unlock } => add(&file, &new, &unlock),
        SlotCommand::RemoveSlot { file, slot, unlock } => remove(&file, slot, &unlock),
        SlotCommand::Change { file, pass_phrase_file, unlock } => change(&file, pass_phrase_file.as_deref(), &unlock),
    }
}

fn open(file: &Path, unlock: &Unlock) -> Result<(Config, Envelope), Failure> {
    match good(file)? {
        Opened::Locked(locked) => unlock.open(&locked, file),
        Opened::Plain(_) => {
            let name = file.display();
            let message = format!("{name} is not locked; lock it by `shoji config build TOML -o {name} --pass-phrase`");
            Err(Failure::Usage(message))
        }
    }
}

fn add(file: &Path, new: &NewSlots, unlock: &Unlock) -> Result<(), Failure> {
    if new.count() == 0 {
        let message = "say what shall open it: --pass-phrase, --pass-phrase-file, --recovery-key or --raw-key-file";
        return Err(Failure::Usage(message.into()));
    }
    let (config, mut envelope) = open(file, unlock)?;
    let recovery = new.add_to(&mut envelope, &config.login)?;
    write(&envelope, &config, file)?;
    print_recovery_key(recovery.as_ref())
}

fn remove(file: &Path, slot: usize, unlock: &Unlock) -> Result<(), Failure> {
    let (config, mut envelope) = open(file, unlock)?;
    slot.checked_sub(1)
        .ok_or(SlotError::Absent)
        .and_then(|index| envelope.remove(index))
        .map_err(|error| Failure::Refused(format!("slot {slot} of {}: {error}", file.display())))?;
    write(&envelope, &config, file)
}

fn change(file: &Path, new: Option<&Path>, unlock: &Unlock) -> Result<(), Failure> {
    let (config, mut envelope) = open(file, unlock)?;
    let opened =
        envelope.opened().filter(|at| envelope.slots().get(*at).is_some_and(|slot| slot.method.cost().is_some()));
    let Some(index) = opened else {
        let message = "open it with the pass phrase that shall be changed; after another key opened it, use `add-slot \
                       --pass-phrase` and `remove-slot`";
        return Err(Failure::Usage(message.into()));
    };
    let text = new_pass_phrase(new)?;
    let cost = Cost { memory_mib: config.login.memory_mib, passes: config.login.passes };
    with_pass_phrase(&text, cost, |credential| lock::replace(&mut envelope, index, credential, cost))?;
    write(&envelope, &config, file)
}
