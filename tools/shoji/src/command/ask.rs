//! What opens a locked configuration, or shall open it: from the terminal without echo, or from files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use config::{Config, Cost, Credential, Envelope, Locked, Login, RAW_KEY_BYTES, RecoveryKey};
use shoji::{keys, lock};
use zeroize::Zeroizing;

use super::{Failure, print};

/// What opens the configuration that is there.
#[derive(Args, Default)]
#[group(multiple = false)]
pub struct Unlock {
    /// Open it with the pass phrase in FILE [default: ask for it]
    #[arg(long, value_name = "FILE")]
    unlock_pass_phrase_file: Option<PathBuf>,
    /// Ask for the recovery key
    #[arg(long)]
    unlock_recovery_key: bool,
    /// Open it with the recovery key in FILE
    #[arg(long, value_name = "FILE")]
    unlock_recovery_key_file: Option<PathBuf>,
    /// Open it with the key file FILE
    #[arg(long, value_name = "FILE")]
    unlock_raw_key_file: Option<PathBuf>,
}

impl Unlock {
    /// Whether something was given.
    pub fn is_given(&self) -> bool {
        let files = [&self.unlock_pass_phrase_file, &self.unlock_recovery_key_file, &self.unlock_raw_key_file];
        self.unlock_recovery_key || files.into_iter().any(Option::is_some)
    }

    /// Opens it.
    pub fn open(&self, locked: &Locked, file: &Path) -> Result<(Config, Envelope), Failure> {
        let what;
        let result = if let Some(path) = &self.unlock_raw_key_file {
            what = "the key file";
            let key = read_raw_key(path)?;
            locked.unlock(Credential::RawKey(&key))
        } else if self.unlock_recovery_key || self.unlock_recovery_key_file.is_some() {
            what = "the recovery key";
            let text = match &self.unlock_recovery_key_file {
                Some(path) => read_line(path)?,
                None => ask(&format!("Recovery key of {}: ", file.display()))?,
            };
            let key = RecoveryKey::parse(text.as_bytes()).map_err(|error| Failure::Refused(error.to_string()))?;
            locked.unlock(Credential::RecoveryKey(&key))
        } else {
            what = "the pass phrase";
            let text = match &self.unlock_pass_phrase_file {
                Some(path) => read_line(path)?,
                None => ask(&format!("Pass phrase of {}: ", file.display()))?,
            };
            lock::with_memory(locked.argon2_blocks(), "Trying the pass phrase", |memory| {
                locked.unlock(Credential::PassPhrase(text.as_bytes(), memory))
            })
            .map_err(Failure::Refused)?
        };
        result.map_err(|error| Failure::Refused(format!("{} stays locked by {what}: {error}", file.display())))
    }
}

/// What shall open the configuration from now on.
#[derive(Args, Default)]
pub struct NewSlots {
    /// Ask for a pass phrase
    #[arg(long, conflicts_with = "pass_phrase_file")]
    pass_phrase: bool,
    /// Take the pass phrase from the first line of FILE
    #[arg(long, value_name = "FILE")]
    pass_phrase_file: Option<PathBuf>,
    /// Make a recovery key, which is printed once
    #[arg(long)]
    recovery_key: bool,
    /// Take the 32 to 64 raw bytes of FILE; GRUB may load it after the configuration. For tests
    #[arg(long, value_name = "FILE")]
    raw_key_file: Option<PathBuf>,
    /// Name of the slot in lists
    #[arg(long)]
    name: Option<String>,
}

impl NewSlots {
    /// How many slots are asked for.
    pub fn count(&self) -> usize {
        let phrase = self.pass_phrase || self.pass_phrase_file.is_some();
        [phrase, self.recovery_key, self.raw_key_file.is_some()].into_iter().filter(|given| *given).count()
    }

