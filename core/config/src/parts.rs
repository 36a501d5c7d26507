//! What the entries of a blob are gathered in, and how they are written.

use alloc::vec::Vec;

use crate::blob::BlobError;
use crate::entry::{self, Entries, Kind};
use crate::network::NetworkRule;
use crate::schema::{Boot, Config, Dbgsh, Debug, DiskRule, GuestCalls, Log, Login, Memory, Public};
use crate::slot::{MAX_SLOTS, Slot};
use crate::validate::MAX_DISK_RULES;
use crate::validate_network::MAX_NETWORK_RULES;

/// Entries of all kinds, as they come.
#[derive(Default)]
pub struct Parts<'a> {
    memory: Option<Memory>,
    boot: Option<Boot>,
    log: Option<Log>,
    login: Option<Login>,
    guest_calls: Option<GuestCalls>,
    debug: Option<Debug>,
    pub disks: Vec<DiskRule>,
    pub dbgsh: Option<Dbgsh>,
    pub networks: Vec<NetworkRule>,
    pub slots: Vec<Slot>,
    pub sealed: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Reads entries up to the end. Kinds that are not `allowed` are refused.
    pub fn read(entries: &'a [u8], allowed: fn(Kind) -> bool) -> Result<Self, BlobError> {
        // Never reallocated, so no copy of a key stays behind.
        let rules = Entries(entries).flatten().filter(|entry| matches!(entry.kind, Kind::Disk));
        let room = rules.take(MAX_DISK_RULES.saturating_add(1)).count();
        let (mut parts, mut entries) = (Self { disks: Vec::with_capacity(room), ..Self::default() }, Entries(entries));
        while let Some(entry) = entries.next() {
            let entry = entry?;
            match entry.kind {
                kind if !allowed(kind) => return Err(kind.malformed()),
                Kind::Memory => entry.decode_once(&mut parts.memory)?,
                Kind::Boot => entry.decode_once(&mut parts.boot)?,
                Kind::Log => entry.decode_once(&mut parts.log)?,
                Kind::Login => entry.decode_once(&mut parts.login)?,
                Kind::GuestCalls => entry.decode_once(&mut parts.guest_calls)?,
                Kind::Debug => entry.decode_once(&mut parts.debug)?,
                // One too many is enough for `validate` to refuse.
                Kind::Disk if parts.disks.len() > MAX_DISK_RULES => {}
                Kind::Disk => parts.disks.push(entry.decode()?),
                Kind::Dbgsh => entry.decode_once(&mut parts.dbgsh)?,
                Kind::Network if parts.networks.len() > MAX_NETWORK_RULES => {}
                Kind::Network => parts.networks.push(entry.decode()?),
                Kind::Slot if parts.slots.len() == MAX_SLOTS => return Err(BlobError::TooManySlots),
                Kind::Slot => parts.slots.push(entry.decode()?),
                // It ends the blob, so that all before it can be authenticated with it.
                Kind::Sealed if !entries.0.is_empty() => return Err(Kind::Sealed.malformed()),
                Kind::Sealed => parts.sealed = Some(entry.payload),
            }
        }
        Ok(parts)
    }

    /// The public part; what is not there has its default.
    pub fn take_public(&mut self) -> Public {
        Public {
            memory: self.memory.take().unwrap_or_default(),
            boot: self.boot.take().unwrap_or_default(),
            log: self.log.take().unwrap_or_default(),
            login: self.login.take().unwrap_or_default(),
            guest_calls: self.guest_calls.take().unwrap_or_default(),
            debug: self.debug.take().unwrap_or_default(),
        }
    }
}

/// Appends the public part.
pub fn push_public(out: &mut Vec<u8>, config: &Config) -> Result<(), BlobError> {
    entry::push(out, Kind::Memory, &config.memory)?;
    entry::push(out, Kind::Boot, &config.boot)?;
    entry::push(out, Kind::Log, &config.log)?;
    entry::push(out, Kind::Login, &config.login)?;
    entry::push(out, Kind::GuestCalls, &config.guest_calls)?;
    entry::push(out, Kind::Debug, &config.debug)
}

/// Bytes of all entries, and more: a buffer of so many is never reallocated, so no copy of a key stays behind.
/// [`Kind::max_bytes`] leaves room for the entry's header.
pub fn room(config: &Config) -> usize {
    // Of the public part and the shell's key.
    const OTHERS: usize = 8;
    let small = config.disks.len().saturating_add(OTHERS).saturating_mul(Kind::Disk.max_bytes());
    config.networks.len().saturating_mul(Kind::Network.max_bytes()).saturating_add(small)
}

/// Appends the secret part.
pub fn push_secret(out: &mut Vec<u8>, config: &Config) -> Result<(), BlobError> {
    for rule in &config.disks {
        entry::push(out, Kind::Disk, rule)?;
    }
    config.dbgsh.iter().try_for_each(|dbgsh| entry::push(out, Kind::Dbgsh, dbgsh))?;
    config.networks.iter().try_for_each(|rule| entry::push(out, Kind::Network, rule))
}
