//! The locked form of a blob: the public part in clear, key slots, and the secret part, encrypted.
//!
//! The entries of a locked blob are those of the public part, one `Slot` for each way to open it (`slot.rs`), and at
//! the end one `Sealed`: a nonce of 24 bytes, the entries of the secret part encrypted by XChaCha20-Poly1305 under the
//! master key, and its tag of 16 bytes. All that is before the encrypted bytes is authenticated with them, the checksum
//! excepted: header, public part, slots.
//!
//! What is read before a slot is open may come from a thief of the disk. It cannot make this crate allocate more than
//! the blob is long, or try a pass phrase for longer than [`validate`](crate::validate()) allows; that it was altered
//! is seen as soon as a slot is open.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use argon2::Block;
use zeroize::Zeroizing;

use crate::blob::{self, BlobError};
use crate::entry::{self, Kind};
use crate::parts::{self, Parts};
use crate::recovery::RecoveryKey;
use crate::schema::{Config, Public};
use crate::slot::{
    self, Cost, Credential, MAX_SLOTS, NONCE_BYTES, Refused, SLOT_RANDOM_BYTES, SecretKey, Slot, TAG_BYTES,
};
use crate::validate::{self, Problem};

/// A blob that could be read.
pub enum Opened {
    /// Without slots: nothing is encrypted.
    Plain(Config),
    Locked(Locked),
}

impl Opened {
    /// What is known without a login.
    #[must_use]
    pub fn public(&self) -> Public {
        match self {
            Self::Plain(config) => config.public(),
            Self::Locked(locked) => locked.public.clone(),
        }
    }
}

