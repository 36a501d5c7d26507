//! Key slots (section 3.2) and digests (section 3.4): from a pass phrase to the volume key.

use crate::af::{self, SPLIT_BYTES};
use crate::error::UnlockError;
use crate::hash::Hash;
use crate::header::Header;
use crate::metadata::{self, Digest, Keyslot, printable};
use crate::read::ReadAt;
use crate::segment::CIPHER;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use core::fmt;
use mediator::disk::SectorTransform;
use subtle::ConstantTimeEq;
use xts::Aes256Xts;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a volume key: data key, then tweak key of AES-XTS.
pub const VOLUME_KEY_BYTES: usize = 64;
/// Sectors of a key slot's area are numbered from 0 on.
const AREA_SECTOR_BYTES: usize = 512;
/// Alignment of a key slot's area.
const AREA_ALIGN: u64 = 4096;

/// Most memory of Argon2 in KiB, 4 GiB: as much as `cryptsetup` writes.
pub const MAX_ARGON2_KIB: u32 = 4 << 20;
/// Greatest product of memory and passes, 32 GiB: about a minute.
pub const MAX_ARGON2_KIB_PASSED: u64 = 32 << 20;
/// Most lanes.
const MAX_LANES: u32 = 64;
/// Most iterations of PBKDF2, about a minute.
const MAX_ITERATIONS: u32 = 50_000_000;
/// The same of a digest, seconds; `cryptsetup` spends an eighth of one.
const MAX_DIGEST_ITERATIONS: u32 = 4_000_000;

/// The key of a volume. Wiped when dropped, and boxed, so that a move leaves no copy.
pub struct VolumeKey(Box<Zeroizing<[u8; VOLUME_KEY_BYTES]>>);

impl VolumeKey {
    pub(crate) fn zero() -> Self {
        Self(Box::new(Zeroizing::new([0; VOLUME_KEY_BYTES])))
    }

    /// One that was made of random bytes, which are wiped.
    #[must_use]
    pub fn new(bytes: &mut [u8; VOLUME_KEY_BYTES]) -> Self {
        let mut key = Self::zero();
        key.0.copy_from_slice(bytes);
        bytes.zeroize();
        key
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8; VOLUME_KEY_BYTES] {
        &self.0
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; VOLUME_KEY_BYTES] {
        &mut self.0
    }
}

/// What a try costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kdf {
    /// `argon2i` or `argon2id`.
    Argon2 {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        independent: bool,
    },
    Pbkdf2 {
        iterations: u32,
        hash_bytes: usize,
    },
}

impl Kdf {
    /// Memory that it takes.
    #[must_use]
    pub fn memory_kib(&self) -> u32 {
        match self {
            Self::Argon2 { memory_kib, .. } => *memory_kib,
            Self::Pbkdf2 { .. } => 0,
        }
    }
}

impl fmt::Display for Kdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2 { memory_kib, passes, independent, .. } => {
                let name = if *independent { "Argon2i" } else { "Argon2id" };
                let (number, unit) = if *memory_kib < 1024 { (*memory_kib, "KiB") } else { (memory_kib >> 10, "MiB") };
                write!(f, "{name} over {number} {unit}, passes: {passes}")
            }
            Self::Pbkdf2 { iterations, .. } => write!(f, "PBKDF2, iterations: {iterations}"),
        }
    }
}

/// A key slot that this crate can try.
pub struct Slot<'a> {
    pub kdf: Kdf,
    /// Of PBKDF2.
    hash: Hash,
    salt: &'a [u8],
    area_at: u64,
    af: Hash,
    digest: &'a Digest,
    digest_hash: Hash,
    priority: u8,
}

/// All slots of the segment, those to be tried first in front. Priority 2 comes before 1, which is the usual one; 0 is
/// for whoever names the slot, and not usable here.
pub fn all(header: &Header) -> Vec<(u32, Result<Slot<'_>, String>)> {
    let keyslots = header.metadata.keyslots.0.iter();
    let mut slots: Vec<_> = keyslots.map(|(number, keyslot)| (*number, slot(header, *number, keyslot))).collect();
    slots.sort_by_key(|(number, slot)| (2u8.saturating_sub(slot.as_ref().map_or(0, |slot| slot.priority)), *number));
    slots
}