    /// Adds them; gives the recovery key that was made, for [`print_recovery_key`] once the file is written.
    pub fn add_to(&self, envelope: &mut Envelope, login: &Login) -> Result<Option<RecoveryKey>, Failure> {
        let cost = Cost { memory_mib: login.memory_mib, passes: login.passes };
        if self.name.is_some() && self.count() > 1 {
            return Err(Failure::Usage("`--name` is for one slot; add the others by `shoji config add-slot`".into()));
        }
        let name = |default| self.name.as_deref().unwrap_or(default);
        if self.pass_phrase || self.pass_phrase_file.is_some() {
            let text = new_pass_phrase(self.pass_phrase_file.as_deref())?;
            with_pass_phrase(&text, cost, |credential| lock::add(envelope, name("pass phrase"), credential, cost))?;
        }
        if let Some(path) = &self.raw_key_file {
            let key = read_raw_key(path)?;
            lock::add(envelope, name("key file"), Credential::RawKey(&key), cost).map_err(Failure::Refused)?;
        }
        if !self.recovery_key {
            return Ok(None);
        }
        let key = lock::new_recovery_key().map_err(Failure::Refused)?;
        lock::add(envelope, name("recovery key"), Credential::RecoveryKey(&key), cost).map_err(Failure::Refused)?;
        Ok(Some(key))
    }
}

/// Shows a recovery key; it is nowhere else.
pub fn print_recovery_key(key: Option<&RecoveryKey>) -> Result<(), Failure> {
    let Some(key) = key else { return Ok(()) };
    let text = key.to_text();
    print("\nThe recovery key, shown only now; write it on paper and keep it away from the machine:\n")?;
    print(Zeroizing::new(format!("    {}\n", text.as_str())).as_str())
}

/// Does with a pass phrase what takes memory.
pub fn with_pass_phrase(
    text: &str,
    cost: Cost,
    work: impl FnOnce(Credential<'_>) -> Result<(), String>,
) -> Result<(), Failure> {
    lock::with_memory(cost.blocks(), "Wrapping the key by the pass phrase", |memory| {
        work(Credential::PassPhrase(text.as_bytes(), memory))
    })
    .and_then(|done| done)
    .map_err(Failure::Refused)
}

/// A pass phrase that is there already.
#[derive(Args, Default)]
#[group(multiple = false)]
pub struct TryPassPhrase {
    /// Ask for a pass phrase, and see whether it opens it
    #[arg(long)]
    pass_phrase: bool,
    /// See whether the pass phrase in the first line of FILE opens it
    #[arg(long, value_name = "FILE")]
    pass_phrase_file: Option<PathBuf>,
}

impl TryPassPhrase {
    /// The pass phrase of `what`, if there is one to try; one that cannot be typed at the login is none.
    pub fn text(&self, what: &str) -> Result<Option<Zeroizing<String>>, Failure> {
        let text = match &self.pass_phrase_file {
            Some(path) => read_line(path)?,
            None if self.pass_phrase => ask(&format!("Pass phrase of {what}: "))?,
            None => return Ok(None),
        };
        lock::check_typable(&text).map_err(Failure::Refused)?;
        Ok(Some(text))
    }
}

/// A pass phrase that can be typed at the login: from a file, or typed twice.
pub fn new_pass_phrase(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let text = match file {
        Some(path) => read_line(path)?,
        None => {
            let text = ask("New pass phrase: ")?;
            if *ask("Once more: ")? != *text {
                return Err(Failure::Refused("the two pass phrases differ; try again".into()));
            }
            text
        }
    };
    lock::check_pass_phrase(&text).map_err(Failure::Refused)?;
    Ok(text)
}

/// Asks without echo.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        let remedy = "run it in a terminal, or name a file: see --help";
        Failure::Io(format!("cannot ask, there is no terminal ({error}); {remedy}"))
    })
}

/// The first line of a file.
fn read_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    const ENOUGH: usize = 4096;
    let bytes = keys::read_bytes(path, ENOUGH).map_err(Failure::io("read", path))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text =
        std::str::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into()).map_err(Failure::io("read", path))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read_raw_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let key = keys::read_bytes(path, RAW_KEY_BYTES.end() + 1).map_err(Failure::io("read", path))?;
    if !RAW_KEY_BYTES.contains(&key.len()) {
        let (path, least, most) = (path.display(), RAW_KEY_BYTES.start(), RAW_KEY_BYTES.end());
        let message =
            format!("{path} is no key file: it must have {least} to {most} bytes; make one with `shoji key new`");
        return Err(Failure::Refused(message));
    }
    Ok(key)
}