/// A blob whose secret part is still encrypted. Holds no secret.
pub struct Locked {
    public: Public,
    slots: Vec<Slot>,
    counter: u64,
    /// What is authenticated with the secret part.
    bound: Vec<u8>,
    nonce: [u8; NONCE_BYTES],
    sealed: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

/// Why a locked blob does not open. Displayed as one sentence that ends with what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnlockError {
    /// No slot opens with it.
    Wrong,
    /// There is no slot for something of its kind.
    NoSlot,
    /// For one of the slots the memory was too small. `tried`: another one was tried, and does not open with it.
    Memory { needed_mib: u32, tried: bool },
    /// A slot is open, and what was authenticated with the secret part is not what it was.
    Altered,
    /// The secret part is as it was written, but this Shoji cannot use it.
    Blob(BlobError),
}

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong => f.write_str("it does not open the configuration; try again"),
            Self::NoSlot => f.write_str("the configuration has no slot of this kind; use another way to open it"),
            Self::Memory { needed_mib, tried: true } => write!(
                f,
                "it opens none of the slots that could be tried; another one takes {needed_mib} MiB of memory, more than \
                 there is; try again, or use the recovery key"
            ),
            Self::Memory { needed_mib, tried: false } => write!(
                f,
                "trying the pass phrase takes {needed_mib} MiB of memory, more than there is; use the recovery key, or \
                 set a pass phrase with less `memory` in `[login]` on another machine"
            ),
            Self::Altered => f.write_str(
                "the configuration was altered by somebody who could not open it; do not go on, look at who had the \
                 disk, and put back a copy",
            ),
            Self::Blob(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for UnlockError {}

/// Reads a blob of either form. The caller wipes `blob`, which may hold keys.
///
/// # Errors
/// Whatever the bytes are, a [`BlobError`] and never a panic.
pub fn open(blob: &[u8]) -> Result<Opened, BlobError> {
    let (counter, entries) = blob::read_header(blob)?;
    let mut parts = Parts::read(entries, |_| true)?;
    let public = parts.take_public();
    let Some(sealed) = parts.sealed else {
        if !parts.slots.is_empty() {
            return Err(Kind::Slot.malformed());
        }
        let config = Config::new(public, parts.disks, parts.dbgsh, parts.networks);
        blob::first_of(validate::validate(&config))?;
        return Ok(Opened::Plain(config));
    };
    if !parts.disks.is_empty() || parts.dbgsh.is_some() || !parts.networks.is_empty() {
        return Err(Kind::Disk.malformed());
    }
    blob::first_of(validate::validate_public(&public))?;
    if parts.slots.iter().any(|slot| validate::check_text(&slot.name).is_err()) {
        return Err(Kind::Slot.malformed());
    }
    if let Some(slot) = parts.slots.iter().position(|slot| !slot.is_bounded()) {
        return Err(BlobError::SlotCost { slot: slot.saturating_add(1) });
    }
    let split = sealed.split_first_chunk().and_then(|(nonce, rest)| Some((nonce, rest.split_last_chunk()?)));
    let Some((nonce, (sealed, tag))) = split.filter(|_| !parts.slots.is_empty()) else {
        return Err(Kind::Sealed.malformed());
    };
    let end = blob.len().saturating_sub(sealed.len()).saturating_sub(TAG_BYTES);
    let bound = bound(blob.get(..end).unwrap_or_default());
    let (nonce, tag, sealed, slots) = (*nonce, *tag, sealed.to_vec(), parts.slots);
    Ok(Opened::Locked(Locked { public, slots, counter, bound, nonce, sealed, tag }))
}

/// All but the checksum, which is made last.
fn bound(head: &[u8]) -> Vec<u8> {
    let mut bound = head.to_vec();
    bound.drain(blob::CHECKSUM);
    bound
}

impl Locked {
    /// What is known without a login. It may be forged until a slot was opened.
    #[must_use]
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// The ways to open it.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Rollback counter of the header.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Blocks of 1 KiB that [`Self::unlock_with_pass_phrase`] takes to try every slot; 0: none is for a pass phrase.
    #[must_use]
    pub fn argon2_blocks(&self) -> usize {
        self.slots.iter().filter_map(|slot| slot.method.cost()).map(Cost::blocks).max().unwrap_or_default()
    }

    /// Opens it with a pass phrase, of at most [`MAX_PASS_PHRASE_BYTES`](crate::MAX_PASS_PHRASE_BYTES). Slots that need more than `memory` are
    /// not tried. `memory` is wiped; the caller wipes `text`. Each slot for a pass phrase takes up to a minute.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock_with_pass_phrase(&self, text: &[u8], memory: &mut [Block]) -> Result<Config, UnlockError> {
        self.unlock(Credential::PassPhrase(text, memory)).map(|(config, _)| config)
    }

    /// Opens it with a recovery key.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock_with_recovery_key(&self, key: &RecoveryKey) -> Result<Config, UnlockError> {
        self.unlock(Credential::RecoveryKey(key)).map(|(config, _)| config)
    }

    /// Opens it with the content of a key file.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock_with_raw_key(&self, key: &[u8]) -> Result<Config, UnlockError> {
        self.unlock(Credential::RawKey(key)).map(|(config, _)| config)
    }

    /// Opens it, and tells by which slot and with what it can be written again.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock(&self, mut credential: Credential<'_>) -> Result<(Config, Envelope), UnlockError> {
        let (mut tried, mut needed) = (false, None);
        for (index, slot) in self.slots.iter().enumerate() {
            match slot.open(&mut credential) {
                Ok(master) => {
                    let config = self.read(&master)?;
                    let (slots, counter) = (self.slots.clone(), self.counter);
                    return Ok((config, Envelope { master, slots, counter, opened: Some(index) }));
                }
                Err(Refused::OtherMethod) => {}
                Err(Refused::Memory { needed_mib }) => needed = Some(needed_mib),
                Err(Refused::Wrong) => tried = true,
            }
        }
        Err(match needed {
            Some(needed_mib) => UnlockError::Memory { needed_mib, tried },
            None if tried => UnlockError::Wrong,
            None => UnlockError::NoSlot,
        })
    }

    /// The whole configuration.
    fn read(&self, master: &SecretKey) -> Result<Config, UnlockError> {
        let mut secret = Zeroizing::new(self.sealed.clone());
        slot::open(master, &self.nonce, &self.bound, &mut secret, &self.tag).ok_or(UnlockError::Altered)?;
        let parts = Parts::read(&secret, Kind::is_secret).map_err(UnlockError::Blob)?;
        let config = Config::new(self.public.clone(), parts.disks, parts.dbgsh, parts.networks);
        blob::first_of(validate::validate(&config)).map_err(UnlockError::Blob)?;
        Ok(config)
    }
}

/// What writes a locked blob: the master key and the slots.
pub struct Envelope {
    master: SecretKey,
    slots: Vec<Slot>,
    counter: u64,
    opened: Option<usize>,
}

/// Why a slot cannot be added or removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// There are [`MAX_SLOTS`] already.
    Full,
    /// There is no slot of this number.
    Absent,
    /// Without it nothing would open the configuration.
    Last,
    /// What shall open it, its name or its cost is not within bounds, or too little memory was given.
    Unfit,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "there are {MAX_SLOTS} slots already; remove one first"),
            Self::Absent => f.write_str("there is no slot of this number; `shoji config show` lists them"),
            Self::Last => f.write_str("it is the last slot, without which nothing opens the file; add another one first"),
            Self::Unfit => f.write_str(
                "a slot needs a name of printable ASCII, a pass phrase of at most 256 bytes or a key of 32 to 64 bytes, \
                 and the memory for it",
            ),
        }
    }
}