fn slot<'a>(header: &'a Header, number: u32, keyslot: &'a Keyslot) -> Result<Slot<'a>, String> {
    let unknown = |what: &str, found: &str| format!("key slot {number} has {what} `{}`", printable(found));
    if keyslot.kind != "luks2" {
        return Err(unknown("type", &keyslot.kind));
    }
    let missing = || format!("key slot {number} lacks what a key slot has");
    let (af, area, kdf) = (keyslot.af.as_ref(), keyslot.area.as_ref(), keyslot.kdf.as_ref());
    let ((af, area), kdf) = af.zip(area).zip(kdf).ok_or_else(missing)?;
    if keyslot.key_size as usize != VOLUME_KEY_BYTES || area.key_size as usize != VOLUME_KEY_BYTES {
        return Err(format!(
            "key slot {number} holds a key of {} bits; Shoji takes 512",
            keyslot.key_size.saturating_mul(8)
        ));
    }
    if af.kind != "luks1" || af.stripes as usize != af::STRIPES {
        return Err(unknown("the splitter", &af.kind));
    }
    if area.kind != "raw" || area.encryption != CIPHER {
        return Err(unknown("an area encrypted by", &area.encryption));
    }
    let split_bytes = (SPLIT_BYTES as u64).next_multiple_of(AREA_ALIGN);
    if !area.offset.0.is_multiple_of(AREA_ALIGN) || area.size.0 < split_bytes {
        return Err(format!("key slot {number} has an area of the wrong place or size"));
    }
    let af = Hash::by_name(&af.hash).ok_or_else(|| unknown("a splitter with the hash", &af.hash))?;
    let (kdf, salt, hash) = derivation(number, kdf)?;
    let (digest, digest_hash) = find_digest(header, number)?;
    let priority = keyslot.priority.unwrap_or(1).min(2);
    if priority == 0 {
        return Err(format!(
            "key slot {number} has the priority `ignore`; `cryptsetup config --priority normal` changes it"
        ));
    }
    Ok(Slot { kdf, hash, salt, area_at: area.offset.0, af, digest, digest_hash, priority })
}

/// The cost, if it is within bounds; the salt; and the hash of PBKDF2.
fn derivation(number: u32, kdf: &metadata::Kdf) -> Result<(Kdf, &[u8], Hash), String> {
    let too_much =
        |kdf: Kdf| format!("key slot {number} asks for more than Shoji spends on a pass phrase or for nothing ({kdf})");
    match kdf.kind.as_str() {
        name @ ("argon2i" | "argon2id") => {
            let (memory_kib, passes, lanes) = (kdf.memory, kdf.time, kdf.cpus);
            let cost = Kdf::Argon2 { memory_kib, passes, lanes, independent: name == "argon2i" };
            let passed = u64::from(memory_kib).saturating_mul(passes.into());
            let fits = memory_kib <= MAX_ARGON2_KIB && passed <= MAX_ARGON2_KIB_PASSED && lanes <= MAX_LANES;
            let possible = fits && parameters(memory_kib, passes, lanes).is_some() && kdf.salt.0.len() >= 8;
            possible.then_some((cost, kdf.salt.0.as_slice(), Hash::Sha256)).ok_or_else(|| too_much(cost))
        }
        "pbkdf2" => {
            let hash = Hash::by_name(&kdf.hash);
            let hash = hash.ok_or_else(|| format!("key slot {number} has PBKDF2 with `{}`", printable(&kdf.hash)))?;
            let cost = Kdf::Pbkdf2 { iterations: kdf.iterations, hash_bytes: hash.len_bytes() };
            let possible = (1..=MAX_ITERATIONS).contains(&kdf.iterations);
            possible.then_some((cost, kdf.salt.0.as_slice(), hash)).ok_or_else(|| too_much(cost))
        }
        other => Err(format!("key slot {number} has the key derivation `{}`", printable(other))),
    }
}

fn find_digest(header: &Header, number: u32) -> Result<(&Digest, Hash), String> {
    let mut digests = header.metadata.digests.0.iter().map(|(_, digest)| digest);
    let digest = digests.find(|digest| digest.keyslots.0.contains(&number) && digest.segments.0.contains(&0));
    let digest = digest.ok_or_else(|| format!("key slot {number} is not of the volume's segment"))?;
    let hash = Hash::by_name(&digest.hash).filter(|_| digest.kind == "pbkdf2");
    let hash = hash.ok_or_else(|| format!("the digest of key slot {number} is `{}`", printable(&digest.hash)))?;
    let fits = digest.digest.0.len() >= 20 && digest.digest.0.len() <= hash.len_bytes();
    if !fits || !(1..=MAX_DIGEST_ITERATIONS).contains(&digest.iterations) {
        return Err(format!("the digest of key slot {number} has a length or a cost that none has"));
    }
    Ok((digest, hash))
}

