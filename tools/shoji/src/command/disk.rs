//! `shoji disk`: LUKS2 volumes, outside of the guest.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use luks2::{Cost, Header, ReadError};
use serde_json::Value;
use shoji::disk::{Device, Mode, identify, loss, luks};
use shoji::{form, keys, lock};

use super::ask::{TryPassPhrase, new_pass_phrase};
use super::disk_status::status;
use super::header_at::HeaderAt;
use super::{Failure, print, replace};

#[derive(Subcommand)]
pub enum DiskCommand {
    /// Make a LUKS2 volume: header, volume key and a pass phrase. What the partition holds is lost
    ///
    /// `cryptsetup` opens it, too. The header takes the first 16 MiB, so the file system in it must be 16 MiB smaller
    /// than the partition; a detached header takes none. --header-file makes the file, 4 MiB long.
    Init {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        header: HeaderAt,
        #[command(flatten)]
        new: NewVolume,
        #[command(flatten)]
        consent: Consent,
    },
    /// See whether Shoji opens a LUKS2 volume, and print the rule for the configuration
    Adopt {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        header: HeaderAt,
        #[command(flatten)]
        words: Words,
        /// Write it to the end of FILE instead
        #[arg(long, value_name = "FILE")]
        append_to: Option<PathBuf>,
        #[command(flatten)]
        phrase: TryPassPhrase,
    },
    /// Say what a disk, partition or header file holds, and how its LUKS2 header is
    Status {
        #[command(flatten)]
        at: At,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Copy the header with its key slots to a file, as `cryptsetup luksHeaderBackup` does
    ///
    /// Whoever has the copy can try pass phrases on it, also those that were changed since.
    HeaderBackup {
        #[command(flatten)]
        at: At,
        /// File to be made
        file: PathBuf,
    },
    /// Put back a header from a file. Pass phrases that were set since are lost
    HeaderRestore {
        #[command(flatten)]
        at: At,
        /// Copy of the header
        file: PathBuf,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Which run of bytes.
#[derive(Args)]
pub struct At {
    /// Image file, disk or partition; for status, header-backup and header-restore a header file, too
    pub device: PathBuf,
    /// Number of the partition [default: the whole]
    #[arg(short, long)]
    pub partition: Option<u32>,
}

impl At {
    pub fn open(&self, mode: Mode) -> Result<Device, Failure> {
        Device::open(&self.device, self.partition, mode).map_err(Failure::Io)
    }
}

/// What a rule says that the disk may not tell.
#[derive(Args)]
pub struct Words {
    /// Name of the rule
    #[arg(long, default_value = "volume")]
    name: String,
    /// Model of the disk [default: as the kernel knows it]
    #[arg(long)]
    model: Option<String>,
    /// Serial number of the disk [default: as the kernel knows it]
    #[arg(long)]
    serial: Option<String>,
}

#[derive(Args)]
pub struct NewVolume {
    /// Bytes of a crypto sector: 512, or 4096 on disks whose physical sectors have as many
    #[arg(long, default_value_t = 512, value_name = "BYTES")]
    sector_size: u32,
    /// Memory that trying a pass phrase takes
    #[arg(long, default_value = "256 MiB", value_name = "SIZE")]
    memory: String,
    /// How often Argon2id passes over it, 4 or more
    #[arg(long, default_value_t = 4)]
    passes: u32,
    /// Name of the volume, for people
    #[arg(long, default_value = "")]
    label: String,
    /// Take the pass phrase from the first line of FILE [default: ask for it]
    #[arg(long, value_name = "FILE")]
    pass_phrase_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct Consent {
    /// Go ahead: without it nothing is written
    #[arg(long)]
    yes: bool,
    /// Overwrite what is known to be something
    #[arg(long)]
    force: bool,
}

pub fn run(command: DiskCommand) -> Result<(), Failure> {
    match command {
        DiskCommand::Init { at, header, new, consent } => init(&at, &header, &new, &consent),
        DiskCommand::Adopt { at, header, words, append_to, phrase } => {
            check(&at, &header, &phrase)?;
            adopt(&at, &header, &words, append_to.as_deref())
        }
        DiskCommand::Status { at, json } => status(&at, json),
        DiskCommand::HeaderBackup { at, file } => backup(&at, &file),
        DiskCommand::HeaderRestore { at, file, consent } => restore(&at, &file, &consent),
    }
}

impl Consent {
    /// Whether `device` may lose what it holds; `what` is about to be done to it.
    fn check(&self, device: &Device, what: &str) -> Result<(), Failure> {
        let name = device.name();
        if let Some(held) = loss(device).filter(|_| !self.force) {
            return Err(Failure::Refused(format!(
                "{name} holds {held}; {what} destroys it; add --force if it may be lost"
            )));
        }
        self.confirm(&format!("{what} on {name}, {} MiB", device.len_bytes() >> 20))
    }

    fn confirm(&self, what: &str) -> Result<(), Failure> {
        let message = || Failure::Usage(format!("{what}: nothing was written; add --yes to go ahead"));
        self.yes.then_some(()).ok_or_else(message)
    }
}

fn init(at: &At, header: &HeaderAt, new: &NewVolume, consent: &Consent) -> Result<(), Failure> {
    let mebibytes = form::mebibytes(&new.memory);
    let memory_kib = mebibytes.and_then(|mib| mib.checked_mul(1024));
    let memory_kib = memory_kib.ok_or_else(|| {
        Failure::Usage("`--memory` is no size in MiB or GiB; write e.g. `--memory \"256 MiB\"`".into())
    })?;
    let cost = Cost { memory_kib, passes: new.passes };
    // Two handles would each want the disk for itself.
    let detached = header.open_old(at)?;
    let payload = at.open(Mode::Read)?;
    let room = match (&header.header_file, &detached) {
        (Some(_), _) => luks::Room::File,
        (None, Some(device)) => luks::Room::Device(device),
        (None, None) => luks::Room::Volume,
    };
    let plan = luks::Plan { label: &new.label, sector_bytes: new.sector_size, cost, room };
    let area_bytes = plan.area_bytes(&payload).map_err(Failure::Refused)?;
    plan.check(area_bytes).map_err(Failure::Refused)?;
    if new.sector_size < payload.sector_bytes() {
        let least = payload.sector_bytes();
        return Err(Failure::Refused(format!(
            "the sectors of {} have {least} bytes; add --sector-size {least}",
            payload.name()
        )));
    }
    consent.check(&payload, "making a LUKS2 volume")?;
    if let Some(header) = &detached {
        consent.check(header, "making a LUKS2 header")?;
    }
    let phrase = new_pass_phrase(new.pass_phrase_file.as_deref())?;
    let bytes = lock::with_memory(cost.blocks(), "Making the key slot", |memory| {
        luks::make(&plan, area_bytes, &phrase, memory)
    })
    .and_then(|made| made)
    .map_err(Failure::Refused)?;
    let name = match &header.header_file {
        Some(file) => file.display().to_string(),
        None => detached.as_ref().unwrap_or(&payload).name(),
    };
    drop((detached, payload));
    put(at, header, bytes, area_bytes)?;
    print(format!("{name}: a LUKS2 header, aes-xts-plain64, crypto sectors of {} bytes", new.sector_size))?;
    print("Keep a copy of the header (`shoji disk header-backup`): without it the data is lost.")?;
    print(format!("The rule for the configuration: `shoji disk adopt {}`", words(at, header)))
}

/// Writes a new header where it goes, zeros up to the end of its area.
fn put(at: &At, header: &HeaderAt, mut bytes: Vec<u8>, area_bytes: u64) -> Result<(), Failure> {
    let Some(file) = &header.header_file else {
        let number = header.header_partition.or(at.partition);
        let target = Device::open(&at.device, number, Mode::Write).map_err(Failure::Io)?;
        return write(&target, &bytes, luks::NEW_COPIES_BYTES, area_bytes);
    };
    bytes.resize(usize::try_from(area_bytes).unwrap_or(0), 0);
    replace(file, &bytes).map_err(Failure::io("write", file))
}

/// The arguments that name a volume.
fn words(at: &At, header: &HeaderAt) -> String {
    let mut words = at.device.display().to_string();
    if let Some(number) = at.partition {
        let _ = write!(words, " --partition {number}");
    }
    header.write_words(&mut words);
    words
}

fn write(device: &Device, bytes: &[u8], copies_bytes: u64, area_bytes: u64) -> Result<(), Failure> {
    let bar = ProgressBar::new(area_bytes).with_message("Writing the header");
    let done = luks::write(device, bytes, copies_bytes, area_bytes, &|at| bar.set_position(at));
    bar.finish_and_clear();
    done.map_err(|error| {
        let name = device.name();
        Failure::Io(format!("cannot write {name}: {error}; it may have no header now, so do the same once more"))
    })
}

fn read(device: &Device) -> Result<Header, Failure> {
    luks::read(device).map_err(|error| Failure::Refused(format!("{}: {error}", device.name())))
}

/// Does Shoji open it, by this pass phrase too if one is given?
fn check(at: &At, header: &HeaderAt, phrase: &TryPassPhrase) -> Result<(), Failure> {
    let payload = at.open(Mode::Read)?;
    let detached = header.open(at, Mode::Read)?;
    let device = detached.as_ref().unwrap_or(&payload);
    let found = read(device)?;
    if let Some(held) = luks::overwritten(device, &found) {
        return Err(Failure::Refused(format!(
            "{} holds {held}, and behind its beginning what is left of a LUKS2 header; if that is the volume wanted, put back \
             a copy of the header with `shoji disk header-restore --force`",
            device.name()
        )));
    }
    let refused = |why: String| Failure::Refused(format!("Shoji does not open {}: {why}", payload.name()));
    let segment = found.segment().map_err(refused)?;
    let header_bytes = if detached.is_some() { 0 } else { found.area_bytes() };
    segment.place(header_bytes, payload.len_bytes()).map_err(refused)?;
    let costs = found.costs().map_err(|error| refused(error.to_string()))?;
    if found.copies().primary.is_err() || found.copies().secondary.is_err() {
        eprintln!("One of the header's two copies is damaged: see `shoji disk status`.");
    }
    if let Some(text) = phrase.text(&payload.name())? {
        let mut read = |at, data: &mut [u8]| device.read_at(at, data).map_err(|error| error.to_string());
        let tried = lock::with_memory(found.argon2_blocks(), "Trying the pass phrase", |memory| {
            found.unlock(text.as_bytes(), memory, &mut read)
        });
        tried.map_err(Failure::Refused)?.map_err(|error| refused(error.to_string()))?;
        eprintln!("The pass phrase opens it.");
    }
    let mib = |kib: Option<u32>| kib.unwrap_or(0).div_ceil(1024);
    let (least, most) =
        (costs.iter().map(luks2::Kdf::memory_kib).min(), costs.iter().map(luks2::Kdf::memory_kib).max());
    eprintln!(
        "The login borrows {} MiB for its pass phrase: the machine needs as much RAM in one piece, and 128 MiB besides; with \
         {} MiB it can try a key slot.",
        mib(most),
        mib(least)
    );
    Ok(())
}

fn adopt(at: &At, header: &HeaderAt, words: &Words, append_to: Option<&Path>) -> Result<(), Failure> {
    let rule = rule(at, header, words, append_to)?;
    if let Some(advice) = header.advice()? {
        eprintln!("{advice}");
    }
    match append_to {
        None => print(rule.trim_end()),
        Some(file) => {
            let mut out = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(file)
                .map_err(Failure::io("write", file))?;
            out.write_all(format!("\n{rule}").as_bytes()).map_err(Failure::io("write", file))?;
            print(format!("{}: the rule is at its end; see `shoji config check {0}`", file.display()))
        }
    }
}

/// The TOML rule of a volume. One that goes `to` a file is complete.
fn rule(at: &At, header: &HeaderAt, words: &Words, to: Option<&Path>) -> Result<String, Failure> {
    for (option, text) in
        [("name", Some(&words.name)), ("model", words.model.as_ref()), ("serial", words.serial.as_ref())]
    {
        text.map_or(Ok(()), |text| config::check_text(text))
            .map_err(|why| Failure::Usage(format!("`--{option}` {why}")))?;
    }
    let identity = identify(&at.device);
    let incomplete = |what: &str| match to {
        Some(file) => Err(Failure::Refused(format!("{what}; nothing was written to {}", file.display()))),
        None => {
            eprintln!("{what}: write it into the rule.");
            Ok(())
        }
    };
    // JSON and TOML have the same escapes for what a model can be.
    let pair = |key, value: Option<String>| value.map(|value| format!("{key} = {}", Value::String(value)));
    let known: Vec<String> = [
        pair("model", words.model.clone().or(identity.model)),
        pair("serial", words.serial.clone().or(identity.serial)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let disk = if known.is_empty() {
        incomplete("The disk's model and serial number are not known here")?;
        "serial = \"...\"".to_owned()
    } else {
        known.join(", ")
    };
    let range = match at.partition.or(identity.partition) {
        Some(number) => format!("partition = {number}"),
        None => {
            incomplete("Which partition of its disk it is, is not known here")?;
            "partition = ...".to_owned()
        }
    };
    let name = Value::String(words.name.clone());
    let mut text = format!("[[disk]]\nname = {name}\ndisk = {{ {disk} }}\nrange = {{ {range} }}\nformat = \"luks2\"\n");
    text += &header.rule_line()?;
    Ok(text)
}

fn backup(at: &At, file: &Path) -> Result<(), Failure> {
    let device = at.open(Mode::Read)?;
    let header = read(&device)?;
    let bytes = luks::bytes(&device, &header)
        .map_err(|error| Failure::Io(format!("cannot read {}: {error}", device.name())))?;
    if fs::symlink_metadata(file).is_ok() {
        return Err(Failure::Io(format!("cannot make {}: it exists; name another file", file.display())));
    }
    replace(file, &bytes).map_err(Failure::io("write", file))?;
    if header.copies().primary.is_err() || header.copies().secondary.is_err() {
        eprintln!(
            "One of the header's two copies is damaged, in the file too; `header-restore` makes it anew from the other."
        );
    }
    if let Err(why) = header.segment() {
        eprintln!("The header is not a usual one ({why}): with this copy the volume may not open later.");
    }
    print(format!("{}: {} bytes, the header of {}", file.display(), bytes.len(), device.name()))
}

/// Is a header missed where this one is to go? Else what there is instead.
fn check_place(device: &Device, saved: &Header) -> Result<(), String> {
    let present = luks::read(device);
    if let Some(held) = present.as_ref().ok().and_then(|present| luks::overwritten(device, present)) {
        return Err(format!("holds {held}"));
    }
    match present {
        Ok(present) if present.is_same_volume(saved) => Ok(()),
        Ok(present) if present.segment().is_err() || saved.segment().is_err() => {
            Err("has a header that is in the middle of a reencryption or otherwise unusual, or the copy is".into())
        }
        Ok(present) if present.uuid() == saved.uuid() => {
            Err("has a header with the same UUID, but of another volume key, place or size".into())
        }
        Ok(present) => Err(format!("has the header of another volume, UUID {}, not {}", present.uuid(), saved.uuid())),
        // Its own damaged header is what a copy is for.
        Err(ReadError::Damaged { .. }) if luks::has_uuid(device, saved.uuid()) => Ok(()),
        Err(ReadError::Damaged { .. }) => {
            Err(format!("has a damaged header of which no copy has the UUID {}", saved.uuid()))
        }
        Err(_) => match loss(device) {
            Some(held) => Err(format!("holds {held}")),
            None if saved.is_detached() => {
                Err("has no header, and the copy is of a detached one, which is not at the \
                                                beginning of its volume"
                    .into())
            }
            None => Ok(()),
        },
    }
}

/// What is wrong with a copy, without the advice that is meant for a volume.
fn cause(error: &ReadError) -> String {
    match error {
        ReadError::NotLuks => "it does not begin with the magic of LUKS".into(),
        ReadError::Luks1 => "it is LUKS1".into(),
        ReadError::Damaged { primary, secondary } => format!("primary: {primary}; secondary: {secondary}"),
    }
}

fn restore(at: &At, file: &Path, consent: &Consent) -> Result<(), Failure> {
    const MOST: usize = 160 << 20;
    let mut bytes = keys::read_bytes(file, MOST).map_err(Failure::io("read", file))?;
    let copy = Device::open(file, None, Mode::Read).map_err(Failure::Io)?;
    let name = file.display();
    let saved = luks::read(&copy).map_err(|error| {
        Failure::Refused(format!("{name} is no copy of a LUKS2 header that can be used: {}", cause(&error)))
    })?;
    let area_bytes = saved.area_bytes();
    let Some(bytes) = usize::try_from(area_bytes).ok().and_then(|len| bytes.get_mut(..len)) else {
        return Err(Failure::Refused(format!("{name} ends within its key slots; take another copy")));
    };
    saved.mend(bytes);
    let device = at.open(Mode::Read)?;
    if area_bytes > device.len_bytes() {
        return Err(Failure::Refused(format!(
            "{} is smaller than the header in {name}; name the right partition",
            device.name()
        )));
    }
    if !consent.force {
        check_place(&device, &saved).map_err(|why| {
            Failure::Refused(format!("{} {why}; add --force if what it holds may be lost", device.name()))
        })?;
    }
    consent.confirm(&format!("putting back the header of volume {} on {}", saved.uuid(), device.name()))?;
    drop(device);
    let device = at.open(Mode::Write)?;
    write(&device, bytes, 2 * saved.copy_bytes(), area_bytes)?;
    read(&device)?;
    print(format!("{}: the header from {name} is back", device.name()))
}