impl core::error::Error for SlotError {}

impl Envelope {
    /// Without slots yet. The master key is random; `counter` is that of the blob whose place the new one takes.
    #[must_use]
    pub fn new(master_key: &mut [u8; 32], counter: u64) -> Self {
        let master = SecretKey(Box::new(mem::take(master_key)));
        Self { master, slots: Vec::new(), counter, opened: None }
    }

    /// The ways to open what it writes.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot by which the blob was opened that this comes from.
    #[must_use]
    pub fn opened(&self) -> Option<usize> {
        self.opened
    }

    /// Adds a slot. `cost` is for a pass phrase; `random` is new for each slot.
    ///
    /// # Errors
    /// See [`SlotError`].
    pub fn add(
        &mut self,
        name: &str,
        credential: Credential<'_>,
        cost: Cost,
        random: [u8; SLOT_RANDOM_BYTES],
    ) -> Result<(), SlotError> {
        if self.slots.len() >= MAX_SLOTS {
            return Err(SlotError::Full);
        }
        let slot = self.new_slot(name, credential, cost, random)?;
        self.slots.push(slot);
        Ok(())
    }

    /// As [`Self::add`], in the place and with the name of a slot that is there, counted from 0.
    ///
    /// # Errors
    /// See [`SlotError`].
    pub fn replace(
        &mut self,
        index: usize,
        credential: Credential<'_>,
        cost: Cost,
        random: [u8; SLOT_RANDOM_BYTES],
    ) -> Result<(), SlotError> {
        let name = self.slots.get(index).ok_or(SlotError::Absent)?.name.clone();
        let slot = self.new_slot(&name, credential, cost, random)?;
        self.slots.get_mut(index).map(|old| *old = slot).ok_or(SlotError::Absent)
    }

    fn new_slot(
        &self,
        name: &str,
        mut credential: Credential<'_>,
        cost: Cost,
        random: [u8; SLOT_RANDOM_BYTES],
    ) -> Result<Slot, SlotError> {
        if validate::check_text(name).is_err() || validate::cost_problem(cost.memory_mib, cost.passes).is_some() {
            return Err(SlotError::Unfit);
        }
        Slot::new(name, &mut credential, cost, random, &self.master).map_err(|_| SlotError::Unfit)
    }

    /// Removes a slot, counted from 0. Who has a copy of the older blob still opens that one.
    ///
    /// # Errors
    /// See [`SlotError`].
    pub fn remove(&mut self, index: usize) -> Result<(), SlotError> {
        match self.slots.len() {
            length if index >= length => Err(SlotError::Absent),
            1 => Err(SlotError::Last),
            _ => {
                self.slots.remove(index);
                Ok(())
            }
        }
    }

    /// Writes a locked blob, its counter one up. `nonce` is random and new for each blob.
    ///
    /// # Errors
    /// What would not open again is not written: [`BlobError::Invalid`].
    pub fn encode(&self, config: &Config, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, BlobError> {
        blob::first_of(validate::validate(config))?;
        if self.slots.is_empty() {
            let message = "has no slot, so that nothing would open it; add one".into();
            return Err(BlobError::Invalid(Problem { rule: None, key: "slots", message }));
        }
        let mut secret = Zeroizing::new(Vec::with_capacity(parts::room(config)));
        parts::push_secret(&mut secret, config)?;
        let mut out = blob::new_header(self.counter.saturating_add(1));
        parts::push_public(&mut out, config)?;
        for slot in &self.slots {
            entry::push(&mut out, Kind::Slot, slot)?;
        }
        let payload = NONCE_BYTES.saturating_add(secret.len()).saturating_add(TAG_BYTES);
        entry::push_header(&mut out, Kind::Sealed, payload)?;
        out.extend(nonce);
        let length = out.len().saturating_add(secret.len()).saturating_add(TAG_BYTES);
        blob::set_length(&mut out, length);
        let failed = Kind::Sealed.malformed();
        let tag = slot::seal(&self.master, &nonce, &bound(&out), &mut secret).ok_or(failed)?;
        out.extend(secret.iter());
        out.extend(tag);
        blob::set_checksum(&mut out);
        Ok(out)
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