/// See [`Header::costs`].
pub fn costs(header: &Header) -> Result<Vec<Kdf>, UnlockError> {
    let (mut costs, mut reason) = (Vec::new(), None);
    for (_, slot) in all(header) {
        match slot {
            Ok(slot) => costs.push(slot.kdf),
            Err(why) => reason = reason.or(Some(why)),
        }
    }
    if costs.is_empty() {
        let why = reason.unwrap_or_else(|| "it has none".into());
        return Err(UnlockError::Unsupported(format!(
            "no key slot of the LUKS2 header is for a pass phrase that Shoji can try ({why}); add one with `cryptsetup luksAddKey`"
        )));
    }
    Ok(costs)
}

/// See [`Header::unlock`].
pub fn unlock(
    header: &Header,
    text: &[u8],
    memory: &mut [Block],
    read: &mut ReadAt<'_>,
) -> Result<VolumeKey, UnlockError> {
    costs(header)?;
    let (mut too_large, mut unread) = (None, None);
    for (_, slot) in all(header) {
        match slot {
            Err(_) => {}
            Ok(slot) if slot.kdf.memory_kib() as usize > memory.len() => {
                too_large = too_large.max(Some(slot.kdf.memory_kib()));
            }
            Ok(slot) => match slot.open(text, memory, read) {
                Ok(Some(key)) => return Ok(key),
                Ok(None) => {}
                // The pass phrase may be another slot's.
                Err(why) => unread = unread.or(Some(why)),
            },
        }
    }
    Err(match (unread, too_large) {
        (Some(why), _) => UnlockError::Device(why),
        (None, Some(needed_kib)) => UnlockError::Memory { needed_kib },
        (None, None) => UnlockError::Wrong,
    })
}

impl Slot<'_> {
    /// What it costs to see whether a key is the volume's.
    #[must_use]
    pub fn digest_iterations(&self) -> u32 {
        self.digest.iterations
    }

    /// `None`: the pass phrase is not this slot's.
    fn open(&self, text: &[u8], memory: &mut [Block], read: &mut ReadAt<'_>) -> Result<Option<VolumeKey>, String> {
        let Some(key) = derive(self.kdf, self.hash, text, self.salt, memory) else { return Ok(None) };
        // Cannot be with a key that was derived, but for one of 2^256.
        let Ok(cipher) = Aes256Xts::new(&key, AREA_SECTOR_BYTES) else { return Ok(None) };
        let mut area = Zeroizing::new(vec![0; SPLIT_BYTES.next_multiple_of(AREA_ALIGN as usize)]);
        read(self.area_at, &mut area)?;
        let split = area.get_mut(..SPLIT_BYTES).unwrap_or_default();
        cipher.decrypt(0, split);
        Ok(af::merge(split, self.af).filter(|key| self.is_volume_key(key)))
    }

    fn is_volume_key(&self, key: &VolumeKey) -> bool {
        let mut found = vec![0; self.digest.digest.0.len()];
        self.digest_hash.pbkdf2(key.bytes(), &self.digest.salt.0, self.digest.iterations, &mut found);
        found.ct_eq(&self.digest.digest.0).into()
    }
}

pub fn parameters(memory_kib: u32, passes: u32, lanes: u32) -> Option<Params> {
    Params::new(memory_kib, passes, lanes, Some(VOLUME_KEY_BYTES)).ok()
}

/// The key of a slot's area. Wipes `memory`, which tells the pass phrase to whoever reads it.
pub fn derive(
    kdf: Kdf,
    hash: Hash,
    text: &[u8],
    salt: &[u8],
    memory: &mut [Block],
) -> Option<Zeroizing<[u8; VOLUME_KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; VOLUME_KEY_BYTES]);
    match kdf {
        Kdf::Pbkdf2 { iterations, .. } => hash.pbkdf2(text, salt, iterations, &mut *key),
        Kdf::Argon2 { memory_kib, passes, lanes, independent } => {
            let algorithm = if independent { Algorithm::Argon2i } else { Algorithm::Argon2id };
            let memory = memory.get_mut(..usize::try_from(memory_kib).ok()?)?;
            let argon2 = Argon2::new(algorithm, Version::V0x13, parameters(memory_kib, passes, lanes)?);
            let result = argon2.hash_password_into_with_memory(text, salt, &mut *key, &mut *memory);
            memory.iter_mut().for_each(Block::zeroize);
            result.ok()?;
        }
    }
    Some(key)
}
